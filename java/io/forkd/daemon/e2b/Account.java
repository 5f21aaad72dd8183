package io.forkd.daemon.e2b;

import io.forkd.agent.FileOptions;
import io.forkd.agent.GuestException.Refused;
import io.forkd.agent.GuestFileReader;
import io.forkd.agent.GuestPath;
import io.forkd.agent.GuestStreams;
import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;

/** A user of a guest, as its /etc/passwd has it at this moment: programs of the guest may change that. */
record Account(String name, String home, long uid, long gid) {
    private static final GuestPath PASSWD = GuestPath.of("/etc/passwd");
    private static final int MOST_BYTES = 1 << 20;
    private static final int CHUNK = 8192;

    /** How a guest is asked for root, of whom it may have no list. */
    static final String ROOT_ID = "0";

    /** What stands for a user's home. */
    static final String HOME_SIGN = "~";

    /** name:password:uid:gid:comment:home:shell */
    private static final int FIELDS = 7;

    private static final int UID = 2;
    private static final int GID = 3;
    private static final int HOME = 5;

    static final String ROOT = "root";

    /** @throws ConnectFailure when there is none of that name */
    static Account find(GuestStreams guest, String name) {
        return look(read(guest), name).orElseThrow(() -> unknown(name));
    }

    static ConnectFailure unknown(String name) {
        return new ConnectFailure(Code.UNAUTHENTICATED, "the sandbox has no user '" + printable(name) + "'");
    }

    /** For who names none: images of others have not the one that E2B's have. */
    static Account usual(GuestStreams guest, String name) {
        String users = read(guest);
        return look(users, name)
                .or(() -> look(users, ROOT))
                .orElseThrow(() -> new IllegalStateException("all have root"));
    }

    /** An image without a list has root. */
    private static Optional<Account> look(String users, String name) {
        return users.lines()
                .map(line -> line.split(":", -1))
                .filter(fields -> fields.length == FIELDS && fields[0].equals(name))
                .filter(fields -> (fields[UID] + "/" + fields[GID]).matches("[0-9]{1,10}/[0-9]{1,10}"))
                .findFirst()
                .map(fields -> new Account(
                        name,
                        fields[HOME].startsWith("/") ? fields[HOME] : "/",
                        Long.parseLong(fields[UID]),
                        Long.parseLong(fields[GID])))
                .or(() -> Optional.of(new Account(ROOT, "/", 0, 0)).filter(root -> name.equals(ROOT)));
    }

    /** How a guest is asked for that user. */
    String user() {
        return name.equals(ROOT) ? ROOT_ID : name;
    }

    /** What programs find in their environment of whom they are. */
    Map<String, String> environment() {
        return environment(name, home);
    }

    static Map<String, String> environment(String name, String home) {
        Map<String, String> variables = new LinkedHashMap<>();
        variables.put("HOME", home);
        variables.put("USER", name);
        variables.put("LOGNAME", name);
        return variables;
    }

    private static String read(GuestStreams guest) {
        ByteArrayOutputStream text = new ByteArrayOutputStream();
        byte[] chunk = new byte[CHUNK];
        try (GuestFileReader file = guest.files(ROOT_ID).read(PASSWD, 0, OptionalLong.of(MOST_BYTES))) {
            for (int count = file.read(ByteBuffer.wrap(chunk)); count >= 0; count = file.read(ByteBuffer.wrap(chunk))) {
                text.write(chunk, 0, count);
            }
        } catch (Refused e) {
            if (!e.code().equals("ENOENT")) {
                throw e;
            }
        }
        return text.toString(StandardCharsets.UTF_8);
    }

    /** What makes something, and directories that are missing for it. */
    interface Making<T> {
        /**
         * Makes all of it.
         *
         * @param again whether that has failed once, and one of these directories has been made since
         */
        T make(boolean again);
    }

    /**
     * Makes it with the user's rights; but a directory in the root directory, where only root may make one, is made by
     * root and given to the user. E2B's users may make such, and frameworks work in {@code /workspace}. There is nothing in
     * it that the user has no rights to.
     *
     * @param directory which is needed for it
     */
    <T> T make(GuestStreams guest, GuestPath directory, Making<T> making) {
        try {
            return making.make(false);
        } catch (Refused e) {
            String first = directory.text().split("/", 3)[1];
            FileOptions own = FileOptions.DEFAULT.withParents().withOwner(uid, gid);
            if (!e.code().equals("EACCES")
                    || first.isEmpty()
                    || !guest.files(ROOT_ID).makeDirectory(GuestPath.of("/" + first), own)) {
                throw e;
            }
            return making.make(true);
        }
    }

    private static String printable(String name) {
        return name.replaceAll("\\p{Cntrl}", "?");
    }

    /**
     * The absolute path that is meant.
     *
     * @param base what a relative one begins at
     */
    GuestPath path(String base, String path) {
        String whole = whole(base, path);
        return GuestPath.of(whole.startsWith(HOME_SIGN) ? clean(home + whole.substring(1)) : whole);
    }

    /** Absolute, or in the user's home, which is a {@code ~}. */
    static String whole(String base, String path) {
        if (path.startsWith(HOME_SIGN) && !path.equals(HOME_SIGN) && !path.startsWith(HOME_SIGN + "/")) {
            throw ConnectFailure.invalid("'~' is the user's own home and no other's: " + printable(path));
        }
        String whole = path.startsWith("/") || path.startsWith(HOME_SIGN) ? path : base + "/" + path;
        return whole.startsWith("/") ? clean(whole) : whole.replaceAll("/+$", "");
    }

    /** The directory that something is in. */
    static GuestPath parent(GuestPath path) {
        String text = path.text();
        return GuestPath.of(text.substring(0, Math.max(1, text.lastIndexOf('/'))));
    }

    /** Without names that are empty, {@code .} or {@code ..}. */
    private static String clean(String path) {
        Deque<String> names = new ArrayDeque<>();
        for (String name : path.split("/", -1)) {
            if (name.equals("..")) {
                names.pollLast();
            } else if (!name.isEmpty() && !name.equals(".")) {
                names.addLast(name);
            }
        }
        return "/" + String.join("/", names);
    }
}
