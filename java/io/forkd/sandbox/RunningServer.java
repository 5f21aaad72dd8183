package io.forkd.sandbox;

import java.nio.file.Path;
import java.time.Instant;
import java.util.Optional;
import java.util.OptionalLong;
import tools.jackson.databind.node.ObjectNode;

/**
 * A fork server that outlives the command that started it, as {@code server.json} in its directory says. Beside that is
 * {@code control.sock}.
 *
 * @param base the snapshot whose files the memory of its children is mapped from; another one than {@code snapshot} for
 *     a branch that is being written
 * @param process empty while it is being started; earlier versions did not write it down
 */
public record RunningServer(
        Path directory, Origin snapshot, Origin base, Instant startedAt, Optional<ProcessId> process) {
    public Path control() {
        return RuntimeDirectory.control(directory);
    }

    public static Optional<RunningServer> read(Path directory) {
        return RuntimeFile.read(directory.resolve("server.json"))
                .map(json -> new RunningServer(
                        directory,
                        json.origin("snapshot"),
                        json.origin("base"),
                        json.instant("started_at"),
                        process(json)));
    }

    private static Optional<ProcessId> process(RuntimeFile json) {
        OptionalLong startTime = json.count("start_time");
        return startTime.isPresent()
                ? Optional.of(new ProcessId(json.number("pid"), startTime.getAsLong()))
                : Optional.empty();
    }

    public RunningServer withProcess(Optional<ProcessId> started) {
        return new RunningServer(directory, snapshot, base, startedAt, started);
    }

    public void write() {
        ObjectNode node = RuntimeFile.node();
        RuntimeFile.put(node, "snapshot", snapshot);
        RuntimeFile.put(node, "base", base);
        node.put("started_at", startedAt.toString());
        process.ifPresent(id -> node.put("pid", id.pid()).put("start_time", id.startTime()));
        RuntimeFile.write(directory.resolve("server.json"), node);
    }
}
