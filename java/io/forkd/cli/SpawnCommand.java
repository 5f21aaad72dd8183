package io.forkd.cli;

import io.forkd.engine.SpawnRequest;
import java.util.List;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

@Command(
        name = "spawn",
        description = "Forks sandboxes of a snapshot: children that outlive this command, until forkd kill ends them."
                + " Prints the id and the socket of each. All of them are made, or none.",
        sortOptions = false)
final class SpawnCommand implements Callable<Integer> {
    private final Shell shell;

    @Mixin
    ForkOptions options = new ForkOptions();

    @Option(
            names = {"-n", "--n"},
            paramLabel = "N",
            defaultValue = "1",
            description = "How many sandboxes, 1 to 10000. Default: ${DEFAULT-VALUE}.")
    int count;

    @Mixin
    NetworkOptions network = new NetworkOptions();

    @Option(names = "--prewarm", description = "Accepted for compatibility; a branch needs no preparation.")
    boolean prewarm;

    @Mixin
    RemoteOptions remote = new RemoteOptions();

    SpawnCommand(Shell shell) {
        this.shell = shell;
    }

    @Override
    public Integer call() {
        options.check(count);
        SpawnRequest request = new SpawnRequest(
                options.tag,
                count,
                network.request(shell),
                options.memoryLimit(),
                options.limits.limits(),
                options.volumeConflict);
        List<SandboxView> made = remote.backend(shell).spawn(request);
        shell.clear();
        if (options.json) {
            shell.print(SandboxView.json(made).toPrettyString());
        } else {
            made.forEach(sandbox -> shell.print(sandbox.id() + "  " + sandbox.address() + "  " + sandbox.netns()));
        }
        if (remote.named(shell).isEmpty() && shell.engine().runtime().endsWithSession()) {
            shell.warn(shell.engine().runtime().root() + ", by which these are found, is removed when you have logged"
                    + " out; loginctl enable-linger keeps it");
        }
        return 0;
    }
}
