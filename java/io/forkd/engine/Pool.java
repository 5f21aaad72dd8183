package io.forkd.engine;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.Json;
import io.forkd.Limits;
import io.forkd.network.NetworkPolicy;
import io.forkd.sandbox.Lifetime;
import io.forkd.sandbox.Membership;
import io.forkd.sandbox.Naming;
import io.forkd.snapshot.SnapshotTag;
import java.nio.file.Path;
import java.util.Optional;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/**
 * Sandboxes of a snapshot that are kept ready, for one user.
 *
 * @param owner the user, if it is one's
 * @param size how many are ready
 * @param like what each is made as; its time begins, and it gets its labels, when it is taken
 * @param definition which of that name: another one when anything but the size has changed
 */
public record Pool(String name, Optional<String> owner, int size, SpawnRequest like, String definition) {
    /** As many are made again when all are gone. */
    public static final int MOST = 100;

    public Pool {
        if (!Naming.isName(name)) {
            throw new ForkdException(
                    Kind.USAGE,
                    "'" + (name.length() > MOST ? name.substring(0, MOST) + "..." : name)
                            + "' is no name of a pool: it has 1 to 63 letters, digits, _ . -, begins with a letter or"
                            + " digit, and not as an id");
        }
        if (size < 1 || size > MOST) {
            throw new ForkdException(Kind.USAGE, "a pool keeps 1 to " + MOST + " sandboxes ready, not " + size);
        }
        if (like.naming().name().isPresent()) {
            throw new ForkdException(Kind.USAGE, "a name is that of one sandbox, and a pool makes more");
        }
    }

    /** What one that is made of it says. */
    Membership member(Membership.State state) {
        return new Membership(name, definition, state);
    }

    boolean has(Membership member) {
        return member.definition().equals(definition) && member.pool().equals(name);
    }

    /** Whether it would make the same. */
    boolean isLike(Pool other) {
        return fields().equals(other.fields());
    }

    /** What it is made of and as: fields of REST v1. */
    public ObjectNode put(ObjectNode node) {
        node.put("name", name).put("size", size);
        node.setAll(fields());
        return node;
    }

    private ObjectNode fields() {
        ObjectNode node = JsonNodeFactory.instance.objectNode();
        node.put("snapshot_tag", like.tag().value());
        node.put("per_child_netns", like.network().own());
        like.network().policy().ifPresent(policy -> node.set("network", policy.toJson()));
        like.limits().put(node);
        like.lifetime().put(node);
        return like.naming().put(node);
    }

    byte[] encode() {
        return Json.bytes(put(JsonNodeFactory.instance.objectNode()).put("definition", definition));
    }

    static Pool decode(Path file, Optional<String> owner, byte[] content) {
        try {
            if (Json.parse(content) instanceof ObjectNode node) {
                JsonNode network = node.path("network");
                return new Pool(
                        String.valueOf(file.getFileName()),
                        owner,
                        node.path("size").asInt(0),
                        new SpawnRequest(
                                        new SnapshotTag(
                                                node.path("snapshot_tag").asString("")),
                                        1,
                                        new NetworkRequest(
                                                node.path("per_child_netns").asBoolean(false),
                                                network.isMissingNode()
                                                        ? Optional.empty()
                                                        : Optional.of(NetworkPolicy.of(network))),
                                        Limits.in(node).orElseThrow(() -> damaged(file)),
                                        VolumeConflict.FAIL)
                                .living(Lifetime.told(node))
                                .called(Naming.told(node).named(Optional.empty())), // The name is its own.
                        node.path("definition").asString(""));
            }
        } catch (JacksonException | ForkdException e) {
            throw damaged(file);
        }
        throw damaged(file);
    }

    private static ForkdException damaged(Path file) {
        return new ForkdException(Kind.DAMAGED, file + " is damaged", "Define the pool anew, or remove it.");
    }
}
