package io.forkd.daemon;

import io.forkd.Json;
import io.forkd.Limit;
import io.forkd.agent.GuestMetrics;
import io.forkd.cgroup.Usage;
import io.forkd.sandbox.Figures;
import io.forkd.sandbox.Found;
import io.forkd.sandbox.Found.Known;
import io.forkd.sandbox.Found.Paused;
import io.forkd.sandbox.Lifetime;
import io.forkd.sandbox.Naming;
import io.forkd.sandbox.Sandbox;
import io.forkd.snapshot.Snapshot;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Collection;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.function.Function;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/** The objects of REST v1 as they are sent. */
final class Wire {
    /** In every guest with a network device; others are asked through the daemon. */
    private static final String GUEST = "10.42.0.2:8888";

    /** The type of an answer that is a JSON object in each line. */
    static final String LINES = "application/x-ndjson";

    private Wire() {}

    /** Sends one of them. */
    static void line(OutputStream out, ObjectNode object) throws IOException {
        lastLine(out, object);
        out.flush();
    }

    /** One that goes out with the end of the answer. */
    static void lastLine(OutputStream out, ObjectNode object) throws IOException {
        out.write(Json.bytes(object));
        out.write('\n');
    }

    static ObjectNode object() {
        return JsonNodeFactory.instance.objectNode();
    }

    static <T> ArrayNode array(Collection<T> items, Function<T, ObjectNode> each) {
        ArrayNode array = JsonNodeFactory.instance.arrayNode();
        items.forEach(item -> array.add(each.apply(item)));
        return array;
    }

    static ArrayNode texts(List<?> items) {
        ArrayNode array = JsonNodeFactory.instance.arrayNode();
        items.forEach(item -> array.add(item.toString()));
        return array;
    }

    /** Every field is there, without a value as null. */
    static ObjectNode sandbox(Found found) {
        Optional<Sandbox> sandbox =
                found instanceof Known known ? Optional.of(known.sandbox()) : Optional.<Sandbox>empty();
        ObjectNode node = object().put("id", found.id())
                .put("snapshot_tag", sandbox.map(one -> one.snapshot().tag()).orElse(""))
                .put("guest_addr", GUEST);
        boolean paused = found instanceof Paused;
        put(node, "netns", paused ? Optional.empty() : sandbox.flatMap(Sandbox::netns));
        sandbox.flatMap(Sandbox::network)
                .ifPresentOrElse(policy -> node.set("network", policy.toJson()), () -> node.putNull("network"));
        node.put(
                "created_at_unix",
                sandbox.map(one -> one.createdAt().getEpochSecond()).orElse(0L));
        put(
                node,
                "pid",
                sandbox.filter(one -> !paused)
                        .map(one -> OptionalLong.of(one.pid()))
                        .orElse(OptionalLong.empty()));
        put(
                node,
                "memory_limit_mib",
                sandbox.map(one -> one.limits().get(Limit.MEMORY)).orElse(OptionalLong.empty()));
        sandbox.flatMap(Sandbox::cgroup)
                .flatMap(Usage::of)
                .ifPresentOrElse(usage -> node.set("usage", usage(usage)), () -> node.putNull("usage"));
        node.put("has_branched", sandbox.map(Sandbox::branches).orElse(0) > 0);
        put(node, "last_branch_memory_path", sandbox.flatMap(Wire::lastBranchMemory));
        Lifetime lifetime = sandbox.map(Sandbox::lifetime).orElse(Lifetime.ENDLESS);
        put(node, Lifetime.TTL, seconds(lifetime.ttl()));
        put(node, Lifetime.IDLE, seconds(lifetime.idle()));
        node.put(Lifetime.ON_TIMEOUT, lifetime.pause() ? Lifetime.PAUSE : Lifetime.KILL);
        node.put(Lifetime.WAKE, lifetime.wake());
        put(node, Lifetime.FREEZE, seconds(lifetime.freeze()));
        put(
                node,
                "ends_at_unix",
                lifetime.end()
                        .filter(end -> !paused)
                        .map(end -> OptionalLong.of(end.getEpochSecond()))
                        .orElse(OptionalLong.empty()));
        Naming naming = sandbox.map(Sandbox::naming).orElse(Naming.NONE);
        naming.named(Optional.empty()).put(node);
        put(node, Naming.NAME, naming.name());
        sandbox.flatMap(Sandbox::pool)
                .ifPresentOrElse(member -> member.put(node.putObject("pool")), () -> node.putNull("pool"));
        if (naming.labels().isEmpty()) {
            node.putObject(Naming.LABELS);
        }
        return node.put("branch_count", sandbox.map(Sandbox::branches).orElse(0))
                .put("state", found.state());
    }

    private static OptionalLong seconds(Optional<Duration> time) {
        return time.map(there -> OptionalLong.of(there.toSeconds())).orElse(OptionalLong.empty());
    }

    /** What a sandbox takes of the host, null what one without a process takes; and of its guest, if that was asked. */
    static ObjectNode metrics(Found found, Optional<Figures> figures, Optional<GuestMetrics> guest) {
        ObjectNode node = object().put("id", found.id()).put("state", found.state());
        put(node, "cpu_usec", number(figures.map(Figures::cpuMicros)));
        put(node, "own_bytes", number(figures.map(Figures::ownBytes)));
        put(node, "resident_bytes", number(figures.map(Figures::residentBytes)));
        put(node, "threads", number(figures.map(each -> (long) each.threads())));
        Optional<Sandbox> sandbox =
                found instanceof Known known ? Optional.of(known.sandbox()) : Optional.<Sandbox>empty();
        sandbox.flatMap(Sandbox::cgroup)
                .flatMap(Usage::of)
                .ifPresentOrElse(usage -> node.set("usage", usage(usage)), () -> node.putNull("usage"));
        guest.ifPresentOrElse(known -> known.put(node.putObject("guest")), () -> node.putNull("guest"));
        return node;
    }

    private static OptionalLong number(Optional<Long> value) {
        return value.isPresent() ? OptionalLong.of(value.get()) : OptionalLong.empty();
    }

    private static ObjectNode usage(Usage usage) {
        ObjectNode node = object();
        put(node, "memory_bytes", usage.memoryBytes());
        node.put("cpu_usec", usage.cpuMicros());
        put(node, "threads", usage.processes());
        put(node, "io_read_bytes", usage.ioReadBytes());
        put(node, "io_written_bytes", usage.ioWrittenBytes());
        return node;
    }

    /** The memory of the last branch that was made of it, the file of which is there no more when that is not. */
    static Optional<String> lastBranchMemory(Sandbox sandbox) {
        return sandbox.lastBranch()
                .map(branch -> branch.resolve(
                        Files.exists(branch.resolve(Snapshot.MEMORY_LAYER)) ? Snapshot.MEMORY_LAYER : Snapshot.MEMORY))
                .map(Path::toString);
    }

    private static void put(ObjectNode node, String field, Optional<String> value) {
        value.ifPresentOrElse(text -> node.put(field, text), () -> node.putNull(field));
    }

    private static void put(ObjectNode node, String field, OptionalLong value) {
        value.ifPresentOrElse(number -> node.put(field, number), () -> node.putNull(field));
    }
}
