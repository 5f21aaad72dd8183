package io.forkd.vmm;

import io.forkd.vmm.Native.forkd_child_options;
import io.forkd.vmm.Native.forkd_server;
import io.forkd.vmm.Native.forkd_server_options;
import io.forkd.vmm.Native.forkd_vm;
import java.nio.file.Path;
import java.util.List;
import org.bytedeco.javacpp.PointerScope;

/**
 * The process that holds one snapshot and makes its children by fork(2). It ends, and every child with it, when it is
 * closed or when this process dies. Safe for use by several threads.
 */
public final class ForkServer implements AutoCloseable {
    private final forkd_server handle;
    private boolean closed;

    private ForkServer(forkd_server handle) {
        this.handle = handle;
    }

    public static ForkServer start(Path memory, Path vmstate, List<Disk> disks) {
        NativeFiles files = Library.files();
        forkd_server handle = new forkd_server();
        try (PointerScope scope = new PointerScope()) {
            forkd_server_options o = Library.zero(new forkd_server_options());
            o.vmm_path(Library.text(files.vmm()));
            o.memory_path(Library.text(memory)).vmstate_path(Library.text(vmstate));
            o.disk_count(disks.size()).disks(Library.disks(disks));
            Library.check(error -> Native.forkd_server_start(handle, o, error));
        }
        return new ForkServer(handle);
    }

    /** Asks for one child and returns at once; {@link Vm#await} tells when it is ready. */
    public synchronized Vm fork(ChildOptions options) {
        if (closed) {
            throw new IllegalStateException("this fork server is closed");
        }
        forkd_vm child = new forkd_vm();
        try (PointerScope scope = new PointerScope()) {
            forkd_child_options o = Library.zero(new forkd_child_options());
            o.hostname(Library.text(options.hostname())).vsock_path(Library.text(options.vsock()));
            options.console().ifPresent(console -> o.console_path(Library.text(console)));
            options.tap().ifPresent(tap -> o.tap_name(Library.text(tap)));
            options.netns().ifPresent(netns -> o.netns_path(Library.text(netns)));
            Library.check(error -> Native.forkd_server_fork(handle, o, child, error));
        }
        return new Vm(child);
    }

    public synchronized int pid() {
        return closed ? 0 : Native.forkd_server_pid(handle);
    }

    @Override
    public synchronized void close() {
        if (!closed) {
            closed = true;
            Native.forkd_server_free(handle);
        }
    }
}
