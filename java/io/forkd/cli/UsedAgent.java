package io.forkd.cli;

import io.forkd.agent.Agent;
import io.forkd.agent.AgentAddress;
import io.forkd.agent.AgentClient;
import io.forkd.agent.AgentClient.Evaluation;
import io.forkd.agent.AgentClient.Output;
import io.forkd.agent.GuestCommand;
import io.forkd.engine.Engine;
import java.time.Duration;
import java.util.Optional;
import java.util.function.Function;
import tools.jackson.databind.node.ObjectNode;

/** The agent of a sandbox that is not idle while it is asked, and may have to be resumed first. */
record UsedAgent(Shell shell, String id) implements Agent {
    private <T> T ask(Function<Agent, T> question) {
        try (Engine.Use used = shell.engine().use(id, shell.call())) {
            shell.engine().sandboxes().giveVolumesBack(id);
            return question.apply(
                    new AgentClient(new AgentAddress.Vsock(used.sandbox().vsock())));
        }
    }

    @Override
    public ObjectNode ping() {
        return ask(Agent::ping);
    }

    @Override
    public int exec(GuestCommand command, Output output) {
        return ask(agent -> agent.exec(command, output));
    }

    @Override
    public Evaluation eval(String code, Optional<Duration> timeout) {
        return ask(agent -> agent.eval(code, timeout));
    }
}
