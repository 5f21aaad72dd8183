package io.forkd.http;

import java.util.HashMap;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.LinkedTransferQueue;
import java.util.concurrent.RejectedExecutionHandler;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * The threads that handlers run on: as many as are needed, up to a bound, and a bounded number of calls beyond it. Of users,
 * who may have calls that take days, no one has more than half of them, and all together three quarters.
 */
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
    private final int mostOfUsers;
    private final int mostOfUser;

    /** How many each user has. Guarded by itself. */
    private final Map<String, Integer> ofUsers = new HashMap<>();

    private final ThreadPoolExecutor threads;

    CallPool(int atOnce, int waiting) {
        most = atOnce + waiting;
        mostOfUsers = Math.max(1, atOnce / 4 * 3);
        mostOfUser = Math.max(1, atOnce / 2);
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
    boolean admit(Optional<String> user) {
        if (admitted.incrementAndGet() <= most && user.map(this::admitUser).orElse(true)) {
            return true;
        }
        admitted.decrementAndGet();
        return false;
    }

    private boolean admitUser(String user) {
        synchronized (ofUsers) {
            int all = ofUsers.values().stream().mapToInt(Integer::intValue).sum();
            if (all >= mostOfUsers || ofUsers.getOrDefault(user, 0) >= mostOfUser) {
                return false;
            }
            ofUsers.merge(user, 1, Integer::sum);
            return true;
        }
    }

    /** Gives a place back. */
    void leave(Optional<String> user) {
        admitted.decrementAndGet();
        synchronized (ofUsers) {
            user.ifPresent(name -> ofUsers.computeIfPresent(name, (same, count) -> count == 1 ? null : count - 1));
        }
    }

    void run(Runnable task) {
        threads.execute(task);
    }

    void close() {
        threads.shutdownNow();
    }
}
