package io.forkd.kubernetes.node;

import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.ScheduledFuture;
import java.util.concurrent.ScheduledThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * What is to be looked at. Each thing is by one thread at a time, and once more when something was said of it meanwhile; after
 * a failure again, later each time.
 */
final class Work<K> {
    /** One look. */
    @FunctionalInterface
    interface Job<K> {
        /** Returns after how long to look again; an exception is a failure. */
        Optional<Duration> run(K key) throws Exception;
    }

    private static final Logger LOG = LoggerFactory.getLogger(Work.class);
    private static final long FIRST_MILLIS = 100;
    private static final long LAST_MILLIS = 30_000;

    private static final class State {
        private boolean isRunning;
        private boolean isWanted;
        private int failures;
    }

    /** Of each thing one look to come, however often it was looked at meanwhile. */
    private final Map<K, ScheduledFuture<?>> later = new HashMap<>();

    private final Job<K> job;
    private final ScheduledThreadPoolExecutor threads;
    private final Map<K, State> states = new HashMap<>();

    Work(int count, Job<K> job) {
        this.job = job;
        threads = new ScheduledThreadPoolExecutor(count, task -> {
            Thread thread = new Thread(task, "forkd-node");
            thread.setDaemon(true);
            return thread;
        });
        threads.setRemoveOnCancelPolicy(true);
    }

    void add(K key) {
        synchronized (states) {
            State state = states.computeIfAbsent(key, absent -> new State());
            boolean isQueued = state.isWanted;
            state.isWanted = true;
            if (isQueued || state.isRunning) {
                return;
            }
        }
        threads.execute(() -> run(key));
    }

    void addAfter(K key, Duration time) {
        var unused = threads.schedule(() -> add(key), time.toMillis(), TimeUnit.MILLISECONDS);
    }

    private void run(K key) {
        State state;
        synchronized (states) {
            state = states.computeIfAbsent(key, absent -> new State());
            state.isWanted = false;
            state.isRunning = true;
        }
        Optional<Duration> again;
        boolean hasFailed = false;
        try {
            again = job.run(key);
        } catch (Exception e) {
            hasFailed = true;
            long wait = Math.min(LAST_MILLIS, FIRST_MILLIS << Math.min(state.failures, 10));
            LOG.warn("{} failed, and is tried again in {} ms: {}", key, wait, e.toString());
            again = Optional.of(Duration.ofMillis(wait));
        }
        synchronized (states) {
            state.isRunning = false;
            state.failures = hasFailed ? state.failures + 1 : 0;
            boolean isWanted = state.isWanted;
            if (isWanted && !hasFailed) {
                threads.execute(() -> run(key));
                return;
            }
            state.isWanted = false; // A failure's time is waited for.
            if (!hasFailed) {
                states.remove(key);
            }
            ScheduledFuture<?> before = later.remove(key);
            if (before != null) {
                before.cancel(false);
            }
            again.ifPresent(
                    time -> later.put(key, threads.schedule(() -> add(key), time.toMillis(), TimeUnit.MILLISECONDS)));
        }
    }
}
