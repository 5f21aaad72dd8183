package io.forkd.files;

import static java.nio.file.StandardOpenOption.CREATE_NEW;
import static java.nio.file.StandardOpenOption.READ;
import static java.nio.file.StandardOpenOption.WRITE;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import java.io.IOException;
import java.nio.channels.FileChannel;
import java.nio.channels.OverlappingFileLockException;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.attribute.BasicFileAttributes;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/**
 * A lock on a file, between threads as between processes; the kernel gives it back when the process dies. The file is
 * made when it is missing, and stays; a link in its place is an error, as whoever put it there would choose what is
 * made. Who has locked a file has locked the one of that name: one that was removed or renamed meanwhile does not count.
 *
 * <p>The kernel's lock (fcntl(2)) is the process's: it is taken once, for all threads that share it, and lost with any
 * descriptor of the file that is closed. So nothing is opened that the process has locked already.
 */
public final class FileLock implements AutoCloseable {
    /** How long is waited for what is never held for long, and for a process that is stopped. */
    static final Duration PATIENCE = Duration.ofSeconds(30);

    private static final long SAY_AFTER = Duration.ofSeconds(1).toNanos();
    private static final long MAX_PAUSE_MS = 20;

    /** The files that this process has locked, by what they are: their names may change. Its monitor guards all here. */
    private static final Map<Object, Held> HELD = new HashMap<>();

    /** Threads that wait, by the name of what they wait for; the one that came first is served first. */
    private static final Map<Path, Deque<Object>> QUEUES = new HashMap<>();

    /**
     * Descriptors of files that were found to be locked by this process when they had been opened: a name was given to
     * another file in that instant, which next to never happens. To close one would give the lock away.
     */
    private static final List<FileChannel> NEVER_CLOSED = new ArrayList<>();

    private static final class Held {
        private final FileChannel channel;
        private final boolean shared;
        private int holders;

        private Held(FileChannel channel, boolean shared) {
            this.channel = channel;
            this.shared = shared;
        }

        private FileLock share(Object key) {
            holders++;
            return new FileLock(key, this);
        }
    }

    private final Object key;
    private final Held held;
    private boolean open = true;

    private FileLock(Object key, Held held) {
        this.key = key;
        this.held = held;
    }

    /**
     * Makes a file, and locks it.
     *
     * @throws FileAlreadyExistsException when others made it
     * @throws NoSuchFileException when others have locked or removed it since
     */
    static FileLock ofNew(Path file) throws IOException {
        synchronized (HELD) {
            FileChannel channel = FileChannel.open(file, CREATE_NEW, READ, WRITE);
            try {
                if (channel.tryLock() != null) {
                    return hold(key(file), channel, false);
                }
            } catch (IOException e) {
                channel.close();
                throw e;
            }
            channel.close();
            throw new NoSuchFileException(file.toString());
        }
    }

    /** Waits for a lock that nobody holds for long; fails after {@link #PATIENCE}. */
    public static FileLock exclusive(Path file) throws IOException {
        return exclusive(file, PATIENCE);
    }

    static FileLock exclusive(Path file, Duration patience) throws IOException {
        return await(file, file.toString(), patience, Optional.empty());
    }

    /**
     * Waits for a lock that may be held for as long as a job takes: until the waiter does not want it any more, or the
     * holder is stopped and stays so for {@link #PATIENCE}.
     *
     * @param what what it guards, for people: "the image of alpine"
     */
    public static FileLock exclusive(Path file, String what, Waiter waiter) throws IOException {
        return exclusive(file, what, PATIENCE, waiter);
    }

    static FileLock exclusive(Path file, String what, Duration patience, Waiter waiter) throws IOException {
        return await(file, what + " (" + file + ")", patience, Optional.of(waiter));
    }

    /** Empty when somebody else holds it, another thread for example. */
    public static Optional<FileLock> tryExclusive(Path file) throws IOException {
        return tryLock(file, false);
    }

    /** Empty when somebody holds it exclusively. */
    public static Optional<FileLock> tryShared(Path file) throws IOException {
        return tryLock(file, true);
    }

    /** Whether anybody holds it exclusively, this process or another; nobody does what is gone. */
    public static boolean isExclusive(Path file) throws IOException {
        return isRefused(file, true);
    }

    /** Whether anybody holds it, shared or not; nobody does what is gone. */
    public static boolean isHeld(Path file) throws IOException {
        return isRefused(file, false);
    }

    private static boolean isRefused(Path file, boolean shared) throws IOException {
        synchronized (HELD) { // No other thread may find the file locked by this probe.
            try (FileLock probe = tryLock(file, shared).orElse(null)) {
                return probe == null;
            } catch (NoSuchFileException e) {
                return false;
            }
        }
    }

