package io.forkd.daemon;

import io.forkd.engine.BranchRequest;
import io.forkd.engine.BranchResult;
import io.forkd.engine.Call;
import io.forkd.engine.Engine;
import io.forkd.http.HttpFailure;
import io.forkd.http.Metrics;
import io.forkd.snapshot.SnapshotTag;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Semaphore;

/** Branches under way: so many at a time, and one for each tag. */
final class Branching {
    private final Engine engine;
    private final int most;
    private final Semaphore permits;
    private final Set<SnapshotTag> tags = ConcurrentHashMap.newKeySet();
    private final Metrics.Timing pauses;

    Branching(Engine engine, int most, Metrics metrics) {
        this.engine = engine;
        this.most = most;
        this.permits = new Semaphore(most);
        this.pauses = metrics.timing("forkd_branch_pause_seconds", "How long sandboxes stand still for a branch.");
        metrics.gauge("forkd_branches_in_flight", "Branches under way.", () -> most - permits.availablePermits());
        metrics.gauge("forkd_branch_concurrency_cap", "How many there may be at a time.", () -> most);
    }

    /** The place of one branch. */
    final class Slot implements AutoCloseable {
        private final SnapshotTag tag;

        private Slot(SnapshotTag tag) {
            this.tag = tag;
        }

        BranchResult branch(BranchRequest request, Call call) {
            BranchResult made = Failures.internal(() -> engine.branch(request, call));
            pauses.observe(made.pause().toNanos());
            return made;
        }

        @Override
        public void close() {
            tags.remove(tag);
            permits.release();
        }
    }

    /** @throws HttpFailure 503 when there are as many as may be, 409 when there is one of that tag */
    Slot take(SnapshotTag tag) {
        if (!permits.tryAcquire()) {
            throw new HttpFailure(503, most + " branches are under way, and no more may be; try again");
        }
        if (!tags.add(tag)) {
            permits.release();
            throw new HttpFailure(409, "snapshot " + tag + " is being made by another branch");
        }
        return new Slot(tag);
    }
}
