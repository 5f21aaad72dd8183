package io.forkd.files;

import static java.nio.file.StandardOpenOption.CREATE;
import static java.nio.file.StandardOpenOption.READ;
import static java.nio.file.StandardOpenOption.WRITE;

import java.io.IOException;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.attribute.BasicFileAttributes;
import java.util.HashMap;
import java.util.Map;
import java.util.Optional;

/**
 * A lock on a file that the kernel gives back when its holder dies. It holds between processes; within one process a
 * file can be locked once, shared or not. The file is made when it is missing, and stays; a link in its place is an
 * error, as whoever put it there would choose what is made.
 */
public final class FileLock implements AutoCloseable {
    /**
     * The files that this process has locked, whatever their names are now. A second open of one must not even be tried:
     * closing it would give the process's lock away.
     */
    private static final Map<Object, Boolean> HELD = new HashMap<>(); // to: shared

    private final Object key;
    private final FileChannel channel;

    private FileLock(Object key, FileChannel channel) {
        this.key = key;
        this.channel = channel;
    }

    /** Waits for the lock; for critical sections that are short. */
    public static FileLock exclusive(Path file) throws IOException {
        try {
            while (true) {
                Optional<FileLock> lock = tryExclusive(file);
                if (lock.isPresent()) {
                    return lock.get();
                }
                Thread.sleep(1);
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new IOException("interrupted while waiting for " + file, e);
        }
    }

    /** Empty when somebody else holds it. */
    public static Optional<FileLock> tryExclusive(Path file) throws IOException {
        return tryLock(file, false);
    }

    /** Empty when somebody else holds it exclusively, or this process holds it. */
    public static Optional<FileLock> tryShared(Path file) throws IOException {
        return tryLock(file, true);
    }

    /** Whether anybody holds it exclusively, this process or another. */
    public static boolean isExclusive(Path file) throws IOException {
        synchronized (HELD) {
            Boolean shared = HELD.get(key(file));
            if (shared != null) {
                return !shared;
            }
            try (FileLock probe = tryShared(file).orElse(null)) {
                return probe == null;
            }
        }
    }

    private static Optional<FileLock> tryLock(Path file, boolean shared) throws IOException {
        synchronized (HELD) {
            if (Files.exists(file, LinkOption.NOFOLLOW_LINKS) && HELD.containsKey(key(file))) {
                return Optional.empty();
            }
            boolean locked = false;
            FileChannel channel = FileChannel.open(file, CREATE, READ, WRITE, LinkOption.NOFOLLOW_LINKS);
            try {
                FileLock lock = new FileLock(key(file), channel);
                locked = channel.tryLock(0, Long.MAX_VALUE, shared) != null;
                if (locked) {
                    HELD.put(lock.key, shared);
                }
                return locked ? Optional.of(lock) : Optional.empty();
            } finally {
                if (!locked) {
                    channel.close();
                }
            }
        }
    }

    private static Object key(Path file) throws IOException {
        return Files.readAttributes(file, BasicFileAttributes.class, LinkOption.NOFOLLOW_LINKS)
                .fileKey();
    }

    /** Whether the file that is locked still has this name. */
    boolean isOf(Path file) throws IOException {
        try {
            return key(file).equals(key);
        } catch (NoSuchFileException e) {
            return false;
        }
    }

    @Override
    public void close() {
        synchronized (HELD) {
            try {
                channel.close();
            } catch (IOException e) {
                // The lock is gone all the same.
            }
            HELD.remove(key);
        }
    }
}
