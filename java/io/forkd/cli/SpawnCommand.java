package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.engine.SpawnRequest;
import io.forkd.engine.VolumeConflict;
import io.forkd.sandbox.Sandbox;
import io.forkd.snapshot.SnapshotTag;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

@Command(
        name = "spawn",
        description = "Forks sandboxes of a snapshot: children that outlive this command, until forkd kill ends them."
                + " Prints the id and the socket of each. All of them are made, or none.",
        sortOptions = false)
final class SpawnCommand implements Callable<Integer> {
    private static final int MAX_SANDBOXES = 10_000;

    private final Shell shell;

    @Option(
            names = "--tag",
            required = true,
            paramLabel = "TAG",
            converter = TagConverter.class,
            description = "The snapshot.")
    SnapshotTag tag = new SnapshotTag("_");

    @Option(
            names = {"-n", "--n"},
            paramLabel = "N",
            defaultValue = "1",
            description = "How many sandboxes, 1 to 10000. Default: ${DEFAULT-VALUE}.")
    int count;

    @Option(
            names = "--per-child-netns",
            description = "Each has its network in a namespace forkd-child-<i> that no other sandbox uses; they must"
                    + " exist.")
    boolean perChildNetns;

    @Option(names = "--memory-limit-mib", paramLabel = "M", description = "Memory limit of each sandbox (cgroup).")
    Optional<Long> memoryLimitMib = Optional.empty();

    @Option(
            names = "--volume-conflict",
            paramLabel = "fail|private",
            defaultValue = "fail",
            description = "When a writable volume is in use already, or by several sandboxes: fail, or give each a"
                    + " copy-on-write view that ends with it. Default: ${DEFAULT-VALUE}.")
    VolumeConflict volumeConflict = VolumeConflict.FAIL;

    @Option(names = "--json", description = "Print one JSON object a line.")
    boolean json;

    @Option(names = "--prewarm", description = "Accepted for compatibility; a branch needs no preparation.")
    boolean prewarm;

    @Option(names = "--live-fork", description = "Accepted for compatibility; any sandbox can be branched.")
    boolean liveFork;

    @Option(names = "--hugepages", description = "Accepted for compatibility; has no effect.")
    boolean hugepages;

    SpawnCommand(Shell shell) {
        this.shell = shell;
    }

    @Override
    public Integer call() {
        MachineOptions.requireRange("-n", count, 1, MAX_SANDBOXES);
        memoryLimitMib.ifPresent(mib -> MachineOptions.requireRange("--memory-limit-mib", mib, 1, 1L << 40));
        if (hugepages && !liveFork) {
            throw new ForkdException(Kind.USAGE, "--hugepages is for --live-fork");
        }
        SpawnRequest request = new SpawnRequest(
                tag,
                count,
                perChildNetns,
                memoryLimitMib.map(OptionalLong::of).orElse(OptionalLong.empty()),
                volumeConflict);
        shell.engine().spawn(request, this::report, shell);
        shell.clear();
        return 0;
    }

    private void report(Sandbox sandbox) {
        if (json) {
            shell.print(LsCommand.json(sandbox));
        } else {
            shell.print(sandbox.id() + "  " + LsCommand.address(sandbox) + "  "
                    + sandbox.netns().orElse("-"));
            shell.out().flush();
        }
    }
}
