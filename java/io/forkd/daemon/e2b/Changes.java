package io.forkd.daemon.e2b;

import io.forkd.agent.GuestChange;
import io.forkd.agent.GuestException.Refused;
import io.forkd.agent.GuestFiles;
import io.forkd.agent.GuestPath;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Optional;
import java.util.stream.Collectors;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/**
 * A change of a file, as E2B's clients are told.
 *
 * @param path where it is, when something is there after it
 */
record Changes(String name, String type, Optional<GuestPath> path) {
    /** What a guest has told of as one; a move is two. */
    static List<Changes> of(GuestPath root, GuestChange.At change) {
        return switch (change.what()) {
            case CREATE -> List.of(there(root, "CREATE", change.path()));
            case WRITE -> List.of(there(root, "WRITE", change.path()));
            case ATTRIBUTES -> List.of(there(root, "CHMOD", change.path()));
            case REMOVE -> List.of(gone(root, "REMOVE", change.path()));
            case MOVE ->
                List.of(
                        gone(root, "RENAME", change.path()),
                        there(root, "CREATE", change.to().orElseThrow()));
        };
    }

    private static Changes there(GuestPath root, String type, GuestPath path) {
        return new Changes(name(root, path), "EVENT_TYPE_" + type, Optional.of(path));
    }

    private static Changes gone(GuestPath root, String type, GuestPath path) {
        return new Changes(name(root, path), "EVENT_TYPE_" + type, Optional.empty());
    }

    /** From what is watched on. */
    private static String name(GuestPath root, GuestPath path) {
        if (root.equals(path)) {
            return ".";
        }
        try {
            return path.below(root).stream().map(GuestPath::text).collect(Collectors.joining("/"));
        } catch (IllegalArgumentException e) {
            throw new ConnectFailure(Code.INTERNAL, "the guest tells of a change elsewhere: " + path);
        }
    }

    /** How much of memory it takes, about. */
    int size() {
        return 128 + 2 * name.getBytes(StandardCharsets.UTF_8).length;
    }

    /** @param files by which it is looked at what is there; it may be gone by now */
    ObjectNode json(Optional<GuestFiles> files) {
        ObjectNode json =
                JsonNodeFactory.instance.objectNode().put("name", name).put("type", type);
        files.flatMap(by -> path.flatMap(there -> entry(by, there))).ifPresent(entry -> json.set("entry", entry));
        return json;
    }

    private static Optional<ObjectNode> entry(GuestFiles files, GuestPath path) {
        try {
            return Optional.of(Entries.of(files, path));
        } catch (Refused e) {
            return Optional.empty();
        }
    }
}
