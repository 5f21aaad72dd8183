package io.forkd.sandbox;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.Remedy;
import io.forkd.files.OwnedDirectory;
import io.forkd.files.Trees;
import java.io.IOException;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermission;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.stream.Stream;

/**
 * Where what runs is found. {@code <runtime>/<verb>-<pid>-<random>/} is the directory of a command that runs VMs, with
 * {@code <name>.vsock} for each; {@code sandboxes/} and {@code servers/} have a directory for each VM and each fork
 * server that outlives its command.
 */
public final class RuntimeDirectory {
    /** What Java connects to: a Unix socket's address has room for one more, without the final NUL. */
    public static final int MAX_SOCKET_PATH = 106;

    private static final Set<PosixFilePermission> PRIVATE = PosixFilePermissions.fromString("rwx------");
    private static final String SOCKET = ".vsock";

    /** A run's directory belongs to its process; the others have names without a dash. */
    private static final List<String> RUNS = List.of("fork-", "snapshot-");

    private static final Path OF_ROOT = Path.of("/run/forkd");
    private static final Path SESSIONS = Path.of("/run/user");
    private static final Path LINGERING = Path.of("/var/lib/systemd/linger");

    private final Path root;

    public RuntimeDirectory(Path root) {
        this.root = root;
    }

    /**
     * {@code /run/forkd} for root, so that its shells and its services see the same; else
     * {@code $XDG_RUNTIME_DIR/forkd}, else {@code /tmp/forkd-<uid>}. Root may choose another place, too, but not that of a
     * login session.
     */
    public static RuntimeDirectory of(Map<String, String> environment) {
        String given = environment.getOrDefault("XDG_RUNTIME_DIR", "");
        int uid = Trees.ourUid();
        if (!given.isEmpty() && !(uid == 0 && Path.of(given).startsWith(SESSIONS))) {
            return new RuntimeDirectory(Path.of(given, "forkd").toAbsolutePath());
        }
        return new RuntimeDirectory(uid == 0 ? OF_ROOT : Path.of("/tmp/forkd-" + uid));
    }

    /** Whether the system removes it when the user has logged out, though processes go on. */
    public boolean endsWithSession() {
        return root.startsWith(SESSIONS) && !Files.exists(LINGERING.resolve(System.getProperty("user.name", "")));
    }

    /** Where earlier versions had root's sandboxes, if there are any: its sessions' folder. */
    public Optional<Path> earlier() {
        Path old = SESSIONS.resolve("0/forkd");
        try {
            return root.equals(OF_ROOT) && !Trees.list(old.resolve("sandboxes")).isEmpty()
                    ? Optional.of(old)
                    : Optional.empty();
        } catch (IOException e) {
            return Optional.empty();
        }
    }

    public Path root() {
        return root;
    }

    /** Whether it is root's, which all of root's shells and services share. */
    public boolean isOfRoot() {
        return root.equals(OF_ROOT);
    }

    /** What the cgroup for all that is found here is called. */
    public String groupName() {
        return root.equals(OF_ROOT) || root.startsWith(SESSIONS)
                ? "forkd"
                : "forkd-" + Integer.toHexString(root.toString().hashCode());
    }

    /** Whether a folder of that name, of a run, a sandbox or a server, is here. */
    public boolean has(String name) {
        return Stream.of(root, root.resolve("sandboxes"), root.resolve("servers"))
                .anyMatch(parent -> Files.isDirectory(parent.resolve(name)));
    }

    /** Itself; made when it is missing. */
    public Path made() {
        try {
            make(root);
            return root;
        } catch (IOException e) {
            throw ForkdException.of("make " + root, e);
        }
    }

    /** A directory for this run. */
    public OwnedDirectory open(String verb) {
        try {
            make(root);
            return OwnedDirectory.create(
                    root, verb + "-" + ProcessHandle.current().pid() + "-");
        } catch (IOException e) {
            throw ForkdException.of("make a directory in " + root, e);
        }
    }

    /** What is in it can be owned; made when it is missing. */
    public Path sandboxes() {
        return made("sandboxes");
    }

    /** As {@link #sandboxes}. */
    public Path servers() {
        return made("servers");
    }

    private Path made(String name) {
        Path directory = root.resolve(name);
        try {
            make(root);
            make(directory);
            return directory;
        } catch (IOException e) {
            throw ForkdException.of("make " + directory, e);
        }
    }

