package io.forkd.sandbox;

import java.nio.file.Path;
import java.time.Instant;
import java.util.Optional;
import tools.jackson.databind.node.ObjectNode;

/**
 * A fork server that outlives the command that started it, as {@code server.json} in its directory says. Beside that is
 * {@code control.sock}.
 *
 * @param base the snapshot whose files the memory of its children is mapped from; another one than {@code snapshot} for
 *     a branch that is being written
 */
public record RunningServer(Path directory, Origin snapshot, Origin base, Instant startedAt) {
    public Path control() {
        return RuntimeDirectory.control(directory);
    }

    public static Optional<RunningServer> read(Path directory) {
        return RuntimeFile.read(directory.resolve("server.json"))
                .map(json -> new RunningServer(
                        directory, json.origin("snapshot"), json.origin("base"), json.instant("started_at")));
    }

    public void write() {
        ObjectNode node = RuntimeFile.node();
        RuntimeFile.put(node, "snapshot", snapshot);
        RuntimeFile.put(node, "base", base);
        node.put("started_at", startedAt.toString());
        RuntimeFile.write(directory.resolve("server.json"), node);
    }
}
