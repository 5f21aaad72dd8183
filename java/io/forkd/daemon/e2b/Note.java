package io.forkd.daemon.e2b;

import io.forkd.snapshot.Manifest;
import io.forkd.snapshot.SnapshotTag;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.Optional;
import java.util.UUID;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/**
 * What a template's manifest says for this interface alone. What is made of a template has a copy of it.
 *
 * @param template its name, without a tag
 * @param build that made it
 * @param sandbox that it is a snapshot of
 */
record Note(String template, String build, Defaults defaults, Optional<String> sandbox) {
    private static final String FIELD = "e2b";

    /** As fields of a manifest. */
    Map<String, JsonNode> fields() {
        ObjectNode node =
                JsonNodeFactory.instance.objectNode().put("template", template).put("build", build);
        sandbox.ifPresent(id -> node.put("sandbox", id));
        return Map.of(FIELD, defaults.put(node));
    }

    /** Of a snapshot that is one of E2B's; a copy of another's note says nothing of it. */
    static Optional<Note> of(SnapshotTag tag, Manifest manifest) {
        JsonNode node = manifest.rest().path(FIELD);
        String name = node.path("template").asString("");
        if (name.isEmpty() || !(tag.value().equals(name) || tag.value().startsWith(name + "."))) {
            return Optional.empty();
        }
        return Optional.of(new Note(
                name,
                node.path("build").asString(""),
                Defaults.of(node),
                Optional.of(node.path("sandbox").asString("")).filter(id -> !id.isEmpty())));
    }

    /** Of whatever snapshot: they are inherited. */
    static Defaults defaults(Manifest manifest) {
        return Defaults.of(manifest.rest().path(FIELD));
    }

    /** What E2B's clients take for the build of any snapshot: there is one for each. */
    static String build(SnapshotTag tag, Manifest manifest) {
        return of(tag, manifest)
                .map(Note::build)
                .filter(Note::isId)
                .orElseGet(() -> UUID.nameUUIDFromBytes(
                                (tag + " " + manifest.createdAt()).getBytes(StandardCharsets.UTF_8))
                        .toString());
    }

    private static boolean isId(String text) {
        return text.matches("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}");
    }
}
