package io.forkd.files;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.security.SecureRandom;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Optional;

/**
 * A directory that belongs to a live process, which holds the lock of the file {@code .lock} in it. When the process
 * dies, however it dies, {@link #sweep} of the next one removes the directory.
 *
 * <p>The parent directory has a {@code .lock} of its own, held while directories are made and swept, so that a
 * directory is never seen between its making and its locking.
 */
public final class OwnedDirectory implements AutoCloseable {
    public static final String LOCK = ".lock";
    private static final SecureRandom RANDOM = new SecureRandom();

    private final Path path;
    private final FileLock lock;

    private OwnedDirectory(Path path, FileLock lock) {
        this.path = path;
        this.lock = lock;
    }

    /** Makes {@code parent/prefix<random>}. */
    public static OwnedDirectory create(Path parent, String prefix) throws IOException {
        try (FileLock all = FileLock.exclusive(parent.resolve(LOCK))) {
            byte[] random = new byte[4];
            RANDOM.nextBytes(random);
            Path path =
                    Files.createDirectory(parent.resolve(prefix + HexFormat.of().formatHex(random)), Trees.PRIVATE);
            return new OwnedDirectory(path, FileLock.exclusive(path.resolve(LOCK)));
        }
    }

    /** Whether its process lives. A directory without a lock file was never owned by anybody. */
    public static boolean isAlive(Path directory) throws IOException {
        Path lockFile = directory.resolve(LOCK);
        if (!Files.isRegularFile(lockFile, LinkOption.NOFOLLOW_LINKS)) {
            return false;
        }
        try (FileLock all = FileLock.tryExclusive(lockFile).orElse(null)) {
            return all == null;
        }
    }

    /** Whether its owner lives, as against those who only use it. */
    public static boolean isOwned(Path directory) throws IOException {
        Path lockFile = directory.resolve(LOCK);
        return Files.isRegularFile(lockFile, LinkOption.NOFOLLOW_LINKS) && FileLock.isExclusive(lockFile);
    }

    /**
     * Keeps everybody from making directories in {@code parent}, for as long as the lock is held; empty when there is
     * one whose name starts with {@code prefix} and whose process lives.
     */
    public static Optional<FileLock> closeIfUnused(Path parent, String prefix) throws IOException {
        FileLock all = FileLock.exclusive(parent.resolve(LOCK));
        boolean unused = true;
        try {
            for (Path entry : Trees.list(parent)) {
                unused &= !entry.getFileName().toString().startsWith(prefix) || !isAlive(entry);
            }
            return unused ? Optional.of(all) : Optional.empty();
        } finally {
            if (!unused) {
                all.close();
            }
        }
    }

    /** Directories in {@code parent} whose names start with {@code prefix} and whose process is gone. */
    public static List<Path> abandoned(Path parent, String prefix) throws IOException {
        List<Path> found = new ArrayList<>();
        for (Path entry : Trees.list(parent)) {
            if (entry.getFileName().toString().startsWith(prefix)
                    && Files.isDirectory(entry, LinkOption.NOFOLLOW_LINKS)
                    && !isAlive(entry)) {
                found.add(entry);
            }
        }
        return found;
    }

    /** Removes what {@link #abandoned} finds. */
    public static void sweep(Path parent, String prefix) throws IOException {
        if (!Files.isDirectory(parent)) {
            return;
        }
        try (FileLock all = FileLock.exclusive(parent.resolve(LOCK))) {
            for (Path entry : abandoned(parent, prefix)) {
                Trees.delete(entry);
            }
        }
    }

    public Path path() {
        return path;
    }

    /** Gives the directory up without removing it: it has been renamed, or is to be kept. */
    public void release() {
        lock.close();
    }

    /** Removes the directory, if it is still there under its name. */
    @Override
    public void close() {
        try {
            Trees.delete(path);
        } catch (IOException e) {
            // The next start sweeps it.
        }
        lock.close();
    }
}
