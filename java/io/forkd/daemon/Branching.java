package io.forkd.daemon;

import io.forkd.ForkdException;
import io.forkd.engine.BranchRequest;
import io.forkd.engine.BranchResult;
import io.forkd.engine.Call;
import io.forkd.engine.Engine;
import io.forkd.http.Caller;
import io.forkd.http.HttpFailure;
import io.forkd.http.Metrics;
import io.forkd.snapshot.Snapshot.State;
import io.forkd.snapshot.SnapshotTag;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicBoolean;

/**
 * Snapshots that are being written: so many branches at a time, so many that are booted or put together, and one for each
 * tag. A branch that nobody waits for has its place until it is written.
 */
public final class Branching {
    private final Engine engine;
    private final int most;
    private final Places branches;
    private final Places builds;
    private final Places templates;
    private final Set<SnapshotTag> tags = ConcurrentHashMap.newKeySet();
    private final Set<Slot> unawaited = ConcurrentHashMap.newKeySet();
    private final Metrics.Timing pauses;

    Branching(Engine engine, int most, Metrics metrics) {
        this.engine = engine;
        this.most = most;
        this.branches = new Places("branches are under way");
        this.builds = new Places("snapshots are being made");
        this.templates = new Places("templates are being built");
        this.pauses = metrics.timing("forkd_branch_pause_seconds", "How long sandboxes stand still for a branch.");
        metrics.gauge("forkd_branches_in_flight", "Branches under way.", () -> {
            releaseWritten();
            return (long) branches.count();
        });
        metrics.gauge("forkd_branch_concurrency_cap", "How many there may be at a time.", () -> most);
    }

    /** Half of them can be one user's, and three quarters users': how long theirs take is for them and their guests to say. */
    private final class Places {
        private final String what;
        private final List<Optional<String>> held = new ArrayList<>();

        private Places(String what) {
            this.what = what;
        }

        synchronized void take(Optional<String> user) {
            requireFewer(held.size(), most, "");
            if (user.isPresent()) {
                requireFewer(Collections.frequency(held, user), most / 2, " for " + user.get());
                requireFewer(held.stream().filter(Optional::isPresent).count(), most * 3L / 4, " for users");
            }
            held.add(user);
        }

        private void requireFewer(long count, long than, String whose) {
            if (count >= Math.max(1, than)) {
                throw new HttpFailure(503, count + " " + what + whose + ", and no more may be; try again");
            }
        }

        synchronized void leave(Optional<String> user) {
            held.remove(user);
        }

        synchronized int count() {
            return held.size();
        }
    }

    /** The place of one snapshot. */
    public final class Slot implements AutoCloseable {
        private final SnapshotTag tag;
        private final Places places;
        private final Optional<String> user;
        private final AtomicBoolean held = new AtomicBoolean(true);

        private Slot(SnapshotTag tag, Places places, Optional<String> user) {
            this.tag = tag;
            this.places = places;
            this.user = user;
        }

        public BranchResult branch(BranchRequest request, Call call) {
            BranchResult made = engine.branch(request, call);
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
                places.leave(user);
            }
        }
    }

    /**
     * Takes the place of a branch.
     *
     * @throws HttpFailure 503 when there are as many as may be, 409 when something of that tag is made
     */
    public Slot take(Caller caller, SnapshotTag tag) {
        return take(tag, branches, caller.owner());
    }

    /** As {@link #take}, for a snapshot that is no branch. */
    public Slot takeBuild(Caller caller, SnapshotTag tag) {
        return take(tag, builds, caller.owner());
    }

    /** As {@link #take}, for one that users' commands make, which take as long as they like. */
    public Slot takeTemplate(Caller caller, SnapshotTag tag) {
        return take(tag, templates, caller.owner());
    }

    private Slot take(SnapshotTag tag, Places places, Optional<String> user) {
        releaseWritten();
        places.take(user);
        if (!tags.add(tag)) {
            places.leave(user);
            throw new HttpFailure(409, "snapshot " + tag + " is being made by another call");
        }
        return new Slot(tag, places, user);
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
