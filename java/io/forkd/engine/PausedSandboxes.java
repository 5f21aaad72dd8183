package io.forkd.engine;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.files.FileLock;
import io.forkd.files.OwnedDirectory;
import io.forkd.files.Trees;
import io.forkd.files.Waiter;
import io.forkd.sandbox.Found;
import io.forkd.sandbox.RuntimeDirectory;
import io.forkd.sandbox.Sandbox;
import io.forkd.snapshot.Snapshot;
import io.forkd.snapshot.SnapshotStore;
import io.forkd.snapshot.SnapshotTag;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;

/**
 * Sandboxes that are paused. Each is a snapshot of its own, in a folder that outlasts the machine, with the file that tells
 * what it is. It is paused from the moment at which that snapshot is complete, which its own process brings about, so that
 * nobody else has to live until then; and not any more when one that was resumed from it has been written down.
 */
final class PausedSandboxes {
    private static final String LOCK = ".life-";

    private final SnapshotStore store;
    private final RuntimeDirectory runtime;

    PausedSandboxes(Path root, RuntimeDirectory runtime) {
        this.store = new SnapshotStore(root, new NobodyElse());
        this.runtime = runtime;
    }

    /** Such a snapshot is written by the sandbox itself, and forked from once. */
    private static final class NobodyElse implements SnapshotStore.Writers {
        @Override
        public boolean isWriting(Snapshot snapshot) {
            return false;
        }

        @Override
        public void requireUnused(Snapshot snapshot) {}

        @Override
        public void end(Snapshot snapshot) {}
    }

    SnapshotStore store() {
        return store;
    }

    static SnapshotTag tag(String id) {
        return new SnapshotTag(id);
    }

    Path directory(String id) {
        return store.root().resolve(id);
    }

    /** Whether there is anything of it here: it is paused, or being paused, or has just been resumed. */
    boolean has(String id) {
        return Files.exists(directory(id), LinkOption.NOFOLLOW_LINKS);
    }

    /** The sandbox with that id, if it is paused. */
    Optional<Found> find(String id) {
        Path directory = directory(id);
        // What every use of a sandbox asks; without following links it would take ten times as long.
        if (!Files.exists(directory.resolve(Snapshot.VMSTATE))) {
            return Optional.empty();
        }
        try {
            return isSpent(id) ? Optional.empty() : Sandbox.read(directory).map(Found.Paused::new);
        } catch (ForkdException e) {
            // It is resumed or removed at this moment, or nobody can tell what it is.
            return e.kind() == Kind.NOT_FOUND || !has(id)
                    ? Optional.empty()
                    : Optional.of(new Found.Damaged(directory, e.sentence()));
        }
    }

    /** Whether the sandbox has been resumed from it. */
    private boolean isSpent(String id) {
        Optional<Sandbox> resumed = resumed(id);
        return resumed.isPresent() && resumed.get().base().equals(Servers.origin(store.read(tag(id))));
    }

    private Optional<Sandbox> resumed(String id) {
        try {
            return Sandbox.read(runtime.root().resolve("sandboxes").resolve(id));
        } catch (ForkdException e) {
            return Optional.empty(); // A file that was written half was not written by who resumed it.
        }
    }

    List<Found> list() {
        return ids().stream().flatMap(id -> find(id).stream()).toList();
    }

    private List<String> ids() {
        try {
            return Trees.list(store.root()).stream()
                    .map(entry -> String.valueOf(entry.getFileName()))
                    .filter(Sandbox::isId)
                    .toList();
        } catch (IOException e) {
            throw ForkdException.of("list " + store.root(), e);
        }
    }

    /** Those of which something is left that is of no use, unless the sandbox is still writing it. */
    List<String> unused() {
        return ids().stream()
                .filter(id -> find(id).isEmpty() && !isOwned(directory(id)))
                .toList();
    }

    private static boolean isOwned(Path directory) {
        try {
            return OwnedDirectory.isOwned(directory);
        } catch (IOException e) {
            return true; // Nobody can tell.
        }
    }

    /** Who has it pauses, resumes and ends that sandbox alone. */
    final class Alone implements AutoCloseable {
        private final String id;
        private final FileLock lock;

        private Alone(String id, FileLock lock) {
            this.id = id;
            this.lock = lock;
        }

        @Override
        public void close() {
            try (FileLock held = lock) {
                if (!has(id)) {
                    Files.deleteIfExists(lockFile(id));
                }
            } catch (IOException e) {
                // An empty file is left.
            }
        }
    }

    private interface Locking {
        FileLock lock(Path file) throws IOException;
    }

    /** May be held for as long as that sandbox takes to be written. */
    Alone lock(String id, Waiter waiter) {
        return alone(id, file -> FileLock.exclusive(file, "the sandbox " + id, waiter));
    }

    /** As {@link #lock}, for who waits for no more than half a minute. */
    Alone lockSoon(String id) {
        return alone(id, FileLock::exclusive);
    }

    /** As {@link #lock}, for who has others to look at: empty when somebody has it. */
    Optional<Alone> tryLock(String id) {
        try {
            Files.createDirectories(store.root());
            return FileLock.tryExclusive(lockFile(id)).map(lock -> new Alone(id, lock));
        } catch (IOException e) {
            throw ForkdException.of("lock the sandbox " + id, e);
        }
    }

    private Alone alone(String id, Locking locking) {
        try {
            Files.createDirectories(store.root());
            return new Alone(id, locking.lock(lockFile(id)));
        } catch (IOException e) {
            throw ForkdException.of("lock the sandbox " + id, e);
        }
    }

    private Path lockFile(String id) {
        return store.root().resolve(LOCK + id);
    }

    /** Removes what is here of it. */
    void discard(String id) {
        store.discard(tag(id));
    }

    /** The same, if it has been resumed from that: to be done before what tells so goes. */
    void discardSpent(String id) {
        if (has(id) && Files.exists(directory(id).resolve(Snapshot.VMSTATE)) && isSpent(id)) {
            discard(id);
        }
    }
}
