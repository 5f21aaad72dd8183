package io.forkd.cli;

import io.forkd.agent.Agent;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

@Command(
        name = "ping",
        description = "Asks a guest's agent whether it is there, and prints its answer.",
        sortOptions = false)
final class PingCommand implements Callable<Integer> {
    private final Shell shell;

    @Mixin
    TargetOptions target = new TargetOptions();

    @Option(names = "--json", description = "Its answer is JSON in any case; errors are, too, with this.")
    boolean json;

    PingCommand(Shell shell) {
        this.shell = shell;
    }

    @Override
    public Integer call() {
        Agent agent = target.agent(shell);
        shell.print(shell.call().interruptibly(agent::ping).toPrettyString());
        return 0;
    }
}
