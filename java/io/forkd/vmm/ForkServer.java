package io.forkd.vmm;

import io.forkd.vmm.Native.forkd_child_options;
import io.forkd.vmm.Native.forkd_server;
import io.forkd.vmm.Native.forkd_server_options;
import io.forkd.vmm.Native.forkd_server_status;
import io.forkd.vmm.Native.forkd_vm;
import java.nio.file.Path;
import java.time.Duration;
import org.bytedeco.javacpp.PointerScope;

/**
 * The process that holds one snapshot and makes its children by fork(2). It ends, and every child with it, when it is
 * closed or when this process dies; a detached one, which has a control socket, goes on, and so does a detached child.
 * Safe for use by several threads.
 */
public final class ForkServer implements AutoCloseable {
    private final forkd_server handle;
    private boolean closed;

    ForkServer(forkd_server handle) {
        this.handle = handle;
    }

    public static ForkServer start(ServerOptions options) {
        NativeFiles files = Library.files();
        forkd_server handle = new forkd_server();
        try (PointerScope scope = new PointerScope()) {
            forkd_server_options o = Library.zero(new forkd_server_options());
            o.vmm_path(Library.text(files.vmm()));
            o.memory_path(Library.text(options.memory())).vmstate_path(Library.text(options.vmstate()));
            o.disk_count(options.disks().size()).disks(Library.disks(options.disks()));
            o.parked_count(options.parked());
            options.control()
                    .ifPresent(control -> o.control_path(Library.text(control))
                            .idle_timeout_ms(Math.toIntExact(options.idle().toMillis())));
            options.workingSet().ifPresent(file -> o.working_set_path(Library.text(file)));
            o.flags(options.learn() ? Native.FORKD_LEARN_WORKING_SET : 0);
            Library.check(error -> Native.forkd_server_start(handle, o, error));
        }
        return new ForkServer(handle);
    }

    /** A handle of a detached server. */
    public static ForkServer attach(Path control) {
        Library.files();
        forkd_server handle = new forkd_server();
        Library.check(error -> Native.forkd_server_attach(handle, control.toString(), error));
        return new ForkServer(handle);
    }

    /** Asks for one child and returns at once; {@link Vm#await} tells when it is ready. */
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
            Library.check(error -> Native.forkd_server_fork(handle, o, child, error));
        }
        return new Vm(child);
    }

    public synchronized ServerStatus status() {
        requireOpen();
        try (PointerScope scope = new PointerScope()) {
            forkd_server_status status = Library.zero(new forkd_server_status());
            Library.check(error -> Native.forkd_server_get_status(handle, status, error));
            return Library.status(status);
        }
    }

    /** Waits until a branch is on the disk; false when it is not after {@code timeout}. Its failure is thrown. */
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
