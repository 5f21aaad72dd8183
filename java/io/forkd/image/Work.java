package io.forkd.image;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.files.Waiter;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

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

    /** Waits for so long; ends early when the user wants the job to end. */
    default void pause(long millis) {
        try {
            for (long end = System.nanoTime() + millis * 1_000_000; System.nanoTime() < end; ) {
                check();
                Thread.sleep(Math.min(100, Math.max(1, (end - System.nanoTime()) / 1_000_000)));
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new ForkdException(Kind.FAILED, "interrupted");
        }
    }

    /** Waits for what is done on another thread; ends early when the user wants the job to end. */
    default <T> T await(Future<T> job) {
        while (true) {
            check();
            try {
                return job.get(100, TimeUnit.MILLISECONDS);
            } catch (TimeoutException e) {
                // It goes on.
            } catch (ExecutionException e) {
                if (e.getCause() instanceof ForkdException known) {
                    throw known;
                }
                check(); // As a connection that is closed under its reader may fail in any way.
                throw new IllegalStateException(e.getCause());
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
                throw new ForkdException(Kind.FAILED, "interrupted");
            }
        }
    }
}
