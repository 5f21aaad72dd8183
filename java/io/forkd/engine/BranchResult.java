package io.forkd.engine;

import io.forkd.snapshot.SnapshotTag;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Optional;

/**
 * A branch that was made.
 *
 * @param pause how long the guest stood still
 * @param way how its memory got there: {@code fork} or {@code precopy}
 * @param volumesAway how long its volumes were unmounted in it, if it writes to any
 * @param written whether it is on the disk already
 */
public record BranchResult(
        SnapshotTag tag,
        Path directory,
        Optional<SnapshotTag> parent,
        Duration pause,
        String way,
        Optional<Duration> volumesAway,
        boolean written) {}
