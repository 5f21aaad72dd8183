package io.forkd.engine;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.files.Waiter;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Optional;
import java.util.Set;
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

    /** @param limit from now on; empty: none */
    public Call(Progress progress, Optional<Duration> limit) {
        this.progress = progress;
        this.limit = limit;
    }

    /** Tells the operation to end. Called from any thread. Ends the process, too, that a native call waits for. */
    public void cancel() {
        synchronized (interruptible) {
            cancelled.set(true);
            interruptible.forEach(Thread::interrupt);
            hooks.forEach(Runnable::run);
            hooks.clear();
        }
        ProcessHandle.of(process.get()).ifPresent(ProcessHandle::destroyForcibly);
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

    /** Does what may wait for long, for a guest for example: a cancellation interrupts this thread meanwhile. */
    public <T> T interruptibly(Supplier<T> job) {
        Thread thread = Thread.currentThread();
        synchronized (interruptible) {
            check();
            interruptible.add(thread);
        }
        try {
            return job.get();
        } finally {
            synchronized (interruptible) {
                interruptible.remove(thread);
                // What is left to do must not be interrupted.
                if (cancelled.get()) {
                    Thread.interrupted();
                }
            }
        }
    }

    /** Throws when nobody waits for the operation any more, or it has taken longer than it may. */
    @Override
    public void check() {
        if (cancelled.get()) {
            throw new ForkdException(Kind.FAILED, "interrupted");
        }
        if (limit.isPresent() && System.nanoTime() - started > limit.get().toNanos()) {
            throw new ForkdException(
                    Kind.FAILED, "it took longer than " + limit.get().toSeconds() + " s");
        }
    }

    /** Names the process whose end makes a native call return; 0 for none. */
    void blockedBy(long pid) {
        process.set(pid);
        check();
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
    public void warn(String what) {
        progress.warn(what);
    }
}
