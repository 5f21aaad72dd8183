package io.forkd.vmm;

import java.time.Duration;
import java.util.OptionalLong;

/** Tells when processes of detached VMs end: any number of them, to one thread that waits. Others add meanwhile. */
public interface ProcessWatch extends AutoCloseable {
    /**
     * From now on {@link #await} tells {@code token}, once, when that process has ended. False when it has already.
     *
     * @param startTime as {@link VmStatus#startTime()} said
     */
    boolean add(int pid, long startTime, long token);

    /** The token of one that has ended; empty when none has after {@code timeout}. For one thread. */
    OptionalLong await(Duration timeout);

    /** No thread may be waiting. */
    @Override
    void close();
}
