package io.forkd.cli;

import io.forkd.snapshot.SnapshotTag;

/** A snapshot that is to be made of a container image. */
record ImageOrder(SnapshotTag tag, String reference, ImageOptions image, MachineOptions machine, boolean force) {}
