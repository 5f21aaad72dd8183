package io.forkd.engine;

import io.forkd.rootfs.Rootfs;
import java.time.Duration;

/**
 * A snapshot of a container image.
 *
 * @param build how long its root disk took
 */
public record ImageSnapshot(Rootfs rootfs, Duration build, SnapshotResult snapshot) {}
