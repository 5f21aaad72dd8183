package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.engine.SpawnRequest;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.stream.Collectors;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.ObjectNode;

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

    @Mixin
    PublishOptions publish = new PublishOptions();

    @Mixin
    LifetimeOptions lifetime = new LifetimeOptions();

    @Mixin
    NamingOptions naming = new NamingOptions();

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
        publish.check(count);
        SpawnRequest request = new SpawnRequest(
                        options.tag, count, network.request(shell), options.limits.limits(), options.volumeConflict)
                .living(lifetime.lifetime())
                .called(naming.naming());
        Backend backend = remote.backend(shell);
        List<SandboxView> made = backend.spawn(request);
        List<JsonNode> ports = publish(backend, made);
        shell.clear();
        if (options.json) {
            ArrayNode all = SandboxView.json(made);
            for (int i = 0; i < ports.size(); i++) {
                ((ObjectNode) all.get(i)).set("ports", ports.get(i));
            }
            shell.print(all.toPrettyString());
        } else {
            for (int i = 0; i < made.size(); i++) {
                SandboxView sandbox = made.get(i);
                shell.print(sandbox.id() + "  " + sandbox.address() + "  " + sandbox.netns()
                        + (ports.isEmpty() ? "" : "  " + text(ports.get(i))));
            }
        }
        if (remote.named(shell).isEmpty() && shell.engine().runtime().endsWithSession()) {
            shell.warn(shell.engine().runtime().root() + ", by which these are found, is removed when you have logged"
                    + " out; loginctl enable-linger keeps it");
        }
        return 0;
    }

    /** What of each is reached where, if anything is to be; all or none. */
    private List<JsonNode> publish(Backend backend, List<SandboxView> made) {
        if (publish.ports.isEmpty()) {
            return List.of();
        }
        try {
            return made.stream()
                    .map(sandbox -> Forwarder.start(sandbox.id(), publish.ports, remote.variables()))
                    .toList();
        } catch (ForkdException e) {
            backend.kill(made.stream().map(SandboxView::id).toList());
            throw e;
        }
    }

    private static String text(JsonNode ports) {
        return ports.valueStream()
                .map(port ->
                        port.path("host").asString() + ":" + port.path("port").asInt() + "->"
                                + port.path("guest_port").asInt())
                .collect(Collectors.joining(","));
    }
}
