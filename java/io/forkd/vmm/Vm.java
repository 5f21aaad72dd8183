package io.forkd.vmm;

import io.forkd.vmm.Native.forkd_boot_options;
import io.forkd.vmm.Native.forkd_branch_options;
import io.forkd.vmm.Native.forkd_branch_result;
import io.forkd.vmm.Native.forkd_error;
import io.forkd.vmm.Native.forkd_server;
import io.forkd.vmm.Native.forkd_vm;
import io.forkd.vmm.Native.forkd_vm_status;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import org.bytedeco.javacpp.IntPointer;
import org.bytedeco.javacpp.PointerPointer;
import org.bytedeco.javacpp.PointerScope;

/**
 * One VM, which is a process: a booted one, or a child of a {@link ForkServer}. It ends when it is closed or when this
 * process dies; a detached one, which has a control socket, goes on. Safe for use by several threads; a call waits for the one before it.
 */
public final class Vm implements AutoCloseable {
    private final forkd_vm handle;
    private boolean closed;

    Vm(forkd_vm handle) {
        this.handle = handle;
    }

    /** Starts a VM; returns once its processors run. */
    public static Vm boot(BootOptions options) {
        NativeFiles files = Library.files();
        forkd_vm handle = new forkd_vm();
        try (PointerScope scope = new PointerScope()) {
            forkd_boot_options o = Library.zero(new forkd_boot_options());
            o.vmm_path(Library.text(files.vmm())).kernel_path(Library.text(options.kernel()));
            options.initrd().ifPresent(initrd -> o.initrd_path(Library.text(initrd)));
            o.command_line(Library.text(options.commandLine()));
            o.memory_bytes(options.memoryBytes()).vcpu_count(options.vcpus());
            o.disk_count(options.disks().size()).disks(Library.disks(options.disks()));
            options.tap().ifPresent(tap -> o.tap_name(Library.text(tap)));
            o.console_path(Library.text(options.console())).vsock_path(Library.text(options.vsock()));
            Library.attempt(error -> Native.forkd_vm_boot(handle, o, error)).ifPresent(error -> {
                // The VM's process is handed descriptors, and knows no paths.
                throw new VmmException(
                        error.object().equals("kernel")
                                ? error.about(options.kernel().toString())
                                : error);
            });
        }
        return new Vm(handle);
    }

    /** A handle of a detached VM. */
    public static Vm attach(Path control) {
        Library.files();
        forkd_vm handle = new forkd_vm();
        Library.check(error -> Native.forkd_vm_attach(handle, control.toString(), error));
        return new Vm(handle);
    }

    /** Waits until the VM is ready or has ended; empty when it is neither after {@code timeout}. */
    public Optional<VmStatus> await(Duration timeout) {
        return await(Native::forkd_vm_wait, timeout);
    }

    /** Waits until the VM has ended; empty when it has not after {@code timeout}. */
    public Optional<VmStatus> awaitEnd(Duration timeout) {
        return await(Native::forkd_vm_wait_end, timeout);
    }

    private interface Wait {
        int call(forkd_vm vm, int millis, forkd_vm_status status, forkd_error error);
    }

    private synchronized Optional<VmStatus> await(Wait wait, Duration timeout) {
        requireOpen();
        try (PointerScope scope = new PointerScope()) {
            forkd_vm_status status = Library.zero(new forkd_vm_status());
            boolean known =
                    inTime(Library.attempt(e -> wait.call(handle, Math.toIntExact(timeout.toMillis()), status, e)));
            return known ? Optional.of(Library.status(status)) : Optional.empty();
        }
    }

    /**
     * Waits until one of {@code vms} is ready or has ended; empty when none is after {@code timeout}. No other thread
     * may use one of them meanwhile.
     */
    public static Optional<Vm> awaitAny(List<Vm> vms, Duration timeout) {
        try (PointerScope scope = new PointerScope()) {
            PointerPointer<forkd_vm> handles = new PointerPointer<>(vms.size());
            for (int i = 0; i < vms.size(); i++) {
                vms.get(i).requireOpen();
                handles.put(i, vms.get(i).handle);
            }
            IntPointer index = new IntPointer(1);
            boolean known = inTime(Library.attempt(
                    e -> Native.forkd_vm_wait_any(handles, vms.size(), Math.toIntExact(timeout.toMillis()), index, e)));
            return known ? Optional.of(vms.get(index.get())) : Optional.empty();
        }
    }

    /** Whether what was waited for came before the time was over. */
    private static boolean inTime(Optional<NativeError> error) {
        if (error.isPresent() && error.get().code() != NativeError.ETIMEDOUT) {
            throw new VmmException(error.get());
        }
        return error.isEmpty();
    }

    /** Pauses the VM for good and writes it into {@code directory}. */
    public synchronized void snapshot(Path directory) {
        requireOpen();
        Library.check(error -> Native.forkd_vm_snapshot(handle, directory.toString(), error));
    }

    /** Branches the running VM, which goes on. */
    public synchronized Branch branch(BranchOptions options) {
        requireOpen();
        forkd_server server = new forkd_server();
        try (PointerScope scope = new PointerScope()) {
            forkd_branch_options o = Library.zero(new forkd_branch_options());
            o.directory(Library.text(options.directory()));
            options.control().ifPresent(control -> o.control_path(Library.text(control)));
            o.flags(options.layer() ? Native.FORKD_BRANCH_LAYER : 0);
            forkd_branch_result result = Library.zero(new forkd_branch_result());
            Library.check(error -> Native.forkd_vm_branch(handle, o, server, result, error));
            return new Branch(Library.micros(result.pause_us()), new ForkServer(server));
        }
    }

    /** Ends the VM now, detached or not, and waits until it is gone. */
    public synchronized void kill() {
        requireOpen();
        Native.forkd_vm_kill(handle);
    }

    /**
     * Ends the process of a detached VM that cannot be attached to, and waits until it is gone. False when there is no
     * such process any more.
     *
     * @param startTime as {@link VmStatus#startTime()} said
     */
    public static boolean kill(int pid, long startTime) {
        Library.files();
        Optional<NativeError> error = Library.attempt(e -> Native.forkd_process_kill(pid, startTime, e));
        if (error.isPresent() && error.get().code() != NativeError.ESRCH) {
            throw new VmmException(error.get());
        }
        return error.isEmpty();
    }

    /** Ends the VM if it still runs and is not detached. */
    @Override
    public synchronized void close() {
        if (!closed) {
            closed = true;
            Native.forkd_vm_free(handle);
        }
    }

    private void requireOpen() {
        if (closed) {
            throw new IllegalStateException("this VM is closed");
        }
    }
}
