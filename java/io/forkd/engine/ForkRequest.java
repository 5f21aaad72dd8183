package io.forkd.engine;

import io.forkd.Limits;
import io.forkd.snapshot.SnapshotTag;

/**
 * Children to make of a snapshot.
 *
 * @param limits where they say nothing, the snapshot's count
 * @param keepServer whether a fork server that runs already may be used, and a new one is kept for others
 * @param prepare whether the children get the snapshot's working set, or learn it: of no use to an only child
 */
public record ForkRequest(
        SnapshotTag tag,
        int count,
        NetworkRequest network,
        Limits limits,
        VolumeConflict volumeConflict,
        boolean keepServer,
        boolean prepare,
        boolean keepWork) {}