    private static FileLock await(Path file, String what, Duration patience, Optional<Waiter> waiter)
            throws IOException {
        Path name = file.toAbsolutePath().normalize();
        Object ticket = new Object();
        long start = System.nanoTime();
        long running = start; // when the holder was last seen to go on
        boolean said = false;
        synchronized (HELD) {
            QUEUES.computeIfAbsent(name, path -> new ArrayDeque<>()).add(ticket);
        }
        try {
            for (long pause = 1; ; pause = Math.min(2 * pause, MAX_PAUSE_MS)) {
                Optional<FileLock> lock = tryInTurn(file, name, ticket, pause);
                if (lock.isPresent()) {
                    return lock.get();
                }
                waiter.ifPresent(Waiter::check);
                long now = System.nanoTime();
                if (!said && now - start > SAY_AFTER) {
                    waiter.ifPresent(one -> one.say("Waiting for " + what + ": " + holder(file) + " is at it"));
                    said = true;
                }
                if (now - running > patience.toNanos()) {
                    if (waiter.isEmpty() || isStopped(file)) {
                        throw refusal(file, what, patience);
                    }
                    running = now;
                }
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new ForkdException(Kind.FAILED, "interrupted");
        } finally {
            synchronized (HELD) {
                Deque<Object> queue = queue(name);
                queue.remove(ticket);
                if (queue.isEmpty()) {
                    QUEUES.remove(name);
                }
                HELD.notifyAll();
            }
        }
    }

    private static Optional<FileLock> tryInTurn(Path file, Path name, Object ticket, long pause)
            throws IOException, InterruptedException {
        synchronized (HELD) {
            Optional<FileLock> lock = queue(name).peek() == ticket ? tryLock(file, false) : Optional.empty();
            if (lock.isEmpty()) {
                HELD.wait(pause);
            }
            return lock;
        }
    }

    private static Deque<Object> queue(Path name) {
        return QUEUES.getOrDefault(name, new ArrayDeque<>());
    }

    private static Optional<FileLock> tryLock(Path file, boolean shared) throws IOException {
        synchronized (HELD) {
            while (true) {
                if (!Files.exists(file, LinkOption.NOFOLLOW_LINKS)) {
                    make(file);
                }
                try {
                    Object key = key(file);
                    Held held = HELD.get(key);
                    if (held != null) {
                        return held.shared && shared ? Optional.of(held.share(key)) : Optional.empty();
                    }
                    Optional<FileLock> lock = open(file, key, shared);
                    if (lock.isEmpty() || isNamed(file, key)) {
                        return lock;
                    }
                    lock.get().close();
                } catch (NoSuchFileException | OverlappingFileLockException e) {
                    // It was removed, or is another one now: again.
                }
            }
        }
    }

    /** Locks a file that this process has not locked; empty when another has. */
    private static Optional<FileLock> open(Path file, Object key, boolean shared) throws IOException {
        FileChannel channel = FileChannel.open(file, READ, WRITE, LinkOption.NOFOLLOW_LINKS);
        boolean keep = false;
        try {
            keep = channel.tryLock(0, Long.MAX_VALUE, shared) != null;
            if (!keep) {
                return Optional.empty();
            }
            return Optional.of(hold(key, channel, shared));
        } catch (OverlappingFileLockException e) {
            keep = true;
            NEVER_CLOSED.add(channel);
            throw e;
        } finally {
            if (!keep) {
                channel.close();
            }
        }
    }

    private static FileLock hold(Object key, FileChannel locked, boolean shared) {
        Held held = new Held(locked, shared);
        HELD.put(key, held);
        return held.share(key);
    }

    /**
     * A file that is made is nobody's yet, so that its descriptor can be closed again. Who may read a file may lock it, and
     * keep us from it.
     */
    private static void make(Path file) throws IOException {
        try {
            Files.createFile(file, Trees.PRIVATE_FILE);
        } catch (FileAlreadyExistsException e) {
            // As good as ours.
        }
    }

    private static Object key(Path file) throws IOException {
        return Files.readAttributes(file, BasicFileAttributes.class, LinkOption.NOFOLLOW_LINKS)
                .fileKey();
    }

    private static boolean isNamed(Path file, Object key) throws IOException {
        try {
            return key(file).equals(key);
        } catch (NoSuchFileException e) {
            return false;
        }
    }

    private static boolean isStopped(Path file) {
        return LockHolder.of(file, LockHolder.Family.POSIX).stream().anyMatch(LockHolder::isStopped);
    }

    private static String holder(Path file) {
        return LockHolder.of(file, LockHolder.Family.POSIX).stream()
                .findFirst()
                .map(holder -> holder.pid() == ProcessHandle.current().pid()
                        ? "another thread of this process"
                        : holder + (holder.isStopped() ? ", which is stopped," : ""))
                .orElse("somebody else");
    }

    private static ForkdException refusal(Path file, String what, Duration patience) {
        Optional<LockHolder> holder =
                LockHolder.of(file, LockHolder.Family.POSIX).stream().findFirst();
        boolean stopped = holder.filter(LockHolder::isStopped).isPresent();
        return new ForkdException(
                Kind.CONFLICT,
                what + " has been locked for " + patience.toSeconds() + " s by " + holder(file)
                        + (stopped ? " by kill -STOP or Ctrl-Z" : ""),
                stopped
                        ? "kill -CONT " + holder.get().pid() + " lets it go on; kill -KILL "
                                + holder.get().pid() + " ends it, and gives the lock back."
                        : "Try again; if it is held for ever, end who holds it (lslocks tells).");
    }

    @Override
    public void close() {
        synchronized (HELD) {
            if (!open) {
                return;
            }
            open = false;
            held.holders--;
            if (held.holders == 0) {
                HELD.remove(key);
                try {
                    held.channel.close();
                } catch (IOException e) {
                    // The lock is gone all the same.
                }
            }
            HELD.notifyAll();
        }
    }
}
