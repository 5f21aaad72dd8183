package io.forkd.cli;

import io.forkd.Limits;
import io.forkd.engine.NetworkRequest;
import io.forkd.engine.SpawnRequest;
import io.forkd.engine.VolumeConflict;
import io.forkd.snapshot.SnapshotTag;
import java.util.List;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** What {@code forkd fork} does when it is followed by a sandbox. */
@Command(
        name = "fork",
        description =
                "Forks sandboxes of one that runs, as it is now, with its limits and network policy. It goes on; they"
                        + " outlive this command. Prints the id and the socket of each. All of them are made, or none."
                        + " forkd fork --tag TAG forks children of a snapshot: forkd fork --help.",
        sortOptions = false)
final class LiveForkCommand implements Callable<Integer> {
    /** It is of no snapshot. */
    private static final SnapshotTag NONE = new SnapshotTag("_");

    private final Shell shell;

    @Parameters(paramLabel = "ID", description = "The sandbox; forkd ls lists them.")
    String id = "";

    @Option(
            names = {"-n", "--n"},
            paramLabel = "N",
            defaultValue = "1",
            description = "How many sandboxes, 1 to 10000. Default: ${DEFAULT-VALUE}.")
    int count;

    @Mixin
    LifetimeOptions lifetime = new LifetimeOptions();

    @Mixin
    NamingOptions naming = new NamingOptions();

    @Option(names = "--json", description = "Print them as a JSON array.")
    boolean json;

    @Mixin
    RemoteOptions remote = new RemoteOptions();

    LiveForkCommand(Shell shell) {
        this.shell = shell;
    }

    @Override
    public Integer call() {
        MachineOptions.requireRange("-n", count, 1, ForkOptions.MAX_CHILDREN);
        SpawnRequest like = new SpawnRequest(NONE, count, NetworkRequest.OF_HOST, Limits.NONE, VolumeConflict.FAIL)
                .living(lifetime.lifetime())
                .called(naming.naming());
        List<SandboxView> made = remote.backend(shell).fork(id, like);
        shell.clear();
        if (json) {
            shell.print(SandboxView.json(made).toPrettyString());
        } else {
            made.forEach(sandbox -> shell.print(sandbox.id() + "  " + sandbox.address() + "  " + sandbox.netns()));
        }
        return 0;
    }
}
