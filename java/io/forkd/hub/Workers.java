package io.forkd.hub;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.image.Work;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/** Does a few things at a time, in the order in which they are given; the first that fails ends all. */
final class Workers implements AutoCloseable {
    /** No more connections to one host are kept by java.net. */
    private static final int PARALLEL = 5;

    private static final int STOP_SECONDS = 5;
    private static final int CHECK_MILLIS = 100;

    private final Work work;
    private final Deque<Future<?>> running = new ArrayDeque<>();
    private final ExecutorService threads = Executors.newFixedThreadPool(PARALLEL, task -> {
        Thread thread = new Thread(task, "forkd-hub");
        thread.setDaemon(true);
        return thread;
    });

    Workers(Work work) {
        this.work = work;
    }

    /** Waits for a place, so that what is given is not more than twice what is being done. */
    void give(Runnable task) {
        while (running.size() >= 2 * PARALLEL) {
            await(running.removeFirst());
        }
        running.addLast(threads.submit(task));
    }

    /** Waits until all has been done. */
    void finish() {
        while (!running.isEmpty()) {
            await(running.removeFirst());
        }
    }

    private void await(Future<?> task) {
        while (true) {
            work.check();
            try {
                task.get(CHECK_MILLIS, TimeUnit.MILLISECONDS);
                return;
            } catch (TimeoutException e) {
                // It goes on.
            } catch (ExecutionException e) {
                if (e.getCause() instanceof ForkdException known) {
                    throw known;
                }
                work.check(); // As a connection that is closed under its reader may fail in any way.
                throw new IllegalStateException(e.getCause());
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
                throw new ForkdException(Kind.FAILED, "interrupted");
            }
        }
    }

    @Override
    public void close() {
        threads.shutdownNow();
        try {
            threads.awaitTermination(STOP_SECONDS, TimeUnit.SECONDS);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }
}
