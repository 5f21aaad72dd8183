package io.forkd.daemon;

import io.forkd.sandbox.Found;
import io.forkd.sandbox.Found.Known;
import io.forkd.sandbox.Sandbox;
import io.forkd.snapshot.Snapshot;
import java.nio.file.Files;
import java.nio.file.Path;
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

    private Wire() {}

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
        put(node, "netns", sandbox.flatMap(Sandbox::netns));
        sandbox.flatMap(Sandbox::network)
                .ifPresentOrElse(policy -> node.set("network", policy.toJson()), () -> node.putNull("network"));
        node.put(
                "created_at_unix",
                sandbox.map(one -> one.createdAt().getEpochSecond()).orElse(0L));
        put(node, "pid", sandbox.map(one -> OptionalLong.of(one.pid())).orElse(OptionalLong.empty()));
        put(node, "memory_limit_mib", sandbox.map(Sandbox::memoryLimitMib).orElse(OptionalLong.empty()));
        node.put("has_branched", sandbox.map(Sandbox::branches).orElse(0) > 0);
        put(node, "last_branch_memory_path", sandbox.flatMap(Wire::lastBranchMemory));
        return node.put("branch_count", sandbox.map(Sandbox::branches).orElse(0))
                .put("state", found.state());
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