    private static void make(Path directory) throws IOException {
        Optional<Set<PosixFilePermission>> given = Trees.ourDirectory(directory);
        if (given.isEmpty()) {
            try {
                Files.createDirectory(directory, Trees.PRIVATE);
                return;
            } catch (FileAlreadyExistsException e) {
                // Another's, or somebody else was faster.
                given = Trees.ourDirectory(directory);
            }
        }
        requireOurs(directory, given);
    }

    /** Anybody may make a directory in /tmp: what is in ours is believed, so it has to be ours, and closed to others. */
    private static void requireOurs(Path directory, Optional<Set<PosixFilePermission>> ours) throws IOException {
        Set<PosixFilePermission> given = ours.orElse(Set.of());
        if (ours.isEmpty()
                || given.contains(PosixFilePermission.GROUP_WRITE)
                || given.contains(PosixFilePermission.OTHERS_WRITE)) {
            throw new ForkdException(
                    Kind.FAILED,
                    directory
                            + (ours.isPresent()
                                    ? " can be written to by others"
                                    : " belongs to somebody else, or is no directory"),
                    "Remove it, or set XDG_RUNTIME_DIR to a directory of your own.");
        }
        if (!given.equals(PRIVATE)) {
            Files.setPosixFilePermissions(directory, PRIVATE);
        }
    }

    /** What is in {@code sandboxes} or {@code servers}; nothing when that is missing. */
    public List<Path> list(String name) {
        try {
            return exists() ? Trees.list(root.resolve(name)) : List.of();
        } catch (IOException e) {
            throw ForkdException.of("list " + root.resolve(name), e);
        }
    }

    /** What is in {@code sandboxes} or {@code servers} under that name. */
    public Optional<Path> find(String name, String entry) {
        Path path = root.resolve(name).resolve(entry);
        try {
            return exists() && Files.isDirectory(path, LinkOption.NOFOLLOW_LINKS)
                    ? Optional.of(path)
                    : Optional.empty();
        } catch (IOException e) {
            throw ForkdException.of("look at " + path, e);
        }
    }

    private boolean exists() throws IOException {
        boolean exists = Files.exists(root, LinkOption.NOFOLLOW_LINKS);
        if (exists) {
            requireOurs(root, Trees.ourDirectory(root));
        }
        return exists;
    }

    /** Directories of runs that are no more. */
    public List<Path> leftovers() {
        try {
            List<Path> found = new ArrayList<>();
            if (exists()) {
                for (String run : RUNS) {
                    found.addAll(OwnedDirectory.abandoned(root, run));
                }
            }
            return found;
        } catch (IOException e) {
            throw ForkdException.of("list " + root, e);
        }
    }

    /** The socket of a VM in a run's directory. */
    public static Path socket(Path run, String name) {
        return requireShort(run.resolve(name + SOCKET));
    }

    /** The socket by which a detached VM or server is got hold of, in its directory. */
    public static Path control(Path directory) {
        return requireShort(directory.resolve("control.sock"));
    }

    private static Path requireShort(Path socket) {
        if (socket.toString().length() > MAX_SOCKET_PATH) {
            throw new ForkdException(
                    Kind.FAILED,
                    "the path of the socket " + socket + " is too long: it may have " + MAX_SOCKET_PATH + " characters",
                    "Set XDG_RUNTIME_DIR to a shorter path.");
        }
        return socket;
    }

    /** How long the name of a VM in that directory may be. */
    public static int maxNameLength(Path run) {
        return Math.min(
                63, MAX_SOCKET_PATH - SOCKET.length() - 1 - run.toString().length());
    }

    /** The socket of a running VM of this name: a child's, or the id of a sandbox. */
    public Path find(String name) {
        List<Path> found = new ArrayList<>();
        try {
            if (exists() && Sandbox.isId(name)) {
                Path socket = Sandbox.vsock(root.resolve("sandboxes").resolve(name));
                if (Files.exists(socket)) {
                    return socket;
                }
            }
            for (Path run : exists() ? Trees.list(root) : List.<Path>of()) {
                Path socket = run.resolve(name + SOCKET);
                if (!name.contains("/") && Files.exists(socket) && OwnedDirectory.isAlive(run)) {
                    found.add(socket);
                }
            }
        } catch (IOException e) {
            throw ForkdException.of("list " + root, e);
        }
        if (found.isEmpty()) {
            throw new ForkdException(
                    Kind.NOT_FOUND,
                    "no running child or sandbox is called '" + name + "' (looked in " + root + ")",
                    Remedy.Action.LIST_CHILDREN);
        }
        if (found.size() > 1) {
            throw new ForkdException(
                    Kind.CONFLICT,
                    "several running children are called '" + name + "'",
                    new Remedy.ChooseSocket(found));
        }
        return found.get(0);
    }
}
