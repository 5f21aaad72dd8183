package io.forkd.cli;

import io.forkd.engine.SpawnRequest;
import io.forkd.sandbox.Sandbox;
import java.util.List;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;

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
        List<Sandbox> made = shell.engine().spawn(request, shell.call());
        shell.clear();
        if (options.json) {
            ArrayNode array = JsonNodeFactory.instance.arrayNode();
            made.forEach(sandbox -> array.add(LsCommand.json(sandbox)));
            shell.print(array.toPrettyString());
        } else {
            made.forEach(sandbox -> shell.print(sandbox.id() + "  " + LsCommand.address(sandbox) + "  "
                    + sandbox.netns().orElse("-")));
        }
        if (shell.engine().runtime().endsWithSession()) {
            shell.warn(shell.engine().runtime().root() + ", by which these are found, is removed when you have logged"
                    + " out; loginctl enable-linger keeps it");
        }
        return 0;
    }
}
