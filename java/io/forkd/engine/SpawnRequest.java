package io.forkd.engine;

import io.forkd.Limits;
import io.forkd.sandbox.Lifetime;
import io.forkd.sandbox.Membership;
import io.forkd.sandbox.Naming;
import io.forkd.snapshot.SnapshotTag;
import java.util.Optional;

/**
 * Sandboxes to make of a snapshot.
 *
 * @param limits where they say nothing, the snapshot's count
 * @param owner what each is to tell of whose it is, from before it lives
 * @param pool of which they are to be members
 */
public record SpawnRequest(
        SnapshotTag tag,
        int count,
        NetworkRequest network,
        Limits limits,
        VolumeConflict volumeConflict,
        Optional<String> owner,
        Lifetime lifetime,
        Naming naming,
        Optional<Membership> pool) {
    public SpawnRequest(
            SnapshotTag tag, int count, NetworkRequest network, Limits limits, VolumeConflict volumeConflict) {
        this(
                tag,
                count,
                network,
                limits,
                volumeConflict,
                Optional.empty(),
                Lifetime.ENDLESS,
                Naming.NONE,
                Optional.empty());
    }

    public SpawnRequest ownedBy(String whom) {
        return new SpawnRequest(tag, count, network, limits, volumeConflict, Optional.of(whom), lifetime, naming, pool);
    }

    SpawnRequest of(SnapshotTag other) {
        return new SpawnRequest(other, count, network, limits, volumeConflict, owner, lifetime, naming, pool);
    }

    SpawnRequest counting(int other) {
        return new SpawnRequest(tag, other, network, limits, volumeConflict, owner, lifetime, naming, pool);
    }

    SpawnRequest in(Membership member) {
        return new SpawnRequest(
                tag, count, network, limits, volumeConflict, owner, lifetime, naming, Optional.of(member));
    }

    public SpawnRequest living(Lifetime time) {
        return new SpawnRequest(tag, count, network, limits, volumeConflict, owner, time, naming, pool);
    }

    public SpawnRequest called(Naming what) {
        return new SpawnRequest(tag, count, network, limits, volumeConflict, owner, lifetime, what, pool);
    }
}
