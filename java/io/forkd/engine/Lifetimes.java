package io.forkd.engine;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.Remedy;
import io.forkd.files.FileLock;
import io.forkd.sandbox.Found;
import io.forkd.sandbox.Found.Known;
import io.forkd.sandbox.Found.Paused;
import io.forkd.sandbox.Lifetime;
import io.forkd.sandbox.Sandbox;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import java.time.Instant;
import java.util.List;
import java.util.Optional;

/**
 * Sees to it that sandboxes end, or are paused, when their time is over, and lets them be used until then. When one was used
 * last is the time of a file in its folder, which whoever uses it has locked meanwhile: so it is known whoever is killed, and
 * a sandbox that has no idle time has no such file.
 */
final class Lifetimes {
    private static final String TIMEOUT = "timeout";

    private final Sandboxes sandboxes;
    private final Pauses pauses;

    Lifetimes(Sandboxes sandboxes, Pauses pauses) {
        this.sandboxes = sandboxes;
        this.pauses = pauses;
    }

    /** Of one that runs. */
    static Instant lastUse(Sandbox sandbox) {
        try {
            Instant used = Files.getLastModifiedTime(used(sandbox.directory())).toInstant();
            return used.isAfter(sandbox.lifetime().since())
                    ? used
                    : sandbox.lifetime().since();
        } catch (IOException e) {
            return sandbox.lifetime().since(); // It has not been used yet.
        }
    }

    static Path used(Path directory) {
        return directory.resolve(".used");
    }

    /**
     * Fails when it has ended, or is paused and not to be resumed by this.
     *
     * @param looked as it was found a moment ago
     */
    Use use(Found looked, Call call) {
        String id = looked.id();
        for (Found found = looked; ; found = sandboxes.findAny(id)) {
            if (found instanceof Paused paused && paused.sandbox().lifetime().wake()) {
                pauses.resume(id, call);
                continue;
            }
            Sandbox sandbox = sandboxes.running(found);
            if (isOver(sandbox) && expire(id, true)) {
                continue;
            }
            // Of a pool's is looked at who uses it when it is given back.
            if (sandbox.lifetime().idle().isEmpty() && sandbox.pool().isEmpty()) {
                return new Use(sandbox, Optional.empty());
            }
            call.check();
            Optional<FileLock> held = tryHold(sandbox);
            if (held.isPresent()) {
                Use use = new Use(sandbox, held);
                if (sandboxes
                        .runs(id)
                        .filter(now -> now.process().equals(sandbox.process()) && !now.isPools())
                        .isPresent()) {
                    return use;
                }
                use.close();
            }
        }
    }

    /** Empty while it is being ended or paused for being idle. */
    private static Optional<FileLock> tryHold(Sandbox sandbox) {
        Path file = used(sandbox.directory());
        try {
            Optional<FileLock> held = FileLock.tryShared(file);
            if (held.isPresent()) {
                touch(file);
            } else {
                Thread.sleep(1);
            }
            return held;
        } catch (NoSuchFileException e) {
            return Optional.empty(); // It has ended.
        } catch (IOException e) {
            throw ForkdException.of("note the use of " + sandbox.id(), e);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new ForkdException(Kind.FAILED, "interrupted");
        }
    }

    private static void touch(Path file) {
        try {
            Files.setLastModifiedTime(file, FileTime.from(Instant.now()));
        } catch (IOException e) {
            // It has ended.
        }
    }

    /** What uses a sandbox, which is not idle until this is closed. */
    record Use(Sandbox sandbox, Optional<FileLock> held) implements AutoCloseable {
        @Override
        public void close() {
            if (held.isPresent()) {
                touch(used(sandbox.directory()));
                held.get().close();
            }
        }
    }

    private static boolean isOver(Sandbox sandbox) {
        return sandbox.lifetime().isTimed()
                && sandbox.lifetime()
                        .end(lastUse(sandbox))
                        .filter(end -> !end.isAfter(Instant.now()))
                        .isPresent();
    }

    /**
     * Ends or pauses it, if its time is over.
     *
     * @param waits until it is paused, also when others are at that
     * @return whether it was, and nobody else is at it
     */
    boolean expire(String id, boolean waits) {
        Found found;
        try {
            found = sandboxes.findAny(id);
        } catch (ForkdException e) {
            return e.kind() == Kind.NOT_FOUND;
        }
        if (found instanceof Paused || !(found instanceof Known known) || !isOver(known.sandbox())) {
            return false;
        }
        Sandbox sandbox = known.sandbox();
        if (sandbox.lifetime().end().filter(end -> !end.isAfter(Instant.now())).isPresent()) {
            return end(found, sandbox.lifetime(), waits);
        }
        // From here on nobody begins to use it.
        unlessUsed(sandbox);
        try (FileLock alone = FileLock.tryExclusive(used(sandbox.directory())).orElse(null)) {
            if (alone == null || !isOver(sandbox)) {
                return false;
            }
            return end(found, sandbox.lifetime(), waits);
        } catch (NoSuchFileException e) {
            return true;
        } catch (IOException e) {
            throw ForkdException.of("look when " + id + " was used", e);
        }
    }

    /** Makes the file that is to be locked, as of then, if it has not been used yet. */
    private static void unlessUsed(Sandbox sandbox) {
        Path file = used(sandbox.directory());
        try {
            Files.createFile(file);
            // Who uses it at this moment notes it once more when that ends.
            Files.setLastModifiedTime(file, FileTime.from(sandbox.lifetime().since()));
        } catch (IOException e) {
            // It is there, or the sandbox has ended.
        }
    }

    private boolean end(Found found, Lifetime lifetime, boolean waits) {
        Call call = new Call(new Quiet(), Optional.empty());
        if (lifetime.pause() && waits) {
            pauses.pause(found.id(), TIMEOUT, call);
            return true;
        }
        if (lifetime.pause()) {
            return pauses.tryPause(found.id(), TIMEOUT, call);
        }
        sandboxes
                .kill(List.of(found), TIMEOUT, call)
                .forEach(failure -> failure.ifPresent(e -> {
                    throw e;
                }));
        return true;
    }

    /** As far as that is possible, for all whose time is over. */
    void expireAll() {
        for (Found found : sandboxes.list()) {
            if (found instanceof Known known && !(found instanceof Paused) && isOver(known.sandbox())) {
                try {
                    expire(found.id(), false);
                } catch (ForkdException e) {
                    // The next look tries again.
                }
            }
        }
    }

    /** Nobody waits for it. */
    private static final class Quiet implements Progress {
        @Override
        public void step(String what) {}

        @Override
        public void warn(String what, Remedy remedy) {}
    }
}
