package io.forkd.files;

import static java.nio.file.StandardCopyOption.ATOMIC_MOVE;
import static java.nio.file.StandardOpenOption.CREATE_NEW;
import static java.nio.file.StandardOpenOption.READ;
import static java.nio.file.StandardOpenOption.WRITE;

import io.forkd.ForkdException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.DirectoryIteratorException;
import java.nio.file.FileVisitResult;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.SimpleFileVisitor;
import java.nio.file.attribute.BasicFileAttributes;
import java.nio.file.attribute.FileAttribute;
import java.nio.file.attribute.PosixFilePermission;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;

/** Directory trees and files that are complete after a crash, or not there. */
public final class Trees {
    /** For directories that are nobody else's business. */
    public static final FileAttribute<Set<PosixFilePermission>> PRIVATE =
            PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rwx------"));

    /** For such files. */
    public static final FileAttribute<Set<PosixFilePermission>> PRIVATE_FILE =
            PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rw-------"));

    private Trees() {}

    /** A directory of our own, which others cannot enter; one that was open to them is closed. */
    public static void makePrivate(Path directory) throws IOException {
        Files.createDirectories(directory, PRIVATE);
        if (isOurDirectory(directory)) {
            Files.setPosixFilePermissions(directory, PRIVATE.value());
        }
    }

    /** Whether there is something, which may be a link, that belongs to the user who runs us. */
    public static boolean isOurs(Path path) throws IOException {
        try {
            return Node.at(path).uid() == ourUid();
        } catch (NoSuchFileException e) {
            return false;
        }
    }

    /** Whether there is a directory, and no link to one, that belongs to the user who runs us. */
    public static boolean isOurDirectory(Path path) throws IOException {
        return ourDirectory(path).isPresent();
    }

    /** Who may do what with a directory, and no link to one, that belongs to the user who runs us; empty for all else. */
    public static Optional<Set<PosixFilePermission>> ourDirectory(Path path) throws IOException {
        try {
            Node found = Node.at(path);
            return found.isDirectory() && found.uid() == ourUid() ? Optional.of(found.permissions()) : Optional.empty();
        } catch (NoSuchFileException e) {
            return Optional.empty();
        }
    }

    public static int ourUid() {
        return OurUid.VALUE;
    }

    /** Looked up once: nothing changes it. */
    private static final class OurUid {
        private static final int VALUE = value();

        private static int value() {
            try {
                return Node.at(Path.of("/proc/self/task")).uid(); // the link /proc/self itself is root's
            } catch (IOException e) {
                throw ForkdException.of("look at /proc/self", e);
            }
        }
    }

    /** What there is under a name, which may be a link. */
    private record Node(boolean isDirectory, int uid, Set<PosixFilePermission> permissions) {
        @SuppressWarnings("unchecked") // The view's documentation has the types.
        static Node at(Path path) throws IOException {
            Map<String, Object> found =
                    Files.readAttributes(path, "unix:isDirectory,uid,permissions", LinkOption.NOFOLLOW_LINKS);
            return new Node(
                    (Boolean) Objects.requireNonNull(found.get("isDirectory")),
                    (Integer) Objects.requireNonNull(found.get("uid")),
                    (Set<PosixFilePermission>) Objects.requireNonNull(found.get("permissions")));
        }
    }

    /** Writes a new file and waits until it is on the disk. */
    public static void writeNew(Path file, byte[] content) throws IOException {
        try (FileChannel channel = FileChannel.open(file, CREATE_NEW, WRITE)) {
            ByteBuffer rest = ByteBuffer.wrap(content);
            while (rest.hasRemaining()) {
                channel.write(rest);
            }
            channel.force(true);
        }
    }

    /** Waits until a file's content, or the names in a directory, are on the disk. */
    public static void sync(Path path) throws IOException {
        try (FileChannel channel = FileChannel.open(path, READ)) {
            channel.force(true);
        }
    }

    /** The name that a file has while it is written, before it gets its own. */
    public static Path staged(Path file) {
        return file.resolveSibling("." + file.getFileName());
    }

    /** Renames within one directory and waits until the new names are on the disk. */
    public static void rename(Path from, Path to) throws IOException {
        Files.move(from, to, ATOMIC_MOVE);
        Path parent = to.toAbsolutePath().getParent();
        if (parent != null) {
            sync(parent);
        }
    }

    /** Removes a tree; what somebody else removes meanwhile is no error. Links are removed, never followed. */
    public static void delete(Path root) throws IOException {
        if (!Files.exists(root, LinkOption.NOFOLLOW_LINKS)) {
            return;
        }
        Files.walkFileTree(root, new SimpleFileVisitor<>() {
            @Override
            public FileVisitResult visitFile(Path file, BasicFileAttributes attributes) throws IOException {
                Files.deleteIfExists(file);
                return FileVisitResult.CONTINUE;
            }

            @Override
            public FileVisitResult visitFileFailed(Path file, IOException e) throws IOException {
                if (e instanceof NoSuchFileException) {
                    return FileVisitResult.CONTINUE;
                }
                throw e;
            }

            @Override
            public FileVisitResult postVisitDirectory(Path directory, IOException e) throws IOException {
                Files.deleteIfExists(directory);
                return FileVisitResult.CONTINUE;
            }
        });
    }

    /** The entries of a directory, sorted by name; none when it is missing. */
    public static List<Path> list(Path directory) throws IOException {
        List<Path> entries = new ArrayList<>();
        try (var stream = Files.newDirectoryStream(directory)) {
            stream.forEach(entries::add);
        } catch (NoSuchFileException e) {
            return List.of();
        } catch (DirectoryIteratorException e) {
            throw e.getCause();
        }
        Collections.sort(entries);
        return entries;
    }

    /** The sum of the sizes of all regular files below. */
    public static long size(Path root) throws IOException {
        long[] sum = {0};
        Files.walkFileTree(root, new SimpleFileVisitor<>() {
            @Override
            public FileVisitResult visitFile(Path file, BasicFileAttributes attributes) {
                sum[0] += attributes.isRegularFile() ? attributes.size() : 0;
                return FileVisitResult.CONTINUE;
            }

            @Override
            public FileVisitResult visitFileFailed(Path file, IOException e) {
                return FileVisitResult.CONTINUE;
            }
        });
        return sum[0];
    }
}
