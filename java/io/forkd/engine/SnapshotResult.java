package io.forkd.engine;

import io.forkd.snapshot.SnapshotTag;
import java.nio.file.Path;
import java.time.Duration;

/**
 * A snapshot that was made.
 *
 * @param pid of the parent's process, which is gone
 * @param boot from the start of the VM until its guest was ready
 * @param write from then until the snapshot was on the disk
 */
public record SnapshotResult(
        SnapshotTag tag, Path directory, long memoryBytes, int pid, Duration boot, Duration write) {}
