package io.forkd.engine;

import io.forkd.Limits;
import io.forkd.sandbox.Lifetime;
import io.forkd.sandbox.Naming;
import io.forkd.snapshot.SnapshotTag;
import java.util.Optional;

/**
 * Sandboxes to make of a snapshot.
 *
 * @param limits where they say nothing, the snapshot's count
 * @param owner what each is to tell of whose it is, from before it lives
 */
public record SpawnRequest(
        SnapshotTag tag,
        int count,
        NetworkRequest network,
        Limits limits,
        VolumeConflict volumeConflict,
        Optional<String> owner,
        Lifetime lifetime,
        Naming naming) {
    public SpawnRequest(
            SnapshotTag tag, int count, NetworkRequest network, Limits limits, VolumeConflict volumeConflict) {
        this(tag, count, network, limits, volumeConflict, Optional.empty(), Lifetime.ENDLESS, Naming.NONE);
    }

    public SpawnRequest ownedBy(String whom) {
        return new SpawnRequest(tag, count, network, limits, volumeConflict, Optional.of(whom), lifetime, naming);
    }

    SpawnRequest of(SnapshotTag other) {
        return new SpawnRequest(other, count, network, limits, volumeConflict, owner, lifetime, naming);
    }

    public SpawnRequest living(Lifetime time) {
        return new SpawnRequest(tag, count, network, limits, volumeConflict, owner, time, naming);
    }

    public SpawnRequest called(Naming what) {
        return new SpawnRequest(tag, count, network, limits, volumeConflict, owner, lifetime, what);
    }
}
