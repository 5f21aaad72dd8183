package io.forkd.snapshot;

import io.forkd.Json;
import io.forkd.files.Trees;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Optional;
import java.util.OptionalLong;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/**
 * Where a snapshot that was not booted comes from, as the file {@code .provenance} in it tells. It is for people: nothing
 * depends on it, and one that is lost is lost.
 *
 * @param from the sandbox that it is a branch of, or {@code compact:TAG}, or {@code pull:REF}
 * @param pause how long that sandbox stood still; not known before the branch is made
 * @param way how its memory got there; likewise
 * @param difference what it differs by from what the sandbox was forked from, when that was asked for
 */
public record Provenance(String from, Optional<Duration> pause, Optional<String> way, Optional<Difference> difference) {
    static final String FILE = ".provenance";
    static final String STAGED = FILE + ".new";

    private static final String PULL = "pull:";

    /**
     * What a layer of it comes to.
     *
     * @param time that its making took
     * @param physical bytes that it takes on the disk
     * @param logical bytes of the memory that it stands for
     */
    public record Difference(Duration time, long physical, long logical) {}

    public Provenance(String from, Optional<Duration> pause) {
        this(from, pause, Optional.empty(), Optional.empty());
    }

    /** Of a branch that was made. */
    public static Provenance ofBranch(String from, Duration pause, String way) {
        return new Provenance(from, Optional.of(pause), Optional.of(way), Optional.empty());
    }

    /** Of one that a registry had. */
    public static Provenance ofPull(String reference) {
        return new Provenance(PULL + reference, Optional.empty());
    }

    /** Where it was pulled from. */
    Optional<String> pulledFrom() {
        return from.startsWith(PULL) ? Optional.of(from.substring(PULL.length())) : Optional.empty();
    }

    public Provenance with(Difference measured) {
        return new Provenance(from, pause, way, Optional.of(measured));
    }

    /** Notes it in the snapshot's folder. */
    public void note(Path directory) {
        ObjectNode node = JsonNodeFactory.instance.objectNode().put("from", from);
        pause.ifPresent(time -> node.put("pause_us", micros(time)));
        way.ifPresent(how -> node.put("way", how));
        difference.ifPresent(measured -> node.putObject("difference")
                .put("time_us", micros(measured.time()))
                .put("physical", measured.physical())
                .put("logical", measured.logical()));
        Path staged = directory.resolve(STAGED);
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
            return from.isString()
                    ? Optional.of(new Provenance(
                            from.stringValue(),
                            time(node, "pause_us"),
                            way(node.path("way")),
                            difference(node.path("difference"))))
                    : Optional.empty();
        } catch (IOException | JacksonException e) {
            return Optional.empty();
        }
    }

    /** What is no word was written by somebody else. */
    private static Optional<String> way(JsonNode node) {
        return node.isString() && node.stringValue().matches("[a-z]{1,16}")
                ? Optional.of(node.stringValue())
                : Optional.empty();
    }

    private static Optional<Difference> difference(JsonNode node) {
        OptionalLong physical = number(node, "physical");
        OptionalLong logical = number(node, "logical");
        return physical.isEmpty() || logical.isEmpty()
                ? Optional.empty()
                : time(node, "time_us").map(time -> new Difference(time, physical.getAsLong(), logical.getAsLong()));
    }

    private static long micros(Duration time) {
        return time.toNanos() / 1000;
    }

    /** What is no number of a day at most was written by somebody else. */
    private static Optional<Duration> time(JsonNode node, String field) {
        OptionalLong micros = number(node, field);
        return micros.isPresent() && micros.getAsLong() <= Duration.ofDays(1).toNanos() / 1000
                ? Optional.of(Duration.ofNanos(micros.getAsLong() * 1000))
                : Optional.empty();
    }

    private static OptionalLong number(JsonNode node, String field) {
        JsonNode value = node.path(field);
        return value.isIntegralNumber() && value.canConvertToLong() && value.longValue() >= 0
                ? OptionalLong.of(value.longValue())
                : OptionalLong.empty();
    }
}
