package io.forkd.cli;

import io.forkd.agent.AgentAddress;
import io.forkd.agent.AgentClient;
import java.util.Optional;
import picocli.CommandLine.ArgGroup;
import picocli.CommandLine.Option;

/** Which guest is meant. */
final class TargetOptions {
    @ArgGroup(exclusive = true)
    Choice choice = new Choice();

    static final class Choice {
        @Option(
                names = "--target",
                paramLabel = "HOST:PORT",
                description = "Address of the agent, or unix:PATH for a VM's socket. Default: 10.42.0.2:8888.")
        Optional<String> target = Optional.empty();

        @Option(
                names = "--child",
                paramLabel = "NAME",
                description = "A running child by its name, which forkd fork prints, or a sandbox by its id.")
        Optional<String> child = Optional.empty();
    }

    AgentClient agent(Shell shell) {
        choice.child.ifPresent(shell.engine().sandboxes()::giveVolumesBack);
        return new AgentClient(choice.child
                .<AgentAddress>map(
                        name -> new AgentAddress.Vsock(shell.engine().runtime().find(name)))
                .orElseGet(() -> AgentAddress.parse(choice.target.orElse("10.42.0.2:8888"))));
    }

    /** Of a command that failed, this may be why; of one that did not, forkd ls tells it, without the time that it takes to ask. */
    void explainFailure(Shell shell) {
        choice.child
                .filter(shell.engine().sandboxes()::isHostFull)
                .ifPresent(id -> shell.warn("the host had no room in /var/tmp for what " + id
                        + " wrote to its disks, and its file systems may have stopped. Make room there; 'forkd kill "
                        + id + "' ends it, and its snapshot gives others."));
    }
}
