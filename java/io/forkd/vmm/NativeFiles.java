package io.forkd.vmm;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.files.Home;
import io.forkd.files.OwnedDirectory;
import io.forkd.files.Trees;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.DirectoryNotEmptyException;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermission;
import java.nio.file.attribute.PosixFilePermissions;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.time.Duration;
import java.time.Instant;
import java.util.HexFormat;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;

/**
 * The native files that the jar carries, unpacked once into a folder named after their content:
 * {@code $XDG_CACHE_HOME/forkd/native/<hash>/}.
 */
public final class NativeFiles {
    /** Lines of {@code sha256  name}, as sha256sum writes them; made by the build. */
    private static final String INDEX = "SHA256SUMS";

    /** How long the files of other versions stay; one that is started after that unpacks its own again. */
    private static final Duration KEEP = Duration.ofDays(30);

    private final Path directory;

    private NativeFiles(Path directory) {
        this.directory = directory;
    }

    /** Tells these files from those of other versions. */
    public String version() {
        return String.valueOf(directory.getFileName());
    }

    /** The executable of fork servers and VMs. */
    public Path vmm() {
        return directory.resolve("forkd-vmm");
    }

    /** The init and agent of guests. */
    public Path guest() {
        return directory.resolve("forkd-guest");
    }

    /** The program that writes ext4 images. */
    public Path mkfs() {
        return directory.resolve("forkd-mkfs");
    }

    /** The program that makes a folder of what the former makes an image of. */
    public Path mktree() {
        return directory.resolve("forkd-mktree");
    }

    /** The program that makes network namespaces. */
    public Path net() {
        return directory.resolve("forkd-net");
    }

    /** The program that hands out files which are still being fetched. */
    public Path pager() {
        return directory.resolve("forkd-pager");
    }

    Path library() {
        return directory.resolve("libforkd.so.0");
    }

    Path glue() {
        return directory.resolve("libjniforkd.so");
    }

    /** Finds the files in the user's cache, or puts them there. */
    public static NativeFiles installed() {
        Path root = root();
        try {
            byte[] index = resource(INDEX);
            Path directory = root.resolve(HexFormat.of().formatHex(sha256(index), 0, 16));
            Files.createDirectories(root, Trees.PRIVATE);
            if (!Trees.isOurDirectory(root) || isOpenToOthers(root)) {
                throw new ForkdException(
                        Kind.FAILED,
                        root
                                + " belongs to somebody else, or can be written to by others, whose programs forkd would run",
                        "Remove it, or set XDG_CACHE_HOME to a directory of your own.");
            }
            if (!parse(index).keySet().stream().allMatch(name -> Files.isExecutable(directory.resolve(name)))) {
                Trees.delete(directory);
                install(index, root, directory);
            }
            return new NativeFiles(directory);
        } catch (IOException e) {
            throw ForkdException.of("unpack forkd's native files into " + root, e);
        }
    }

    private static boolean isOpenToOthers(Path directory) throws IOException {
        Set<PosixFilePermission> given = Files.getPosixFilePermissions(directory);
        return given.contains(PosixFilePermission.GROUP_WRITE) || given.contains(PosixFilePermission.OTHERS_WRITE);
    }

    private static Path root() {
        String cache = System.getenv().getOrDefault("XDG_CACHE_HOME", "");
        return (cache.isEmpty() ? Home.of(System.getenv(), "XDG_CACHE_HOME").resolve(".cache") : Path.of(cache))
                .resolve("forkd/native")
                .toAbsolutePath();
    }

    /** Unpacks beside the target and renames, so that the folder is complete whenever it can be seen. */
    private static void install(byte[] index, Path root, Path directory) throws IOException {
        OwnedDirectory.sweep(root, ".unpacking-");
        try (OwnedDirectory staging = OwnedDirectory.create(root, ".unpacking-")) {
            for (Map.Entry<String, String> entry : parse(index).entrySet()) {
                byte[] content = resource(entry.getKey());
                if (!HexFormat.of().formatHex(sha256(content)).equals(entry.getValue())) {
                    throw new IOException(entry.getKey() + " in the jar is damaged");
                }
                Path file = staging.path().resolve(entry.getKey());
                Trees.writeNew(file, content);
                Files.setPosixFilePermissions(file, PosixFilePermissions.fromString("r-xr-xr-x"));
            }
            try {
                Trees.rename(staging.path(), directory);
            } catch (FileAlreadyExistsException | DirectoryNotEmptyException e) {
                // Another process was faster, with the same content.
            }
            removeOld(root, Instant.now().minus(KEEP));
        }
    }

    /** Removes the files of other versions, except of those that run. */
    static void removeOld(Path root, Instant before) throws IOException {
        for (Path other : Trees.list(root)) {
            if (Files.isDirectory(other)
                    && Files.getLastModifiedTime(other).toInstant().isBefore(before)
                    && ProcessHandle.allProcesses().noneMatch(process -> maps(process.pid(), other))) {
                Trees.delete(other);
            }
        }
    }

    /** Whether a process executes a file below a folder, or has its code loaded. */
    private static boolean maps(long pid, Path directory) {
        try {
            return new String(Files.readAllBytes(Path.of("/proc", Long.toString(pid), "maps")), StandardCharsets.UTF_8)
                    .contains(directory + "/");
        } catch (IOException e) {
            return false; // It ended, or is another user's, who has a folder of his own.
        }
    }

    private static Map<String, String> parse(byte[] index) {
        Map<String, String> sums = new TreeMap<>();
        new String(index, StandardCharsets.UTF_8)
                .lines()
                .forEach(line -> sums.put(line.substring(66), line.substring(0, 64)));
        return sums;
    }

    private static byte[] resource(String name) throws IOException {
        try (InputStream in = NativeFiles.class.getResourceAsStream("native/" + name)) {
            if (in == null) {
                throw new IOException("this jar was built without " + name);
            }
            return in.readAllBytes();
        }
    }

    private static byte[] sha256(byte[] content) {
        try {
            return MessageDigest.getInstance("SHA-256").digest(content);
        } catch (NoSuchAlgorithmException e) {
            throw new AssertionError("every Java has SHA-256", e);
        }
    }
}
