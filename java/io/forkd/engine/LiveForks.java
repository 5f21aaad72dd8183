package io.forkd.engine;

import io.forkd.ForkdException;
import io.forkd.engine.BranchRequest.Written;
import io.forkd.files.FileLock;
import io.forkd.files.OwnedDirectory;
import io.forkd.sandbox.Sandbox;
import io.forkd.snapshot.Snapshot;
import io.forkd.snapshot.SnapshotStore;
import io.forkd.snapshot.SnapshotStore.Entry;
import io.forkd.snapshot.SnapshotTag;
import java.io.IOException;
import java.security.SecureRandom;
import java.time.Duration;
import java.time.Instant;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.IntFunction;

/**
 * Forks sandboxes of one that runs, without a snapshot: of a branch that is given up as soon as they are there. It lies
 * where nobody lists it, and is not written, or not to its end.
 */
final class LiveForks {
    /** How sandboxes are made of a branch. */
    interface Making<T> {
        T of(int count, IntFunction<List<Sandbox>> make);
    }

    private static final SecureRandom RANDOM = new SecureRandom();

    /** How old one is that a process has left which was killed: longer than it takes to lock one that was made. */
    private static final Duration LEFT = Duration.ofMinutes(1);

    private final SnapshotStore store;
    private final Branches branches;
    private final Leases leases;
    private final Spawn spawn;

    /** @param store of these branches, which {@code branches} and {@code leases} are of, too */
    LiveForks(SnapshotStore store, Branches branches, Leases leases, Spawn spawn) {
        this.store = store;
        this.branches = branches;
        this.leases = leases;
        this.spawn = spawn;
    }

    /**
     * Branches a sandbox, and makes others of that.
     *
     * @param like how many, and what they are to be like; its tag is not looked at
     * @param making is told how many, and what makes so many or none
     */
    <T> T fork(Sandbox source, SpawnRequest like, Making<T> making, Call call) {
        SnapshotTag tag = new SnapshotTag("fork-" + random());
        // A volume that the source writes to no child has before the branch is on the disk.
        Written written = source.volumes().isEmpty() ? Written.NEVER : Written.LATER;
        branches.branch(new BranchRequest(source.id(), Optional.of(tag), false, false, written, false, Map.of()), call);
        try {
            Snapshot branch = store.read(tag);
            try (FileLock used = branch.use().orElse(null)) {
                return making.of(
                        like.count(),
                        count -> spawn.run(like.of(tag).counting(count), branch, source.snapshot(), leases, call));
            }
        } finally {
            giveUp(tag);
        }
    }

    private void giveUp(SnapshotTag tag) {
        try {
            store.remove(tag, true, each -> true);
        } catch (ForkdException e) {
            // The next sweep tries again, unless somebody was faster.
        }
    }

    private static String random() {
        byte[] random = new byte[8];
        RANDOM.nextBytes(random);
        return HexFormat.of().formatHex(random);
    }

    /** Gives up what processes have left that were killed. */
    void sweep() {
        for (Entry entry : store.list()) {
            try {
                if (entry.modified()
                                .orElse(Instant.now())
                                .isBefore(Instant.now().minus(LEFT))
                        && !OwnedDirectory.isAlive(entry.directory())) {
                    giveUp(new SnapshotTag(entry.tag()));
                }
            } catch (ForkdException | IOException e) {
                // The next sweep tries again.
            }
        }
        store.sweep();
    }
}
