package io.forkd.engine;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicLong;

/** Tells a job that the user wants it to end. The job unwinds, and releases what it holds, on its own thread. */
public final class Cancellation {
    private final AtomicBoolean cancelled = new AtomicBoolean();
    private final AtomicLong process = new AtomicLong();

    /** Called from any thread. Ends the process, too, that the job may be waiting for in a native call. */
    public void cancel() {
        cancelled.set(true);
        ProcessHandle.of(process.get()).ifPresent(ProcessHandle::destroyForcibly);
    }

    public boolean isCancelled() {
        return cancelled.get();
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
