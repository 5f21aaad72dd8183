package io.forkd.vmm;

import java.nio.file.Path;
import java.time.Duration;
import java.util.Optional;

/**
 * A handle of one VM, which is a process: a booted one, or a child of a {@link ForkServer}. It ends when the handle is
 * closed or when this process dies; a detached one, which has a control socket, goes on. Safe for use by several threads; a
 * call waits for the one before it.
 */
public interface Vm extends AutoCloseable {
    /** Waits until the VM is ready or has ended; empty when it is neither after {@code timeout}. */
    Optional<VmStatus> await(Duration timeout);

    /** Waits until the VM has ended; empty when it has not after {@code timeout}. */
    Optional<VmStatus> awaitEnd(Duration timeout);

    /** Pauses the VM for good and writes it into {@code directory}. */
    void snapshot(Path directory);

    /** Branches the running VM, which goes on. */
    Branch branch(BranchOptions options);

    /**
     * Puts a child back to the snapshot that it was forked from, in its process; {@link #await} tells when it is ready. When
     * this fails the VM is as it was, or has ended.
     *
     * @param hostname that it has then; at most 63 bytes
     */
    void reset(String hostname);

    /**
     * Has the VM be frozen whenever its guest has been idle for so long, from a tenth of a second to a day; empty: not any
     * more. Whatever reaches its guest then has it go on.
     */
    void freeze(Optional<Duration> after);

    /** Ends the VM now, detached or not, and waits until it is gone. */
    void kill();

    /** Ends the VM if it still runs and is not detached. */
    @Override
    void close();
}
