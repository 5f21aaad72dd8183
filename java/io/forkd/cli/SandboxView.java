package io.forkd.cli;

import io.forkd.sandbox.Found;
import io.forkd.sandbox.Found.Known;
import io.forkd.sandbox.Sandbox;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.Optional;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/**
 * A sandbox as it is shown.
 *
 * @param known what is there to know of it; empty when what tells of it cannot be read
 */
record SandboxView(String id, Optional<Details> known, String state) {
    /** @param address how its agent is reached, as --target takes it */
    record Details(
            String snapshot, long pid, Optional<String> netns, long branches, String address, Instant createdAt) {}

    static SandboxView of(Found found) {
        return new SandboxView(
                found.id(),
                found instanceof Known known ? Optional.of(details(known.sandbox())) : Optional.empty(),
                found.state());
    }

    static SandboxView running(Sandbox sandbox) {
        return new SandboxView(sandbox.id(), Optional.of(details(sandbox)), "running");
    }

    private static Details details(Sandbox sandbox) {
        return new Details(
                sandbox.snapshot().tag(),
                sandbox.pid(),
                sandbox.netns(),
                sandbox.branches(),
                "unix:" + sandbox.vsock(),
                sandbox.createdAt());
    }

    /** The object SandboxInfo of REST v1. */
    static SandboxView of(Answer answer) {
        String snapshot = answer.text("snapshot_tag");
        return new SandboxView(
                answer.text("id"),
                snapshot.isEmpty()
                        ? Optional.empty()
                        : Optional.of(new Details(
                                snapshot,
                                answer.optionalNumber("pid").orElse(0),
                                answer.optionalText("netns"),
                                answer.number("branch_count"),
                                answer.text("guest_addr"),
                                Instant.ofEpochSecond(answer.number("created_at_unix")))),
                answer.optionalText("state").orElse("running"));
    }

    String address() {
        return known.map(Details::address).orElse("-");
    }

    String netns() {
        return known.flatMap(Details::netns).orElse("-");
    }

    String[] row() {
        return known.map(details -> new String[] {
                    id,
                    details.snapshot(),
                    Long.toString(details.pid()),
                    netns(),
                    Long.toString(details.branches()),
                    details.address(),
                    Format.age(Duration.between(details.createdAt(), Instant.now())),
                    state
                })
                .orElseGet(() -> new String[] {id, "-", "-", "-", "-", "-", "-", state});
    }

    ObjectNode json() {
        ObjectNode node = Shell.json().put("id", id);
        known.ifPresent(details -> {
            node.put("snapshot", details.snapshot())
                    .put("pid", details.pid())
                    .put("branches", details.branches())
                    .put("guest_addr", details.address())
                    .put("created_at", details.createdAt().toString());
            details.netns().ifPresent(netns -> node.put("netns", netns));
        });
        return node.put("state", state);
    }

    static JsonNode json(List<SandboxView> all) {
        ArrayNode array = JsonNodeFactory.instance.arrayNode();
        all.forEach(each -> array.add(each.json()));
        return array;
    }
}
