package io.forkd.agent;

import java.time.Instant;
import java.util.Locale;
import java.util.Optional;

/**
 * What is at a path in a guest.
 *
 * @param name the last name of {@code path}
 * @param mode the lower 12 bits
 * @param user its name, when it has one
 * @param target where a symbolic link leads
 * @param error why what is in this directory is not listed
 */
public record GuestEntry(
        GuestPath name,
        GuestPath path,
        Type type,
        long size,
        int mode,
        long uid,
        long gid,
        Optional<String> user,
        Optional<String> group,
        Instant modified,
        Optional<GuestPath> target,
        Optional<String> error) {
    private static final long MOST_ID = 0xffff_ffffL;

    public enum Type {
        FILE,
        DIRECTORY,
        SYMLINK,
        FIFO,
        SOCKET,
        BLOCK,
        CHAR;

        /** As it is in answers. */
        public String text() {
            return name().toLowerCase(Locale.ROOT);
        }

        static Optional<Type> of(String text) {
            for (Type type : values()) {
                if (type.text().equals(text)) {
                    return Optional.of(type);
                }
            }
            return Optional.empty();
        }
    }

    static GuestEntry of(GuestAnswer answer) {
        return new GuestEntry(
                answer.path("name"),
                answer.path("path"),
                Type.of(answer.text("type")).orElseThrow(() -> answer.broken("type")),
                answer.count("size"),
                (int) answer.number("mode", 0, 07777),
                answer.number("uid", 0, MOST_ID),
                answer.number("gid", 0, MOST_ID),
                answer.optionalText("user"),
                answer.optionalText("group"),
                answer.time("mtime_ms"),
                answer.optionalPath("target"),
                answer.optionalText("error").map(GuestAnswer::printable));
    }

    /** One of a list: it has to be where it says, so that whoever makes a tree of it can rely on that. */
    static GuestEntry listed(GuestAnswer answer, GuestPath root, int depth) {
        GuestEntry entry = of(answer);
        try {
            var names = entry.path().below(root);
            if (names.size() <= depth && names.get(names.size() - 1).equals(entry.name())) {
                return entry;
            }
        } catch (IllegalArgumentException e) {
            // said below
        }
        throw answer.broken("path");
    }
}
