package io.forkd.engine;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import java.util.HashSet;
import java.util.Set;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.Supplier;

/** Tells a job that the user wants it to end. The job unwinds, and releases what it holds, on its own thread. */
public final class Cancellation {
    private final AtomicBoolean cancelled = new AtomicBoolean();
    private final AtomicLong process = new AtomicLong();
    private final Set<Thread> interruptible = new HashSet<>();

    /** Called from any thread. Ends the process, too, that the job may be waiting for in a native call. */
    public void cancel() {
        synchronized (interruptible) {
            cancelled.set(true);
            interruptible.forEach(Thread::interrupt);
        }
        ProcessHandle.of(process.get()).ifPresent(ProcessHandle::destroyForcibly);
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

    void check() {
        if (cancelled.get()) {
            throw new ForkdException(Kind.FAILED, "interrupted");
        }
    }

    /** Names the process whose end makes a native call return; 0 for none. */
    void blockedBy(long pid) {
        process.set(pid);
        check();
    }
}
