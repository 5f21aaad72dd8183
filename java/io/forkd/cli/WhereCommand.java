package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.engine.ServerInfo;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;

@Command(
        name = "where",
        description = "Prints the folder that forkd keeps its data in; or lists the fork servers that run.",
        sortOptions = false)
final class WhereCommand implements Callable<Integer> {
    private final Shell shell;

    @Option(
            names = "--servers",
            description = "List the fork servers that are kept for the next fork, and the branches that are being"
                    + " written.")
    boolean servers;

    @Option(names = "--json", description = "With --servers: print them as a JSON array.")
    boolean json;

    WhereCommand(Shell shell) {
        this.shell = shell;
    }

    @Override
    public Integer call() {
        if (json && !servers) {
            throw new ForkdException(Kind.USAGE, "--json is for --servers");
        }
        if (!servers) {
            shell.print(shell.engine().dataDirectory().toString());
            return 0;
        }
        List<ServerInfo> running = shell.engine().servers();
        if (json) {
            printJson(running);
        } else if (running.isEmpty()) {
            shell.note("No fork server runs.");
        } else {
            Table table = new Table("SNAPSHOT", "PID", "CHILDREN", "PARKED", "MEMORY", "STARTED", "STATE");
            for (ServerInfo server : running) {
                table.row(
                        server.snapshot().tag(),
                        Integer.toString(server.pid()),
                        Integer.toString(server.children()),
                        Integer.toString(server.parked()),
                        Format.size(server.memoryBytes()),
                        Format.age(Duration.between(server.startedAt(), Instant.now())),
                        server.writing() ? "writing" : "kept");
            }
            table.print(shell);
        }
        return 0;
    }

    private void printJson(List<ServerInfo> running) {
        ArrayNode array = JsonNodeFactory.instance.arrayNode();
        for (ServerInfo server : running) {
            array.addObject()
                    .put("snapshot", server.snapshot().tag())
                    .put("pid", server.pid())
                    .put("children", server.children())
                    .put("parked", server.parked())
                    .put("memory_bytes", server.memoryBytes())
                    .put("writing", server.writing())
                    .put("started_at", server.startedAt().toString());
        }
        shell.print(array.toPrettyString());
    }
}
