package io.forkd.cli;

import io.forkd.engine.ServerInfo;
import io.forkd.engine.ServerInfo.Answering;
import io.forkd.engine.ServerInfo.Silent;
import io.forkd.sandbox.Origin;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

@Command(
        name = "where",
        description = "Prints the folder that forkd keeps its data in; or lists the fork servers that run.",
        sortOptions = false)
final class WhereCommand implements Callable<Integer> {
    /** It lives, and does not answer. */
    private static final String STOPPED = "stopped";

    private final Shell shell;

    @Option(
            names = "--servers",
            description = "List the fork servers that are kept for the next fork, and the branches that are being"
                    + " written.")
    boolean servers;

    @Option(names = "--json", description = "Print the result as JSON; with --servers an array.")
    boolean json;

    WhereCommand(Shell shell) {
        this.shell = shell;
    }

    @Override
    public Integer call() {
        if (!servers) {
            String directory = shell.engine().dataDirectory().toString();
            if (json) {
                shell.print(Shell.json().put("dir", directory));
            } else {
                shell.print(directory);
            }
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
                table.row(row(server));
            }
            table.print(shell);
        }
        return 0;
    }

    private static String[] row(ServerInfo server) {
        if (server instanceof Answering answering) {
            return new String[] {
                answering.snapshot().tag(),
                Integer.toString(answering.pid()),
                Integer.toString(answering.children()),
                Integer.toString(answering.parked()),
                Format.size(answering.memoryBytes()),
                Format.age(Duration.between(answering.startedAt(), Instant.now())),
                answering.writing() ? "writing" : "kept"
            };
        }
        Silent silent = (Silent) server;
        return new String[] {
            silent.snapshot().map(Origin::tag).orElse("-"),
            silent.process().map(process -> Integer.toString(process.pid())).orElse("-"),
            "-",
            "-",
            "-",
            "-",
            STOPPED
        };
    }

    private void printJson(List<ServerInfo> running) {
        ArrayNode array = JsonNodeFactory.instance.arrayNode();
        for (ServerInfo server : running) {
            ObjectNode node = array.addObject();
            if (server instanceof Answering answering) {
                node.put("snapshot", answering.snapshot().tag())
                        .put("pid", answering.pid())
                        .put("children", answering.children())
                        .put("parked", answering.parked())
                        .put("memory_bytes", answering.memoryBytes())
                        .put("writing", answering.writing())
                        .put("started_at", answering.startedAt().toString())
                        .put("state", answering.writing() ? "writing" : "kept");
            } else if (server instanceof Silent silent) {
                silent.snapshot().ifPresent(origin -> node.put("snapshot", origin.tag()));
                silent.process().ifPresent(process -> node.put("pid", process.pid()));
                node.put("state", STOPPED);
            }
        }
        shell.print(array.toPrettyString());
    }
}
