package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.engine.VolumeConflict;
import io.forkd.snapshot.SnapshotTag;
import java.util.Optional;
import java.util.OptionalLong;
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

    @Option(names = "--memory-limit-mib", paramLabel = "M", description = "Memory limit of each (cgroup).")
    Optional<Long> memoryLimitMib = Optional.empty();

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
        memoryLimitMib.ifPresent(mib -> MachineOptions.requireRange("--memory-limit-mib", mib, 1, 1L << 40));
        if (hugepages && !liveFork) {
            throw new ForkdException(Kind.USAGE, "--hugepages is for --live-fork");
        }
    }

    OptionalLong memoryLimit() {
        return memoryLimitMib.map(OptionalLong::of).orElse(OptionalLong.empty());
    }
}
