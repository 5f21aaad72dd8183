package io.forkd.cli;

import io.forkd.engine.SpawnRequest;
import io.forkd.sandbox.Sandbox;
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

    @Option(
            names = "--per-child-netns",
            description = "Each has its network in a namespace forkd-child-<i> that no other sandbox uses; they must"
                    + " exist.")
    boolean perChildNetns;

    @Option(names = "--prewarm", description = "Accepted for compatibility; a branch needs no preparation.")
    boolean prewarm;

    SpawnCommand(Shell shell) {
        this.shell = shell;
    }

    @Override
    public Integer call() {
        options.check(count);
        SpawnRequest request =
                new SpawnRequest(options.tag, count, perChildNetns, options.memoryLimit(), options.volumeConflict);
        shell.engine().spawn(request, this::report, shell);
        shell.clear();
        return 0;
    }

    private void report(Sandbox sandbox) {
        if (options.json) {
            shell.print(LsCommand.json(sandbox));
        } else {
            shell.print(sandbox.id() + "  " + LsCommand.address(sandbox) + "  "
                    + sandbox.netns().orElse("-"));
            shell.out().flush();
        }
    }
}
