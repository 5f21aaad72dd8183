package io.forkd.agent;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import java.time.Duration;
import java.util.Optional;
import java.util.OptionalLong;
import tools.jackson.databind.node.ObjectNode;

/** The files of a guest, with the rights of one of its users. Paths are absolute. See {@link GuestStreams}. */
public final class GuestFiles {
    /** A large tree may be removed, or moved by a file system that copies. */
    private static final Duration LONG = Duration.ofMinutes(10);

    private static final int MOST_DEPTH = 64;

    private final GuestStreams guest;
    private final Optional<String> user;

    GuestFiles(GuestStreams guest, Optional<String> user) {
        this.guest = guest;
        this.user = user;
    }

    /**
     * What is there.
     *
     * @param follow whether what a symbolic link leads to is meant
     */
    public GuestEntry stat(GuestPath path, boolean follow) {
        ObjectNode json = operation("stat", path);
        return GuestEntry.of(guest.ask("look at " + path, follow ? json : json.put("follow", false)));
    }

    /**
     * What is in a directory, and so far below it; each directory comes before what is in it. Links are not followed.
     * An entry's path is below {@code path}, by names that are neither empty nor {@code .} or {@code ..}.
     *
     * @param depth 1 to 64
     */
    public GuestEvents<GuestEntry> list(GuestPath path, int depth) {
        if (depth < 1 || depth > MOST_DEPTH) {
            throw new ForkdException(Kind.USAGE, "a depth of " + depth + ": it must be 1 to " + MOST_DEPTH);
        }
        GuestStream stream = guest.open("list " + path, operation("list", path).put("depth", depth));
        return new GuestEvents<>(stream.atPace(guest.patience()), answer -> GuestEntry.listed(answer, path, depth));
    }

    /** Reads a regular file; all of it when nothing else is said. */
    public GuestFileReader read(GuestPath path, long offset, OptionalLong length) {
        ObjectNode json = operation("file-read", path);
        if (offset != 0) {
            json.put("offset", offset);
        }
        length.ifPresent(bytes -> json.put("length", bytes));
        GuestStream stream = guest.open("read " + path, json).atPace(guest.patience());
        try {
            return new GuestFileReader(stream, length.orElse(Long.MAX_VALUE));
        } catch (RuntimeException e) {
            stream.close();
            throw e;
        }
    }

    /** Writes a regular file, new or in place of the one that is there. */
    public GuestFileWriter write(GuestPath path, FileOptions options) {
        return new GuestFileWriter(guest.open("write " + path, options.put(operation("file-write", path)))
                .atPace(guest.patience()));
    }

    /** Makes a directory; false when there was one, which with {@code parents} is no error. */
    public boolean makeDirectory(GuestPath path, FileOptions options) {
        return guest.ask("make the directory " + path, options.put(operation("mkdir", path)))
                .flag("created");
    }

    public void link(GuestPath path, GuestPath target, OptionalLong uid, OptionalLong gid) {
        ObjectNode json = operation("symlink", path);
        target.put(json, "target");
        uid.ifPresent(id -> json.put("uid", id));
        gid.ifPresent(id -> json.put("gid", id));
        guest.ask("make the link " + path, json);
    }

    /** As rename(2) does. */
    public void move(GuestPath from, GuestPath to) {
        ObjectNode json = operation("move");
        from.put(json, "from");
        to.put(json, "to");
        guest.ask("move " + from + " to " + to, json, LONG);
    }

    /**
     * Removes it; links are not followed.
     *
     * @param recursive a directory with all that is in it; other file systems are not entered
     */
    public void remove(GuestPath path, boolean recursive) {
        ObjectNode json = operation("remove", path);
        guest.ask("remove " + path, recursive ? json.put("recursive", true) : json, LONG);
    }

    /** Hears of changes, until it is closed. */
    public GuestEvents<GuestChange> watch(GuestPath path, boolean recursive) {
        ObjectNode json = operation("watch", path);
        return new GuestEvents<>(
                guest.open("watch " + path, recursive ? json.put("recursive", true) : json), GuestChange::of);
    }

    private ObjectNode operation(String name, GuestPath path) {
        ObjectNode json = operation(name);
        path.put(json, "path");
        return json;
    }

    private ObjectNode operation(String name) {
        ObjectNode json = GuestStreams.operation(name);
        user.ifPresent(one -> json.put("user", one));
        return json;
    }
}
