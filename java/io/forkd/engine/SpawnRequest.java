package io.forkd.engine;

import io.forkd.Limits;
import io.forkd.snapshot.SnapshotTag;
import java.util.Optional;
import java.util.OptionalLong;

/**
 * Sandboxes to make of a snapshot.
 *
 * @param memoryLimitMib of each one's cgroup
 * @param limits where they say nothing, the snapshot's count
 * @param owner what each is to tell of whose it is, from before it lives
 */
public record SpawnRequest(
        SnapshotTag tag,
        int count,
        NetworkRequest network,
        OptionalLong memoryLimitMib,
        Limits limits,
        VolumeConflict volumeConflict,
        Optional<String> owner) {
    public SpawnRequest(
            SnapshotTag tag,
            int count,
            NetworkRequest network,
            OptionalLong memoryLimitMib,
            Limits limits,
            VolumeConflict volumeConflict) {
        this(tag, count, network, memoryLimitMib, limits, volumeConflict, Optional.empty());
    }

    public SpawnRequest ownedBy(String whom) {
        return new SpawnRequest(tag, count, network, memoryLimitMib, limits, volumeConflict, Optional.of(whom));
    }
}
