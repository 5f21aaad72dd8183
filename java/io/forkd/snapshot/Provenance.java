package io.forkd.snapshot;

import io.forkd.Json;
import io.forkd.files.Trees;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Optional;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/**
 * Where a snapshot that was not booted comes from, as the file {@code .provenance} in it tells. It is for people: nothing
 * depends on it, and one that is lost is lost.
 *
 * @param from the sandbox that it is a branch of, or {@code compact:TAG}
 * @param pause how long that sandbox stood still
 */
public record Provenance(String from, Optional<Duration> pause) {
    private static final String FILE = ".provenance";

    /** Notes it in the snapshot's folder. */
    public void note(Path directory) {
        ObjectNode node = JsonNodeFactory.instance.objectNode().put("from", from);
        pause.ifPresent(time -> node.put("pause_us", time.toNanos() / 1000));
        Path staged = directory.resolve(FILE + ".new");
        try {
            Files.deleteIfExists(staged);
            Files.write(staged, Json.bytes(node));
            Trees.rename(staged, directory.resolve(FILE));
        } catch (IOException e) {
            // It is done without.
        }
    }

    /** Empty of one that was booted. */
    public static Optional<Provenance> of(Path directory) {
        try {
            JsonNode node = Json.parse(Files.readAllBytes(directory.resolve(FILE)));
            JsonNode from = node.path("from");
            JsonNode pause = node.path("pause_us");
            return from.isString()
                    ? Optional.of(new Provenance(
                            from.stringValue(),
                            pause.isIntegralNumber() && pause.canConvertToLong()
                                    ? Optional.of(Duration.ofNanos(pause.longValue() * 1000))
                                    : Optional.empty()))
                    : Optional.empty();
        } catch (IOException | JacksonException e) {
            return Optional.empty();
        }
    }
}
