package io.forkd.image;

import io.forkd.files.Waiter;

/** Hears how a long job goes on, and may end it. Called from any thread. */
public interface Work extends Waiter {
    /** A step begins; {@code bytes} is how much there is to do, 0 when that is not known. */
    void begin(String what, long bytes);

    /** So many bytes more of the current step are done. */
    void advance(long bytes);

    /** Something worth a line. */
    @Override
    void say(String line);

    /** Has {@code end} run, on any thread, when the user wants the job to end: it ends what waits for somebody else. */
    default void onEnd(Runnable end) {}

    /** Throws when the user wants the job to end. */
    @Override
    void check();
}
