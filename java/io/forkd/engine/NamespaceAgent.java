package io.forkd.engine;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.agent.Agent;
import io.forkd.agent.AgentClient.Evaluation;
import io.forkd.agent.AgentClient.Output;
import io.forkd.agent.GuestCommand;
import io.forkd.vmm.NetworkNamespace;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Optional;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.FutureTask;
import java.util.function.Supplier;
import tools.jackson.databind.node.ObjectNode;

/** An agent that is reached over the network of a namespace: each request has a thread of its own, which goes in there. */
public final class NamespaceAgent implements Agent {
    /** What an interrupted request has to close its connection, which ends its command. */
    private static final long UNWIND_MILLIS = 2000;

    private final Path namespace;
    private final Agent agent;

    private NamespaceAgent(Path namespace, Agent agent) {
        this.namespace = namespace;
        this.agent = agent;
    }

    /** {@code agent}, from the namespace of that name in /var/run/netns; empty when there is none. */
    public static Optional<Agent> in(String name, Agent agent) {
        return name.isEmpty() || name.startsWith(".") || name.contains("/") || !Files.exists(Place.namespace(name))
                ? Optional.empty()
                : Optional.of(new NamespaceAgent(Place.namespace(name), agent));
    }

    @Override
    public ObjectNode ping() {
        return inside(agent::ping);
    }

    @Override
    public int exec(GuestCommand command, Output output) {
        return inside(() -> agent.exec(command, output));
    }

    @Override
    public Evaluation eval(String code, Optional<Duration> timeout) {
        return inside(() -> agent.eval(code, timeout));
    }

    private <T> T inside(Supplier<T> request) {
        FutureTask<T> task = new FutureTask<>(() -> {
            NetworkNamespace.enter(namespace);
            return request.get();
        });
        Thread thread = new Thread(task, "netns");
        thread.setDaemon(true);
        thread.start();
        try {
            try {
                return task.get();
            } catch (InterruptedException e) {
                thread.interrupt();
                thread.join(UNWIND_MILLIS);
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        } catch (ExecutionException e) {
            if (e.getCause() instanceof RuntimeException known) {
                throw known;
            }
            throw new IllegalStateException(e.getCause());
        }
        throw new ForkdException(Kind.FAILED, "interrupted while talking to the agent in " + namespace);
    }
}
