package io.forkd.files;

import java.io.IOException;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.NoSuchFileException;
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
 * <p>Nothing but such directories is made in the parent directory, which may be anybody's. So a directory can be seen
 * between its making and its locking, and be taken for one that was left behind: who makes it finds that out, and makes
 * another.
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
        while (true) {
            Path path = Files.createDirectory(parent.resolve(prefix + random()), Trees.PRIVATE);
            try {
                return new OwnedDirectory(path, FileLock.ofNew(path.resolve(LOCK)));
            } catch (NoSuchFileException | FileAlreadyExistsException e) {
                // It was swept.
            } catch (IOException e) { // The disk is full, say, to the last block or name.
                Trees.delete(path);
                throw e;
            }
        }
    }

    /** Makes that directory; empty when there is one, or it was swept in that moment. */
    public static Optional<OwnedDirectory> createAs(Path path) throws IOException {
        try {
            Files.createDirectory(path, Trees.PRIVATE);
            return Optional.of(new OwnedDirectory(path, FileLock.ofNew(path.resolve(LOCK))));
        } catch (NoSuchFileException | FileAlreadyExistsException e) {
            return Optional.empty();
        }
    }

    /**
     * As {@link #create}, in a directory that others {@link #closeIfUnused close}: waits while it is closed, for which it
     * needs a file {@code .lock} there.
     */
    public static OwnedDirectory createUnlessClosed(Path parent, String prefix, Waiter waiter) throws IOException {
        try (FileLock all = FileLock.exclusive(parent.resolve(LOCK), parent.toString(), waiter)) {
            return create(parent, prefix);
        }
    }

    /** Takes a directory over; empty when somebody owns or removes it, or it is not ours to take. */
    public static Optional<OwnedDirectory> claim(Path directory) throws IOException {
        Path lockFile = directory.resolve(LOCK);
        try {
            if (!Trees.isOurDirectory(directory)) {
                return Optional.empty();
            }
            return FileLock.tryExclusive(lockFile).map(held -> new OwnedDirectory(directory, held));
        } catch (NoSuchFileException e) {
            return Optional.empty();
        }
    }

    private static String random() {
        byte[] random = new byte[4];
        RANDOM.nextBytes(random);
        return HexFormat.of().formatHex(random);
    }

    /** Whether its process lives. A directory without a lock file was never owned by anybody. */
    public static boolean isAlive(Path directory) throws IOException {
        Path lockFile = directory.resolve(LOCK);
        return Files.isRegularFile(lockFile, LinkOption.NOFOLLOW_LINKS) && FileLock.isHeld(lockFile);
    }

    /** Whether its owner lives, as against those who only use it. */
    public static boolean isOwned(Path directory) throws IOException {
        Path lockFile = directory.resolve(LOCK);
        return Files.isRegularFile(lockFile, LinkOption.NOFOLLOW_LINKS) && FileLock.isExclusive(lockFile);
    }

    /**
     * Keeps everybody from {@link #createUnlessClosed} in {@code parent}, for as long as the lock is held; empty when
     * there is a directory whose name starts with {@code prefix} and whose process lives.
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

    /** Directories of ours in {@code parent} whose names start with {@code prefix} and whose process is gone. */
    public static List<Path> abandoned(Path parent, String prefix) throws IOException {
        List<Path> found = new ArrayList<>();
        for (Path entry : Trees.list(parent)) {
            if (entry.getFileName().toString().startsWith(prefix) && Trees.isOurDirectory(entry) && !isAlive(entry)) {
                found.add(entry);
            }
        }
        return found;
    }

    /** Removes what {@link #abandoned} finds. */
    public static void sweep(Path parent, String prefix) throws IOException {
        for (Path entry : abandoned(parent, prefix)) {
            removeAbandoned(entry);
        }
    }

    /** Removes a directory, unless somebody owns it now. */
    public static void removeAbandoned(Path directory) throws IOException {
        Optional<OwnedDirectory> claimed = claim(directory);
        if (claimed.isPresent()) {
            claimed.get().remove();
        }
    }

    /**
     * Removes the directory, under another name: who made it and has not locked it yet finds that it is gone, and not
     * half of it.
     */
    public void remove() throws IOException {
        try (FileLock held = lock) {
            Path gone = path.resolveSibling(path.getFileName() + "." + random());
            Files.move(path, gone);
            Trees.delete(gone);
        } catch (NoSuchFileException e) {
            // Who made it has removed it.
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
