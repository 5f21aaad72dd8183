package io.forkd.http;

import java.util.concurrent.LinkedTransferQueue;
import java.util.concurrent.RejectedExecutionHandler;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;

/** The threads that handlers run on: as many as are needed, up to a bound, and a bounded number of calls beyond it. */
final class CallPool {
    private static final long IDLE_SECONDS = 30;

    /** Hands a task to a thread that waits, if there is one. */
    private static final class Handover extends LinkedTransferQueue<Runnable> {
        private static final long serialVersionUID = 1;

        @Override
        public boolean offer(Runnable task) {
            return tryTransfer(task);
        }
    }

    private final int most;
    private final AtomicInteger admitted = new AtomicInteger();
    private final ThreadPoolExecutor threads;

    CallPool(int atOnce, int waiting) {
        most = atOnce + waiting;
        AtomicInteger names = new AtomicInteger();
        // No thread waits, and no more may be made: the task waits.
        RejectedExecutionHandler enqueue = (task, pool) -> pool.getQueue().add(task);
        threads = new ThreadPoolExecutor(
                0,
                atOnce,
                IDLE_SECONDS,
                TimeUnit.SECONDS,
                new Handover(),
                task -> {
                    Thread thread = new Thread(task, "forkd-call-" + names.incrementAndGet());
                    thread.setDaemon(true);
                    return thread;
                },
                enqueue);
    }

    /** Takes a place, from the reading of the body to the end of the handler. */
    boolean admit() {
        if (admitted.incrementAndGet() > most) {
            admitted.decrementAndGet();
            return false;
        }
        return true;
    }

    /** Gives a place back. */
    void leave() {
        admitted.decrementAndGet();
    }

    void run(Runnable task) {
        threads.execute(task);
    }

    void close() {
        threads.shutdownNow();
    }
}
