package io.forkd.sandbox;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.files.OwnedDirectory;
import io.forkd.files.Trees;
import java.io.IOException;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/**
 * Where what runs is found. {@code <runtime>/<verb>-<pid>-<random>/} is the directory of a command that runs VMs, with
 * {@code <name>.vsock} for each; {@code sandboxes/} and {@code servers/} have a directory for each VM and each fork
 * server that outlives its command.
 */
public final class RuntimeDirectory {
    /** What a Unix socket's address has room for, without the final NUL. */
    public static final int MAX_SOCKET_PATH = 107;

    private static final String SOCKET = ".vsock";

    /** A run's directory belongs to its process; the others have names without a dash. */
    private static final List<String> RUNS = List.of("fork-", "snapshot-");

    private final Path root;

    public RuntimeDirectory(Path root) {
        this.root = root;
    }

    /** {@code $XDG_RUNTIME_DIR/forkd}, else {@code /run/forkd} for root, else {@code /tmp/forkd-<uid>}. */
    public static RuntimeDirectory of(Map<String, String> environment) {
        String given = environment.getOrDefault("XDG_RUNTIME_DIR", "");
        if (!given.isEmpty()) {
            return new RuntimeDirectory(Path.of(given, "forkd").toAbsolutePath());
        }
        try {
            int uid = Trees.ourUid();
            return new RuntimeDirectory(uid == 0 ? Path.of("/run/forkd") : Path.of("/tmp/forkd-" + uid));
        } catch (IOException e) {
            throw ForkdException.of("look at /proc/self", e);
        }
    }

    public Path root() {
        return root;
    }

    /** A directory for this run; what dead runs left is removed first. */
    public OwnedDirectory open(String verb) {
        try {
            make(root);
            sweep();
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

    /** Anybody may make a directory in /tmp: ours has to be ours, and closed to others. */
    private static void make(Path directory) throws IOException {
        try {
            Files.createDirectory(directory, Trees.PRIVATE);
        } catch (FileAlreadyExistsException e) {
            if (!Files.isDirectory(directory, LinkOption.NOFOLLOW_LINKS) || !Trees.isOurs(directory)) {
                throw new ForkdException(
                        Kind.FAILED,
                        directory + " belongs to somebody else, or is no directory",
                        "Remove it, or set XDG_RUNTIME_DIR to a directory of your own.");
            }
            Files.setPosixFilePermissions(directory, PosixFilePermissions.fromString("rwx------"));
        }
    }

    /** Removes what {@link #leftovers} finds. */
    public void sweep() {
        try {
            for (String run : RUNS) {
                OwnedDirectory.sweep(root, run);
            }
        } catch (IOException e) {
            throw ForkdException.of("remove what earlier runs left in " + root, e);
        }
    }

    /** Directories of runs that are no more. */
    public List<Path> leftovers() {
        try {
            List<Path> found = new ArrayList<>();
            for (String run : RUNS) {
                found.addAll(OwnedDirectory.abandoned(root, run));
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
                    "the path of the socket " + socket + " is too long: the kernel takes " + MAX_SOCKET_PATH
                            + " characters",
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
            if (Sandbox.isId(name)) {
                Path socket = Sandbox.vsock(root.resolve("sandboxes").resolve(name));
                if (Files.exists(socket)) {
                    return socket;
                }
            }
            for (Path run : Trees.list(root)) {
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
                    "forkd fork prints the names of its children, forkd ls lists sandboxes. Children in a network namespace of their own are"
                            + " found by their name, too; namespaces themselves are not looked up.");
        }
        if (found.size() > 1) {
            throw new ForkdException(
                    Kind.CONFLICT,
                    "several running children are called '" + name + "'",
                    "Choose one with --target unix:PATH, where PATH is one of: " + found);
        }
        return found.get(0);
    }
}
