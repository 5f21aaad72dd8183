package io.forkd.daemon.e2b;

import io.forkd.agent.GuestEntry;
import io.forkd.agent.GuestException.Refused;
import io.forkd.agent.GuestFiles;
import io.forkd.agent.GuestPath;
import java.time.Instant;
import java.util.Optional;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/** {@code filesystem.EntryInfo}: what is at a path. */
final class Entries {
    private static final int PERMISSIONS = 0777;
    private static final String LETTERS = "rwxrwxrwx";

    /** What a time may be at most, as text of RFC 3339. */
    private static final Instant LAST = Instant.parse("9999-12-31T23:59:59Z");

    private static final Instant FIRST = Instant.parse("0001-01-01T00:00:00Z");

    private Entries() {}

    /** Of what is there itself, a link for example. */
    static ObjectNode of(GuestFiles files, GuestPath path) {
        return of(files, files.stat(path, false));
    }

    /** The same of what was looked at. */
    static ObjectNode of(GuestFiles files, GuestEntry entry) {
        return json(entry, entry.type() == GuestEntry.Type.SYMLINK ? target(files, entry.path()) : Optional.empty());
    }

    /** Empty when the link leads nowhere, or where the user may not look. */
    private static Optional<GuestEntry> target(GuestFiles files, GuestPath path) {
        try {
            return Optional.of(files.stat(path, true));
        } catch (Refused e) {
            return Optional.empty();
        }
    }

    /** @param target what a link leads to */
    static ObjectNode json(GuestEntry entry, Optional<GuestEntry> target) {
        int mode = target.map(GuestEntry::mode).orElse(entry.mode()) & PERMISSIONS;
        ObjectNode json = JsonNodeFactory.instance
                .objectNode()
                .put("name", entry.name().text())
                .put("path", entry.path().text())
                .put("type", type(target.map(GuestEntry::type).orElse(entry.type())))
                .put("size", Long.toString(entry.size()))
                .put("mode", mode)
                .put("permissions", permissions(entry))
                .put("owner", entry.user().orElse(Long.toString(entry.uid())))
                .put("group", entry.group().orElse(Long.toString(entry.gid())))
                .put("modifiedTime", time(entry.modified()).toString());
        entry.target().ifPresent(to -> json.put("symlinkTarget", to.text()));
        return entry.type() == GuestEntry.Type.SYMLINK ? json.put("isSymlink", true) : json;
    }

    private static Instant time(Instant time) {
        if (time.isAfter(LAST)) {
            return LAST;
        }
        return time.isBefore(FIRST) ? FIRST : time;
    }

    static String type(GuestEntry.Type type) {
        return switch (type) {
            case FILE -> "FILE_TYPE_FILE";
            case DIRECTORY -> "FILE_TYPE_DIRECTORY";
            case SYMLINK -> "FILE_TYPE_SYMLINK";
            case FIFO, SOCKET, BLOCK, CHAR -> "FILE_TYPE_UNSPECIFIED";
        };
    }

    /** As Go has them, which E2B's server is written in. */
    private static String permissions(GuestEntry entry) {
        StringBuilder text = new StringBuilder(
                switch (entry.type()) {
                    case FILE -> "-";
                    case DIRECTORY -> "d";
                    case SYMLINK -> "L";
                    case FIFO -> "p";
                    case SOCKET -> "S";
                    case BLOCK -> "D";
                    case CHAR -> "Dc";
                });
        for (int i = 0; i < LETTERS.length(); i++) {
            text.append((entry.mode() >> (LETTERS.length() - 1 - i) & 1) == 0 ? '-' : LETTERS.charAt(i));
        }
        return text.toString();
    }
}
