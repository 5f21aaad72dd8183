package io.forkd.daemon;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.engine.Engine;
import io.forkd.engine.Snapshots.Removal;
import io.forkd.http.Caller;
import io.forkd.http.HttpFailure;
import io.forkd.snapshot.Snapshot.State;
import io.forkd.snapshot.SnapshotTag;
import java.util.List;
import java.util.stream.Stream;

/** Removes snapshots, as far as a caller may. */
public final class Removals {
    private final Engine engine;

    Removals(Engine engine) {
        this.engine = engine;
    }

    /**
     * Removes one. Sandboxes of it keep running: nobody writes to its files, and they have them mapped.
     *
     * @param cascade with all that depend on it
     * @param force although others depend on it
     * @throws HttpFailure 404 when it is not there for the caller, 403 when it is for all and the caller no
     *     administrator, 409 when others depend on it
     */
    public void remove(Caller caller, SnapshotTag tag, boolean cascade, boolean force) {
        Failures.requireThere(engine, caller, tag);
        if (!Owners.has(engine, caller, tag)) {
            throw new HttpFailure(403, "snapshot " + tag + " is for all, so only administrators remove it");
        }
        Removal removal = engine.snapshots().planRemoval(List.of(tag), cascade, true);
        removal.refused().values().forEach(refusal -> {
            throw refusal;
        });
        if (Stream.concat(removal.all().stream(), removal.orphans().stream())
                .anyMatch(each -> !Owners.has(engine, caller, each))) {
            throw new HttpFailure(409, "snapshot " + tag + " is the parent of snapshots that others have");
        }
        if (!removal.orphans().isEmpty() && !force) {
            throw new HttpFailure(
                    409,
                    "snapshot " + tag + " is the parent of " + removal.orphans()
                            + ": cascade=true removes them, too, force=true leaves them without their parent");
        }
        removal.all().forEach(each -> {
            if (!remove(each, removal) && each.equals(tag)) {
                throw Failures.notFound(tag);
            }
        });
    }

    /** False when somebody else has removed it. */
    private boolean remove(SnapshotTag tag, Removal plan) {
        try {
            engine.snapshots().remove(tag, plan, !isWriting(tag));
            return true;
        } catch (ForkdException e) {
            if (e.kind() == Kind.NOT_FOUND) {
                return false;
            }
            throw new HttpFailure(e.kind() == Kind.CONFLICT ? 409 : 500, e.sentence());
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
