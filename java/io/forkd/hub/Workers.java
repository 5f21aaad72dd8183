package io.forkd.hub;

import io.forkd.image.Work;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;

/** Does a few things at a time, in the order in which they are given; the first that fails ends all. */
final class Workers implements AutoCloseable {
    /** No more connections to one host are kept by java.net. */
    private static final int PARALLEL = 5;

    /** Of all pieces that are in work: each is in memory some six times, packed, unpacked, and as it is sent. */
    private static final int MOST_BYTES = 2 * ChunkedFile.MOST_PIECE;

    private static final int STOP_SECONDS = 5;

    private final Work work;
    private final Deque<Task> running = new ArrayDeque<>();
    private int bytes;

    private record Task(Future<?> future, int bytes) {}

    private final ExecutorService threads = threads(PARALLEL, "forkd-hub");

    /** Threads that keep no process from ending, made when there is something to do. */
    static ExecutorService threads(int count, String name) {
        return Executors.newFixedThreadPool(count, task -> {
            Thread thread = new Thread(task, name);
            thread.setDaemon(true);
            return thread;
        });
    }

    Workers(Work work) {
        this.work = work;
    }

    /**
     * Waits for a place, so that what is given is not more than twice what is being done, and fits into memory.
     *
     * @param piece bytes of what it is done with
     */
    void give(int piece, Runnable task) {
        while (running.size() >= 2 * PARALLEL || (!running.isEmpty() && bytes > MOST_BYTES - piece)) {
            awaitFirst();
        }
        bytes += piece;
        running.addLast(new Task(threads.submit(task), piece));
    }

    /** Waits until all has been done. */
    void finish() {
        while (!running.isEmpty()) {
            awaitFirst();
        }
    }

    private void awaitFirst() {
        Task first = running.removeFirst();
        work.await(first.future());
        bytes -= first.bytes();
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
