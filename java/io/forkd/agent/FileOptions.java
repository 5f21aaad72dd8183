package io.forkd.agent;

import java.time.Instant;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.OptionalLong;
import tools.jackson.databind.node.ObjectNode;

/**
 * What a file or a directory is made with.
 *
 * @param mode of a new one the guest has a default
 * @param parents whether directories that are missing are made
 */
public record FileOptions(
        OptionalInt mode, boolean parents, OptionalLong uid, OptionalLong gid, Optional<Instant> modified) {
    public static final FileOptions DEFAULT =
            new FileOptions(OptionalInt.empty(), false, OptionalLong.empty(), OptionalLong.empty(), Optional.empty());

    public FileOptions withMode(int bits) {
        return new FileOptions(OptionalInt.of(bits), parents, uid, gid, modified);
    }

    public FileOptions withParents() {
        return new FileOptions(mode, true, uid, gid, modified);
    }

    public FileOptions withOwner(long user, long group) {
        return new FileOptions(mode, parents, OptionalLong.of(user), OptionalLong.of(group), modified);
    }

    ObjectNode put(ObjectNode request) {
        mode.ifPresent(bits -> request.put("mode", bits));
        if (parents) {
            request.put("parents", true);
        }
        uid.ifPresent(id -> request.put("uid", id));
        gid.ifPresent(id -> request.put("gid", id));
        modified.ifPresent(time -> request.put("mtime_ms", time.toEpochMilli()));
        return request;
    }
}
