package io.forkd.engine;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.Remedy;
import io.forkd.files.Waiter;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.Future;
import java.util.concurrent.ScheduledThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.Supplier;

/**
 * One operation of the engine as the one who asked sees it: how long it may take, whether it is still wanted, and who hears
 * how it goes on. The operation looks at it wherever it waits, unwinds, and releases what it holds, on its own thread.
 */
public final class Call implements Progress, Waiter {
    private final Progress progress;
    private final Optional<Duration> limit;
    private final long started = System.nanoTime();
    private final AtomicBoolean cancelled = new AtomicBoolean();
    private final AtomicLong process = new AtomicLong();
    private final Set<Thread> interruptible = new HashSet<>();
    private final List<Runnable> hooks = new ArrayList<>();
    private volatile Optional<String> owner = Optional.empty();

    /** @param limit from now on; empty: none */
    public Call(Progress progress, Optional<Duration> limit) {
        this.progress = progress;
        this.limit = limit;
    }

    /** Has what it makes be that user's, and others' things not be there; to be said before it begins. */
    public void setOwner(Optional<String> user) {
        owner = user;
    }

    public Optional<String> owner() {
        return owner;
    }

    /** Tells the operation to end. Called from any thread. Ends the process, too, that a native call waits for. */
    public void cancel() {
        List<Runnable> run;
        synchronized (interruptible) {
            cancelled.set(true);
            interruptible.forEach(Thread::interrupt);
            run = List.copyOf(hooks);
            hooks.clear();
        }
        run.forEach(Runnable::run); // Not under the lock: what they wait for may look at this call.
        kill(process.get());
    }

    /** Has {@code hook} run, once, when it is cancelled; at once when it is. */
    public void onCancel(Runnable hook) {
        synchronized (interruptible) {
            if (!cancelled.get()) {
                hooks.add(hook);
                return;
            }
        }
        hook.run();
    }

    public boolean isCancelled() {
        return cancelled.get();
    }

    /**
     * Does what may wait for long, for a guest for example: a cancellation interrupts this thread meanwhile, and so does
     * the end of its time.
     */
    public <T> T interruptibly(Supplier<T> job) {
        Thread thread = Thread.currentThread();
        synchronized (interruptible) {
            check();
            interruptible.add(thread);
        }
        try {
            return inTime(job, thread::interrupt);
        } finally {
            synchronized (interruptible) {
                interruptible.remove(thread);
                // What is left to do must not be interrupted.
                if (cancelled.get() || isLate()) {
                    Thread.interrupted();
                }
            }
        }
    }

    /** Does what returns when that process ends, a native call for example: a cancellation kills it meanwhile. */
    void blockedBy(long pid, Runnable job) {
        try {
            process.set(pid);
            check();
            inTime(
                    () -> {
                        job.run();
                        return true;
                    },
                    () -> kill(pid));
        } catch (ForkdException e) {
            check();
            throw e;
        } finally {
            process.set(0);
        }
        check();
    }

    /** Does the job, and what ends it when its time is over. */
    private <T> T inTime(Supplier<T> job, Runnable end) {
        if (limit.isEmpty()) {
            return job.get();
        }
        AtomicBoolean done = new AtomicBoolean();
        Future<?> expiry = Timer.INSTANCE.schedule(
                () -> {
                    synchronized (done) {
                        if (!done.get()) {
                            end.run();
                        }
                    }
                },
                limit.get().toNanos() - (System.nanoTime() - started) + 1,
                TimeUnit.NANOSECONDS);
        try {
            return job.get();
        } catch (ForkdException e) {
            requireTime();
            throw e;
        } finally {
            synchronized (done) {
                done.set(true);
            }
            expiry.cancel(false);
        }
    }

    /** One thread for all, which is there when one is to be told the time. */
    private static final class Timer {
        private static final ScheduledThreadPoolExecutor INSTANCE = new ScheduledThreadPoolExecutor(1, job -> {
            Thread thread = new Thread(job, "limits");
            thread.setDaemon(true);
            return thread;
        });

        static {
            INSTANCE.setRemoveOnCancelPolicy(true);
        }
    }

    private static void kill(long pid) {
        ProcessHandle.of(pid).ifPresent(ProcessHandle::destroyForcibly);
    }

    /** Throws when nobody waits for the operation any more, or it has taken longer than it may. */
    @Override
    public void check() {
        if (cancelled.get()) {
            throw new ForkdException(Kind.FAILED, "interrupted");
        }
        requireTime();
    }

    private void requireTime() {
        if (isLate()) {
            throw new ForkdException(
                    Kind.FAILED,
                    "it took longer than " + limit.orElse(Duration.ZERO).toSeconds() + " s");
        }
    }

    private boolean isLate() {
        return limit.isPresent() && System.nanoTime() - started > limit.get().toNanos();
    }

    @Override
    public void step(String what) {
        progress.step(what);
    }

    @Override
    public void say(String line) {
        progress.step(line);
    }

    @Override
    public void warn(String what, Remedy remedy) {
        progress.warn(what, remedy);
    }
}
