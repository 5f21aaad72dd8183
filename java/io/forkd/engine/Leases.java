package io.forkd.engine;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.engine.Servers.Lease;
import io.forkd.snapshot.Manifest.ManifestDisk;
import io.forkd.snapshot.Snapshot;
import io.forkd.snapshot.SnapshotStore;
import io.forkd.vmm.Disk;
import io.forkd.vmm.NativeError;
import io.forkd.vmm.VmmException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/** Gets the fork server of a snapshot: one that runs already, or a new one. */
final class Leases {
    private final SnapshotStore store;
    private final Servers servers;
    private final Chains chains;
    private final Sandboxes sandboxes;

    Leases(SnapshotStore store, Servers servers, Chains chains, Sandboxes sandboxes) {
        this.store = store;
        this.servers = servers;
        this.chains = chains;
        this.sandboxes = sandboxes;
    }

    /**
     * A server, and what its children write through to.
     *
     * @param written volumes that are attached for writing
     */
    record Source(Lease lease, List<Path> written) implements AutoCloseable {
        @Override
        public void close() {
            lease.close();
        }
    }

    /**
     * @param count how many children are to come of it
     * @param keep whether it may be one that others use, too
     * @param prepare whether children get the snapshot's working set; what is kept gives it always
     */
    Source lease(
            Snapshot snapshot, int count, boolean keep, boolean prepare, VolumeConflict conflict, Progress progress) {
        boolean volumes = snapshot.manifest().volumes().stream().anyMatch(volume -> !volume.readOnly());
        boolean kept = keep && !servers.idle().isZero();
        // A branch that is being written has nobody but its twin, whatever is asked for.
        if (!snapshot.isComplete() || (kept && !volumes)) {
            Optional<Lease> running = servers.running(snapshot);
            if (running.isPresent()) {
                return new Source(running.get(), List.of());
            }
        }
        store.open(snapshot.tag());
        List<Snapshot> chain = chains.resolve(snapshot);
        if (snapshot.isLayer()) {
            progress.step("putting the memory of " + snapshot.tag() + " together");
        }
        Path memory = chains.memory(chain);
        progress.step("starting the fork server");
        List<Path> written = written(snapshot, Chains.layers(chain), count, conflict);
        if (!written.isEmpty()) {
            Optional<ForkdException> refusal = sandboxes.held(written).or(() -> changed(snapshot, written));
            if (refusal.isEmpty()) {
                try {
                    return new Source(
                            servers.startOwn(snapshot, memory, disks(snapshot, chain, true, progress), prepare),
                            written);
                } catch (VmmException e) {
                    if (e.error().code() != NativeError.EBUSY) {
                        throw e;
                    }
                    refusal = Optional.of(e); // Somebody was faster.
                }
            }
            if (conflict == VolumeConflict.FAIL) {
                throw refusal.get();
            }
        }
        List<Disk> disks = disks(snapshot, chain, false, progress);
        return new Source(
                kept ? servers.start(snapshot, memory, disks) : servers.startOwn(snapshot, memory, disks, prepare),
                List.of());
    }

    /** The volumes that a child would write through to. */
    private static List<Path> written(Snapshot snapshot, List<List<Path>> layers, int count, VolumeConflict conflict) {
        List<Path> written = new ArrayList<>();
        for (int i = 1; i < snapshot.manifest().disks().size(); i++) {
            ManifestDisk disk = snapshot.manifest().disks().get(i);
            if (isWrittenThrough(i, disk, layers.get(i))) {
                written.add(snapshot.image(disk));
            }
        }
        if (written.isEmpty() || (count > 1 && conflict == VolumeConflict.PRIVATE)) {
            return List.of();
        }
        if (count > 1) {
            throw new ForkdException(
                    Kind.CONFLICT,
                    "the volume " + written.get(0) + " can be written by one VM at a time, and " + count
                            + " were asked for",
                    "--volume-conflict=private gives each a copy-on-write view of its own.");
        }
        return written;
    }

    /**
     * Why a volume cannot be attached for writing: the guest has it mounted as it was when the snapshot was taken, and
     * what it writes next would undo what has been written since.
     */
    private static Optional<ForkdException> changed(Snapshot snapshot, List<Path> written) {
        return snapshot.manifest().disks().stream()
                .filter(disk -> written.contains(snapshot.image(disk)) && snapshot.isNewer(disk))
                .findFirst()
                .map(disk -> new ForkdException(
                        Kind.CONFLICT,
                        "the volume " + snapshot.image(disk) + " was written to after the snapshot '" + snapshot.tag()
                                + "' was taken, and its guest, which has it mounted as it was, would damage it",
                        "Take the snapshot again, or give --volume-conflict=private for a copy-on-write view."));
    }

    /** A volume that has layers had a private view when they were written, and keeps it. */
    private static boolean isWrittenThrough(int number, ManifestDisk disk, List<Path> layers) {
        return number > 0 && !disk.readOnly() && layers.isEmpty();
    }

    private static List<Disk> disks(Snapshot snapshot, List<Snapshot> chain, boolean shared, Progress progress) {
        List<List<Path>> layers = Chains.layers(chain);
        List<Disk> disks = new ArrayList<>();
        for (int i = 0; i < layers.size(); i++) {
            ManifestDisk disk = snapshot.manifest().disks().get(i);
            boolean writtenThrough = shared && isWrittenThrough(i, disk, layers.get(i));
            if (snapshot.isNewer(disk)) {
                progress.warn(snapshot.image(disk) + " was written to after the snapshot '" + snapshot.tag()
                        + "' was taken; what the children see of it may be damaged");
            }
            Disk.Mode mode = disk.readOnly() ? Disk.Mode.READ_ONLY : Disk.Mode.PRIVATE;
            disks.add(new Disk(snapshot.image(disk), writtenThrough ? Disk.Mode.SHARED : mode, layers.get(i)));
        }
        return disks;
    }
}
