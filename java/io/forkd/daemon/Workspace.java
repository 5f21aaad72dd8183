package io.forkd.daemon;

import io.forkd.Limit;
import io.forkd.Limits;
import io.forkd.http.TokenFile;
import io.forkd.snapshot.SnapshotTag;
import java.time.Instant;
import java.util.Arrays;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ObjectNode;

/**
 * A sandbox under a name that can be put to sleep and woken.
 *
 * @param owner the user whose it is; what an administrator made is administrators'
 * @param id empty as long as it has never had a sandbox
 * @param source the snapshot that it was made of
 * @param state the snapshot that it was last put to sleep as
 * @param sandbox of one that does not run: one that is still to be ended
 */
record Workspace(
        String owner,
        String id,
        SnapshotTag name,
        SnapshotTag source,
        Status status,
        Instant created,
        Instant lastActive,
        Optional<SnapshotTag> state,
        Optional<String> sandbox,
        boolean ownNetworks,
        OptionalLong memoryLimitMib) {
    private static final int ID_CHARACTERS = 16;

    /** What it was last told to be. */
    enum Status {
        RUNNING,
        SUSPENDED,
        /** Its sandbox and its snapshot are still to be removed. */
        DELETED;

        String text() {
            return name().toLowerCase(Locale.ROOT);
        }
    }

    static Workspace of(
            String owner, SnapshotTag name, SnapshotTag source, boolean ownNetworks, OptionalLong memoryLimitMib) {
        Instant now = Instant.now();
        return new Workspace(
                owner,
                "",
                name,
                source,
                Status.RUNNING,
                now,
                now,
                Optional.empty(),
                Optional.empty(),
                ownNetworks,
                memoryLimitMib);
    }

    /** Beside those of its snapshot. */
    Limits limits() {
        return memoryLimitMib.isPresent() ? new Limits(Map.of(Limit.MEMORY, memoryLimitMib.getAsLong())) : Limits.NONE;
    }

    boolean is(Status asked) {
        return status == asked;
    }

    Workspace running(String live) {
        String known = id.isEmpty() ? "ws-" + live.substring(0, Math.min(ID_CHARACTERS, live.length())) : id;
        return with(known, Status.RUNNING, Instant.now(), state, Optional.of(live));
    }

    Workspace suspendedAs(SnapshotTag tag) {
        return with(id, Status.SUSPENDED, Instant.now(), Optional.of(tag), sandbox);
    }

    Workspace deleted() {
        return with(id, Status.DELETED, lastActive, state, sandbox);
    }

    Workspace withoutSandbox() {
        return with(id, status, lastActive, state, Optional.empty());
    }

    private Workspace with(String its, Status now, Instant active, Optional<SnapshotTag> tag, Optional<String> live) {
        return new Workspace(owner, its, name, source, now, created, active, tag, live, ownNetworks, memoryLimitMib);
    }

    ObjectNode toJson() {
        ObjectNode node = Wire.object()
                .put("owner", owner)
                .put("id", id)
                .put("name", name.value())
                .put("source_snapshot_tag", source.value())
                .put("status", status.text())
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
        String status = text(node, "status");
        return new Workspace(
                optional(node, "owner").orElse(TokenFile.ADMIN),
                text(node, "id"),
                new SnapshotTag(text(node, "name")),
                new SnapshotTag(text(node, "source_snapshot_tag")),
                // The published monitor writes down which have lost their sandbox, too.
                status.equals("stale")
                        ? Status.RUNNING
                        : Arrays.stream(Status.values())
                                .filter(each -> each.text().equals(status))
                                .findFirst()
                                .orElseThrow(() -> new IllegalArgumentException("status is " + status)),
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
