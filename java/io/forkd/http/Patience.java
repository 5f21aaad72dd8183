package io.forkd.http;

import java.time.Duration;
import java.util.Optional;
import java.util.concurrent.Future;
import java.util.concurrent.ScheduledThreadPoolExecutor;
import java.util.concurrent.TimeUnit;

/** Has an end put to what somebody else should do and does not. Any thread may use it. */
final class Patience implements AutoCloseable {
    private final Duration limit;
    private final Runnable end;

    // Guarded by this.
    private Optional<Future<?>> wait = Optional.empty();
    private boolean over;
    private boolean closed;

    /** @param end what is waited for; must not wait itself */
    Patience(Duration limit, Runnable end) {
        this.limit = limit;
        this.end = end;
    }

    /** From now on it is waited for, unless that has come to an end already. */
    synchronized void begin() {
        if (!closed) {
            wait.ifPresent(former -> former.cancel(false));
            wait = Optional.of(Timer.INSTANCE.schedule(this::expire, limit.toNanos(), TimeUnit.NANOSECONDS));
        }
    }

    /** It is done, and may begin again. */
    synchronized void pause() {
        wait.ifPresent(present -> present.cancel(false));
        wait = Optional.empty();
    }

    /** It is done for good. */
    @Override
    public synchronized void close() {
        closed = true;
        pause();
    }

    private void expire() {
        synchronized (this) {
            if (wait.isEmpty()) {
                return;
            }
            over = true;
        }
        Thread thread = new Thread(end, "forkd-patience"); // As it may have to wait for a lock.
        thread.setDaemon(true);
        thread.start();
    }

    /** Whether it took too long. */
    synchronized boolean isOver() {
        return over;
    }

    /** One thread for all, which is there when somebody is waited for. */
    private static final class Timer {
        private static final ScheduledThreadPoolExecutor INSTANCE = new ScheduledThreadPoolExecutor(1, job -> {
            Thread thread = new Thread(job, "forkd-patience-timer");
            thread.setDaemon(true);
            return thread;
        });

        static {
            INSTANCE.setRemoveOnCancelPolicy(true);
        }
    }
}
