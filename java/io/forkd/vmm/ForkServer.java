package io.forkd.vmm;

import java.time.Duration;

/**
 * A handle of the process that holds one snapshot and makes its children by fork(2). It ends, and every child with it, when
 * the handle is closed or when this process dies; a detached one, which has a control socket, goes on, and so does a
 * detached child. Safe for use by several threads.
 */
public interface ForkServer extends AutoCloseable {
    /** Asks for one child and returns at once; {@link Vm#await} tells when it is ready. */
    Vm fork(ChildOptions options);

    ServerStatus status();

    /** Waits until a branch is on the disk; false when it is not after {@code timeout}. Its failure is thrown. */
    boolean awaitWritten(Duration timeout);

    @Override
    void close();
}
