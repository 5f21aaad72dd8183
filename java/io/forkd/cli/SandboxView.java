package io.forkd.cli;

import io.forkd.Limit;
import io.forkd.cgroup.Usage;
import io.forkd.sandbox.Found;
import io.forkd.sandbox.Found.Known;
import io.forkd.sandbox.Found.Paused;
import io.forkd.sandbox.Lifetime;
import io.forkd.sandbox.Naming;
import io.forkd.sandbox.Sandbox;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.TreeMap;
import java.util.stream.Collectors;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/**
 * A sandbox as it is shown.
 *
 * @param known what is there to know of it; empty when what tells of it cannot be read
 */
record SandboxView(String id, Optional<Details> known, String state) {
    /**
     * @param address how its agent is reached, as --target takes it
     * @param memoryLimitMib that it has
     * @param memoryBytes that it takes, if that is counted; so for its processor time
     */
    record Details(
            String snapshot,
            OptionalLong pid,
            Optional<String> netns,
            long branches,
            String address,
            Instant createdAt,
            OptionalLong memoryLimitMib,
            OptionalLong memoryBytes,
            OptionalLong cpuMicros,
            Lifetime lifetime,
            Naming naming) {
        String memory() {
            String limit = memoryLimitMib.isPresent() ? " of " + memoryLimitMib.getAsLong() : "";
            return memoryBytes.isPresent() ? (memoryBytes.getAsLong() >> 20) + limit + " MiB" : "-";
        }

        String cpu() {
            return cpuMicros.isPresent() ? String.format(Locale.ROOT, "%.1f s", cpuMicros.getAsLong() / 1e6) : "-";
        }
    }

    static SandboxView of(Found found) {
        return new SandboxView(
                found.id(),
                found instanceof Paused paused
                        ? Optional.of(paused(paused.sandbox()))
                        : found instanceof Known known ? Optional.of(details(known.sandbox())) : Optional.empty(),
                found.state());
    }

    static SandboxView running(Sandbox sandbox) {
        return new SandboxView(sandbox.id(), Optional.of(details(sandbox)), "running");
    }

    /** It has nothing of what runs. */
    private static Details paused(Sandbox sandbox) {
        return new Details(
                sandbox.snapshot().tag(),
                OptionalLong.empty(),
                Optional.empty(),
                sandbox.branches(),
                "-",
                sandbox.createdAt(),
                sandbox.limits().get(Limit.MEMORY),
                OptionalLong.empty(),
                OptionalLong.empty(),
                sandbox.lifetime(),
                sandbox.naming());
    }

    private static Details details(Sandbox sandbox) {
        Optional<Usage> usage = sandbox.cgroup().flatMap(Usage::of);
        return new Details(
                sandbox.snapshot().tag(),
                OptionalLong.of(sandbox.pid()),
                sandbox.netns(),
                sandbox.branches(),
                "unix:" + sandbox.vsock(),
                sandbox.createdAt(),
                sandbox.limits().get(Limit.MEMORY),
                usage.map(Usage::memoryBytes).orElse(OptionalLong.empty()),
                usage.map(counted -> OptionalLong.of(counted.cpuMicros())).orElse(OptionalLong.empty()),
                sandbox.lifetime(),
                sandbox.naming());
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
                                answer.optionalNumber("pid"),
                                answer.optionalText("netns"),
                                answer.number("branch_count"),
                                answer.text("guest_addr"),
                                Instant.ofEpochSecond(answer.number("created_at_unix")),
                                answer.optionalNumber("memory_limit_mib"),
                                answer.object("usage").optionalNumber("memory_bytes"),
                                answer.object("usage").optionalNumber("cpu_usec"),
                                Lifetime.told(answer.node()),
                                Naming.told(answer.node()))),
                answer.optionalText("state").orElse("running"));
    }

    String address() {
        return known.map(Details::address).orElse("-");
    }

    String netns() {
        return known.flatMap(Details::netns).orElse("-");
    }

    String name() {
        return known.flatMap(details -> details.naming().name()).orElse("-");
    }

    /** In a line. */
    String labels() {
        return known.map(details -> new TreeMap<>(details.naming().labels())
                        .entrySet().stream()
                                .map(label -> label.getKey() + "=" + label.getValue())
                                .collect(Collectors.joining(" ")))
                .filter(text -> !text.isEmpty())
                .orElse("-");
    }

    String[] row() {
        return known.map(details -> new String[] {
                    id,
                    details.snapshot(),
                    details.pid().isPresent() ? Long.toString(details.pid().getAsLong()) : "-",
                    netns(),
                    Long.toString(details.branches()),
                    details.address(),
                    Format.age(Duration.between(details.createdAt(), Instant.now())),
                    details.memory(),
                    details.cpu(),
                    name(),
                    state
                })
                .orElseGet(() -> new String[] {id, "-", "-", "-", "-", "-", "-", "-", "-", "-", state});
    }

    ObjectNode json() {
        ObjectNode node = Shell.json().put("id", id);
        known.ifPresent(details -> {
            node.put("snapshot", details.snapshot())
                    .put("branches", details.branches())
                    .put("guest_addr", details.address())
                    .put("created_at", details.createdAt().toString());
            details.pid().ifPresent(pid -> node.put("pid", pid));
            details.netns().ifPresent(netns -> node.put("netns", netns));
            details.memoryLimitMib().ifPresent(mib -> node.put("memory_limit_mib", mib));
            details.memoryBytes().ifPresent(bytes -> node.put("memory_bytes", bytes));
            details.cpuMicros().ifPresent(micros -> node.put("cpu_usec", micros));
            details.lifetime().put(node);
            details.naming().put(node);
        });
        return node.put("state", state);
    }

    static ArrayNode json(List<SandboxView> all) {
        ArrayNode array = JsonNodeFactory.instance.arrayNode();
        all.forEach(each -> array.add(each.json()));
        return array;
    }
}
