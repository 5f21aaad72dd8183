package io.forkd.agent;

import io.forkd.agent.AgentClient.Evaluation;
import io.forkd.agent.AgentClient.Output;
import java.time.Duration;
import java.util.Optional;
import tools.jackson.databind.node.ObjectNode;

/** The agent of a guest, whichever way it is asked. */
public interface Agent {
    /** The agent's own answer, which may have any fields. */
    ObjectNode ping();

    /**
     * Runs a command in the guest, and ends with it: what it left in the background goes on. When this is left early, by
     * an exception of {@code output} or an interrupt, the command is ended.
     *
     * @return its exit code; negative when a signal ended it
     * @throws CommandFailed when it could not run, or took longer than it may; {@code output} has what it wrote until then
     * @throws io.forkd.ForkdException when the agent could not be asked
     */
    int exec(GuestCommand command, Output output);

    /** Evaluates an expression in the guest's warm interpreter, which is interrupted after {@code timeout}. */
    Evaluation eval(String code, Optional<Duration> timeout);
}
