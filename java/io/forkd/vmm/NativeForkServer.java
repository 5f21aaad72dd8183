package io.forkd.vmm;

import io.forkd.vmm.Native.forkd_child_options;
import io.forkd.vmm.Native.forkd_server;
import io.forkd.vmm.Native.forkd_server_status;
import io.forkd.vmm.Native.forkd_vm;
import java.time.Duration;
import org.bytedeco.javacpp.PointerScope;

/** A fork server of libforkd. */
final class NativeForkServer implements ForkServer {
    private final forkd_server handle;
    private boolean closed;

    NativeForkServer(forkd_server handle) {
        this.handle = handle;
    }

    @Override
    public synchronized Vm fork(ChildOptions options) {
        requireOpen();
        forkd_vm child = new forkd_vm();
        try (PointerScope scope = new PointerScope()) {
            forkd_child_options o = Library.zero(new forkd_child_options());
            o.hostname(Library.text(options.hostname())).vsock_path(Library.text(options.vsock()));
            options.console().ifPresent(console -> o.console_path(Library.text(console)));
            options.tap().ifPresent(tap -> o.tap_name(Library.text(tap)));
            options.netns().ifPresent(netns -> o.netns_path(Library.text(netns)));
            options.control().ifPresent(control -> o.control_path(Library.text(control)));
            Library.put(options.limits(), o.limits());
            options.cgroup().ifPresent(cgroup -> o.cgroup_path(Library.text(cgroup)));
            Library.check(error -> Native.forkd_server_fork(handle, o, child, error));
        }
        return new NativeVm(child);
    }

    @Override
    public synchronized ServerStatus status() {
        requireOpen();
        try (PointerScope scope = new PointerScope()) {
            forkd_server_status status = Library.zero(new forkd_server_status());
            Library.check(error -> Native.forkd_server_get_status(handle, status, error));
            return Library.status(status);
        }
    }

    @Override
    public synchronized boolean awaitWritten(Duration timeout) {
        requireOpen();
        NativeError error = Library.attempt(
                        e -> Native.forkd_server_wait_written(handle, Math.toIntExact(timeout.toMillis()), e))
                .orElse(null);
        if (error == null) {
            return true;
        }
        if (error.code() == NativeError.ETIMEDOUT) {
            return false;
        }
        throw new VmmException(error);
    }

    @Override
    public synchronized void close() {
        if (!closed) {
            closed = true;
            Native.forkd_server_free(handle);
        }
    }

    private void requireOpen() {
        if (closed) {
            throw new IllegalStateException("this fork server is closed");
        }
    }
}
