package io.forkd.daemon;

import io.forkd.snapshot.SnapshotTag;
import java.time.Instant;
import java.util.Optional;
import java.util.OptionalLong;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ObjectNode;

/**
 * A sandbox under a name that can be put to sleep and woken.
 *
 * @param source the snapshot that it was made of
 * @param suspended whether it sleeps; then {@code sandbox} is one that is still to be ended
 * @param state the snapshot that it was last put to sleep as
 */
record Workspace(
        String id,
        SnapshotTag name,
        SnapshotTag source,
        boolean suspended,
        Instant created,
        Instant lastActive,
        Optional<SnapshotTag> state,
        Optional<String> sandbox,
        boolean ownNetworks,
        OptionalLong memoryLimitMib) {

    Workspace running(String live) {
        return with(false, Instant.now(), state, Optional.of(live));
    }

    /** The sandbox is still to be ended. */
    Workspace suspendedAs(SnapshotTag tag) {
        return with(true, Instant.now(), Optional.of(tag), sandbox);
    }

    Workspace withoutSandbox() {
        return with(suspended, lastActive, state, Optional.empty());
    }

    private Workspace with(boolean sleeps, Instant active, Optional<SnapshotTag> tag, Optional<String> live) {
        return new Workspace(id, name, source, sleeps, created, active, tag, live, ownNetworks, memoryLimitMib);
    }

    ObjectNode toJson() {
        ObjectNode node = Wire.object()
                .put("id", id)
                .put("name", name.value())
                .put("source_snapshot_tag", source.value())
                .put("status", suspended ? "suspended" : "running")
                .put("created_at_unix", created.getEpochSecond())
                .put("last_active_unix", lastActive.getEpochSecond());
        state.ifPresent(tag -> node.put("current_state_tag", tag.value()));
        sandbox.ifPresent(live -> node.put("live_sandbox_id", live));
        node.put("per_child_netns", ownNetworks);
        memoryLimitMib.ifPresent(mib -> node.put("memory_limit_mib", mib));
        return node;
    }

    /** Reads what {@link #toJson} makes; anything else is an IllegalArgumentException, or a tag's own. */
    static Workspace of(JsonNode node) {
        return new Workspace(
                text(node, "id"),
                new SnapshotTag(text(node, "name")),
                new SnapshotTag(text(node, "source_snapshot_tag")),
                text(node, "status").equals("suspended"),
                Instant.ofEpochSecond(number(node, "created_at_unix")),
                Instant.ofEpochSecond(number(node, "last_active_unix")),
                optional(node, "current_state_tag").map(SnapshotTag::new),
                optional(node, "live_sandbox_id"),
                node.path("per_child_netns").asBoolean(false),
                node.path("memory_limit_mib").isMissingNode()
                        ? OptionalLong.empty()
                        : OptionalLong.of(number(node, "memory_limit_mib")));
    }

    private static String text(JsonNode node, String field) {
        return optional(node, field).orElseThrow(() -> new IllegalArgumentException(field + " is missing"));
    }

    private static Optional<String> optional(JsonNode node, String field) {
        JsonNode value = node.path(field);
        return value.isString() ? Optional.of(value.stringValue()) : Optional.empty();
    }

    private static long number(JsonNode node, String field) {
        JsonNode value = node.path(field);
        if (!value.isIntegralNumber() || !value.canConvertToLong()) {
            throw new IllegalArgumentException(field + " is no number");
        }
        return value.longValue();
    }
}
