package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.engine.VolumeConflict;
import io.forkd.snapshot.SnapshotTag;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** What is said of children, whether they end with the command or outlive it. */
final class ForkOptions {
    static final int MAX_CHILDREN = 10_000;

    @Option(
            names = "--tag",
            required = true,
            paramLabel = "TAG",
            converter = TagConverter.class,
            description = "The snapshot.")
    SnapshotTag tag = new SnapshotTag("_");

    @Mixin
    LimitOptions limits = new LimitOptions();

    @Option(
            names = "--volume-conflict",
            paramLabel = "fail|private",
            defaultValue = "fail",
            description = "fail: what a child writes to a volume goes to its image, which no other VM may have;"
                    + " private: each has a copy-on-write view of its own, which ends with it."
                    + " Default: ${DEFAULT-VALUE}.")
    VolumeConflict volumeConflict = VolumeConflict.FAIL;

    @Option(names = "--json", description = "Print JSON: fork one object a line, as things happen, spawn an array.")
    boolean json;

    @Option(names = "--live-fork", description = "Accepted for compatibility; anything that runs can be branched.")
    boolean liveFork;

    @Option(names = "--hugepages", description = "Accepted for compatibility; has no effect.")
    boolean hugepages;

    void check(int count) {
        MachineOptions.requireRange("-n", count, 1, MAX_CHILDREN);
        if (hugepages && !liveFork) {
            throw new ForkdException(Kind.USAGE, "--hugepages is for --live-fork");
        }
    }
}
