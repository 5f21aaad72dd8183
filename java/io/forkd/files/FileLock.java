package io.forkd.files;

import static java.nio.file.StandardOpenOption.CREATE;
import static java.nio.file.StandardOpenOption.READ;
import static java.nio.file.StandardOpenOption.WRITE;

import java.io.IOException;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;

/**
 * A lock on a file that the kernel gives back when its holder dies. It holds between processes; within one process a
 * file can be locked once, shared or not.
 */
public final class FileLock implements AutoCloseable {
    /** A second open of a locked file must not even be tried: closing it would give the process's lock away. */
    private static final Set<Path> HELD = ConcurrentHashMap.newKeySet();

    private final Path file;
    private final FileChannel channel;

    private FileLock(Path file, FileChannel channel) {
        this.file = file;
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

    private static Optional<FileLock> tryLock(Path path, boolean shared) throws IOException {
        Path file = path.toAbsolutePath().normalize();
        if (!HELD.add(file)) {
            return Optional.empty();
        }
        boolean locked = false;
        try {
            FileChannel channel = FileChannel.open(file, CREATE, READ, WRITE);
            try {
                locked = channel.tryLock(0, Long.MAX_VALUE, shared) != null;
            } finally {
                if (!locked) {
                    channel.close();
                }
            }
            return locked ? Optional.of(new FileLock(file, channel)) : Optional.empty();
        } finally {
            if (!locked) {
                HELD.remove(file);
            }
        }
    }

    @Override
    public void close() {
        try {
            channel.close();
        } catch (IOException e) {
            // The lock is gone all the same.
        }
        HELD.remove(file);
    }
}
