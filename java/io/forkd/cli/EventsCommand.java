package io.forkd.cli;

import io.forkd.Json;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import tools.jackson.databind.node.ObjectNode;

@Command(
        name = "events",
        description =
                "Prints what happens to a daemon's sandboxes and snapshots, as it happens, until it is interrupted.",
        sortOptions = false)
final class EventsCommand implements Callable<Integer> {
    private static final String DATA = "data: ";
    private static final String ID = "id: ";

    private final Shell shell;

    @Option(
            names = "--since",
            paramLabel = "CURSOR",
            description = "Begin with what came after that: the cursor of an event, which --json prints.")
    Optional<String> since = Optional.empty();

    @Option(names = "--no-follow", description = "End when all is printed that is known.")
    boolean noFollow;

    @Option(names = "--json", description = "Print each as a JSON object in a line.")
    boolean json;

    @Mixin
    RemoteOptions remote = new RemoteOptions();

    private String cursor = "";

    EventsCommand(Shell shell) {
        this.shell = shell;
    }

    @Override
    public Integer call() {
        String path = "/v1/events?follow=" + !noFollow
                + since.map(from -> "&after=" + DaemonClient.part(from)).orElse("");
        remote.any(shell).lines(path, this::line);
        return 0;
    }

    private void line(String line) {
        if (line.startsWith(ID)) {
            cursor = line.substring(ID.length());
        } else if (line.startsWith(DATA)) {
            print(new Answer(Json.parse(line.substring(DATA.length()).getBytes(StandardCharsets.UTF_8))));
        }
    }

    private void print(Answer event) {
        if (json) {
            shell.print(Json.text(((ObjectNode) event.node()).put("cursor", cursor)));
            return;
        }
        StringBuilder text = new StringBuilder(event.text("time")).append("  ").append(event.text("event"));
        for (String field : List.of("sandbox", "snapshot", "reason")) {
            event.optionalText(field).ifPresent(value -> text.append("  ").append(value));
        }
        shell.print(text.toString());
    }
}
