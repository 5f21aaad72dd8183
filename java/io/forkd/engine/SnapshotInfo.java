package io.forkd.engine;

import io.forkd.files.FileSize;
import io.forkd.snapshot.Snapshot;
import io.forkd.snapshot.Snapshot.State;
import io.forkd.snapshot.SnapshotTag;
import java.util.List;
import java.util.Optional;

/**
 * What there is to know of a snapshot.
 *
 * @param contentHash of what it restores to; there once a snapshot has been made of it
 * @param verity whether a start sees to it that the kernel checks its memory whenever it is read
 * @param ancestors the first one first
 * @param files that the snapshot itself has
 * @param problem why it cannot be forked, if it cannot
 */
public record SnapshotInfo(
        Snapshot snapshot,
        State state,
        Optional<String> contentHash,
        boolean verity,
        List<SnapshotTag> ancestors,
        List<SnapshotTag> dependents,
        List<FileSize> files,
        Optional<String> problem) {}
