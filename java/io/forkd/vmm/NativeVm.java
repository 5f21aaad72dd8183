package io.forkd.vmm;

import io.forkd.vmm.Native.forkd_branch_options;
import io.forkd.vmm.Native.forkd_branch_result;
import io.forkd.vmm.Native.forkd_error;
import io.forkd.vmm.Native.forkd_reset_options;
import io.forkd.vmm.Native.forkd_server;
import io.forkd.vmm.Native.forkd_vm;
import io.forkd.vmm.Native.forkd_vm_status;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Optional;
import org.bytedeco.javacpp.PointerScope;

/** A VM of libforkd. */
final class NativeVm implements Vm {
    private final forkd_vm handle;
    private boolean closed;

    NativeVm(forkd_vm handle) {
        this.handle = handle;
    }

    @Override
    public Optional<VmStatus> await(Duration timeout) {
        return await(Native::forkd_vm_wait, timeout);
    }

    @Override
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

    /** Whether what was waited for came before the time was over. */
    static boolean inTime(Optional<NativeError> error) {
        if (error.isPresent() && error.get().code() != NativeError.ETIMEDOUT) {
            throw new VmmException(error.get());
        }
        return error.isEmpty();
    }

    @Override
    public synchronized void snapshot(Path directory) {
        requireOpen();
        Library.check(error -> Native.forkd_vm_snapshot(handle, directory.toString(), error));
    }

    @Override
    public synchronized Branch branch(BranchOptions options) {
        requireOpen();
        forkd_server server = new forkd_server();
        try (PointerScope scope = new PointerScope()) {
            forkd_branch_options o = Library.zero(new forkd_branch_options());
            o.directory(Library.text(options.directory()));
            options.control().ifPresent(control -> o.control_path(Library.text(control)));
            options.cgroup().ifPresent(cgroup -> o.cgroup_path(Library.text(cgroup)));
            o.flags(flags(options));
            forkd_branch_result result = Library.zero(new forkd_branch_result());
            Library.check(error -> Native.forkd_vm_branch(handle, o, server, result, error));
            Branch.Way way = result.way() == Native.FORKD_BRANCH_PRECOPY ? Branch.Way.PRECOPY : Branch.Way.FORK;
            return new Branch(Library.micros(result.pause_us()), way, new NativeForkServer(server));
        }
    }

    private static int flags(BranchOptions options) {
        if (!options.written()) {
            return Native.FORKD_BRANCH_UNWRITTEN;
        }
        return options.layer() ? Native.FORKD_BRANCH_LAYER : 0;
    }

    @Override
    public synchronized void reset(String hostname) {
        requireOpen();
        try (PointerScope scope = new PointerScope()) {
            forkd_reset_options o = Library.zero(new forkd_reset_options());
            o.hostname(Library.text(hostname));
            Library.check(error -> Native.forkd_vm_reset(handle, o, error));
        }
    }

    @Override
    public synchronized void freeze(Optional<Duration> after) {
        requireOpen();
        int millis = (int) after.map(Duration::toMillis).orElse(0L).longValue();
        Library.check(error -> Native.forkd_vm_freeze(handle, millis, error));
    }

    @Override
    public synchronized void kill() {
        requireOpen();
        Native.forkd_vm_kill(handle);
    }

    @Override
    public synchronized void close() {
        if (!closed) {
            closed = true;
            Native.forkd_vm_free(handle);
        }
    }

    forkd_vm handle() {
        requireOpen();
        return handle;
    }

    private void requireOpen() {
        if (closed) {
            throw new IllegalStateException("this VM is closed");
        }
    }
}
