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
 * Where what runs is found: {@code <runtime>/<verb>-<pid>-<random>/}, one directory for each forkd that runs VMs, with
 * {@code <name>.vsock} for each of its VMs.
 */
public final class RuntimeDirectory {
    /** What a Unix socket's address has room for, without the final NUL. */
    public static final int MAX_SOCKET_PATH = 107;

    private static final String SOCKET = ".vsock";

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
            make();
            OwnedDirectory.sweep(root, "");
            return OwnedDirectory.create(
                    root, verb + "-" + ProcessHandle.current().pid() + "-");
        } catch (IOException e) {
            throw ForkdException.of("make a directory in " + root, e);
        }
    }

    /** Anybody may make a directory in /tmp: ours has to be ours, and closed to others. */
    private void make() throws IOException {
        try {
            Files.createDirectory(root, Trees.PRIVATE);
        } catch (FileAlreadyExistsException e) {
            if (!Files.isDirectory(root, LinkOption.NOFOLLOW_LINKS) || !Trees.isOurs(root)) {
                throw new ForkdException(
                        Kind.FAILED,
                        root + " belongs to somebody else, or is no directory",
                        "Remove it, or set XDG_RUNTIME_DIR to a directory of your own.");
            }
            Files.setPosixFilePermissions(root, PosixFilePermissions.fromString("rwx------"));
        }
    }

    /** Directories of runs that are no more. */
    public List<Path> leftovers() {
        try {
            return OwnedDirectory.abandoned(root, "");
        } catch (IOException e) {
            throw ForkdException.of("list " + root, e);
        }
    }

    /** The socket of a VM in a run's directory. */
    public static Path socket(Path run, String name) {
        Path socket = run.resolve(name + SOCKET);
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

    /** The socket of a running VM of this name. */
    public Path find(String name) {
        List<Path> found = new ArrayList<>();
        try {
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
                    "no running child is called '" + name + "' (looked in " + root + ")",
                    "forkd fork prints the names of its children. Children in a network namespace of their own are"
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
