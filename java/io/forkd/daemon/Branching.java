package io.forkd.daemon;

import io.forkd.ForkdException;
import io.forkd.engine.BranchRequest;
import io.forkd.engine.BranchResult;
import io.forkd.engine.Call;
import io.forkd.engine.Engine;
import io.forkd.http.HttpFailure;
import io.forkd.http.Metrics;
import io.forkd.snapshot.Snapshot.State;
import io.forkd.snapshot.SnapshotTag;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Semaphore;
import java.util.concurrent.atomic.AtomicBoolean;

/**
 * Snapshots that are being written: so many branches at a time, so many that are booted or put together, and one for each
 * tag. A branch that nobody waits for has its place until it is written.
 */
final class Branching {
    private final Engine engine;
    private final int most;
    private final Semaphore branches;
    private final Semaphore builds;
    private final Set<SnapshotTag> tags = ConcurrentHashMap.newKeySet();
    private final Set<Slot> unawaited = ConcurrentHashMap.newKeySet();
    private final Metrics.Timing pauses;

    Branching(Engine engine, int most, Metrics metrics) {
        this.engine = engine;
        this.most = most;
        this.branches = new Semaphore(most);
        this.builds = new Semaphore(most);
        this.pauses = metrics.timing("forkd_branch_pause_seconds", "How long sandboxes stand still for a branch.");
        metrics.gauge("forkd_branches_in_flight", "Branches under way.", () -> {
            releaseWritten();
            return (long) most - branches.availablePermits();
        });
        metrics.gauge("forkd_branch_concurrency_cap", "How many there may be at a time.", () -> most);
    }

    /** The place of one snapshot. */
    final class Slot implements AutoCloseable {
        private final SnapshotTag tag;
        private final Semaphore permits;
        private final AtomicBoolean held = new AtomicBoolean(true);

        private Slot(SnapshotTag tag, Semaphore permits) {
            this.tag = tag;
            this.permits = permits;
        }

        BranchResult branch(BranchRequest request, Call call) {
            BranchResult made = Failures.internal(() -> engine.branch(request, call));
            if (!request.untilWritten()) {
                unawaited.add(this);
            }
            pauses.observe(made.pause().toNanos());
            return made;
        }

        @Override
        public void close() {
            if (!unawaited.contains(this)) {
                release();
            }
        }

        /** Once: what was written before its call has ended is released by whoever sees that, and by the call. */
        private void release() {
            if (held.compareAndSet(true, false)) {
                tags.remove(tag);
                permits.release();
            }
        }
    }

    /** @throws HttpFailure 503 when there are as many branches as may be, 409 when something of that tag is made */
    Slot take(SnapshotTag tag) {
        return take(tag, branches, "branches are under way");
    }

    /** As {@link #take}, for a snapshot that is no branch. */
    Slot takeBuild(SnapshotTag tag) {
        return take(tag, builds, "snapshots are being made");
    }

    private Slot take(SnapshotTag tag, Semaphore permits, String what) {
        releaseWritten();
        if (!permits.tryAcquire()) {
            throw new HttpFailure(503, most + " " + what + ", and no more may be; try again");
        }
        if (!tags.add(tag)) {
            permits.release();
            throw new HttpFailure(409, "snapshot " + tag + " is being made by another call");
        }
        return new Slot(tag, permits);
    }

    /** There are never more than a few. */
    private void releaseWritten() {
        for (Slot slot : List.copyOf(unawaited)) {
            if (!isWriting(slot.tag) && unawaited.remove(slot)) {
                slot.release();
            }
        }
    }

    private boolean isWriting(SnapshotTag tag) {
        try {
            return engine.store().state(engine.store().read(tag)) == State.WRITING;
        } catch (ForkdException e) {
            return false;
        }
    }
}
