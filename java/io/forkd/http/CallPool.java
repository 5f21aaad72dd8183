package io.forkd.http;

import java.util.ArrayDeque;
import java.util.Deque;
import java.util.HashMap;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.Executor;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Supplier;

/**
 * Lets handlers run: as many at once as there are places, and a bounded number waits for one. Of users, who may have calls
 * that take days, no one has more than half of the places, and all together three quarters. A call has its place until its
 * handler returns; an answer that goes on after it goes on in the same thread, which is why threads have no bound here.
 */
final class CallPool {
    private final int most;
    private final AtomicInteger admitted = new AtomicInteger();
    private final int mostOfUsers;
    private final int mostOfUser;

    /** How many each user has. Guarded by itself. */
    private final Map<String, Integer> ofUsers = new HashMap<>();

    private final ExecutorService threads;

    // Guarded by threads.
    private final Deque<Runnable> waiting = new ArrayDeque<>();
    private int free;

    CallPool(int atOnce, int waiting) {
        most = atOnce + waiting;
        mostOfUsers = Math.max(1, atOnce / 4 * 3);
        mostOfUser = Math.max(1, atOnce / 2);
        AtomicInteger names = new AtomicInteger();
        free = atOnce;
        threads = Executors.newCachedThreadPool(task -> {
            Thread thread = new Thread(task, "forkd-call-" + names.incrementAndGet());
            thread.setDaemon(true);
            return thread;
        });
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

    /** Runs a handler when there is a place, and in the same thread what comes after it, which needs none. */
    void run(Supplier<Runnable> handler) {
        Runnable task = () -> {
            Runnable rest;
            try {
                rest = handler.get();
            } finally {
                next();
            }
            rest.run();
        };
        synchronized (threads) {
            if (free == 0) {
                waiting.add(task);
                return;
            }
            free--;
        }
        start(task);
    }

    private void next() {
        Runnable task;
        synchronized (threads) {
            task = waiting.poll();
            if (task == null) {
                free++;
                return;
            }
        }
        start(task);
    }

    private void start(Runnable task) {
        try {
            threads.execute(task);
        } catch (RejectedExecutionException e) {
            // The server has stopped, and its connections are closed.
        }
    }

    /** For what is no call any more. */
    Executor threads() {
        return threads;
    }

    void close() {
        threads.shutdownNow();
    }
}
