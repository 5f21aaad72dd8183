package io.forkd.engine;

import io.forkd.snapshot.SnapshotTag;
import java.util.OptionalLong;

/**
 * Sandboxes to make of a snapshot.
 *
 * @param ownNetworks each gets its network from a namespace forkd-child-i that no other sandbox uses
 * @param memoryLimitMib of each one's cgroup
 */
public record SpawnRequest(
        SnapshotTag tag, int count, boolean ownNetworks, OptionalLong memoryLimitMib, VolumeConflict volumeConflict) {}
