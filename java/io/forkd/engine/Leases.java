package io.forkd.engine;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.engine.Servers.Lease;
import io.forkd.snapshot.Manifest.ManifestDisk;
import io.forkd.snapshot.Snapshot;
import io.forkd.snapshot.SnapshotStore;
import io.forkd.vmm.Disk;
import io.forkd.vmm.VmmException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/** Gets the fork server of a snapshot: one that runs already, or a new one. */
final class Leases {
    private static final Duration SLICE = Duration.ofMillis(100);

    private final SnapshotStore store;
    private final Servers servers;
    private final Chains chains;
    private final Holders holders;
    private final Cancellation cancellation;

    Leases(SnapshotStore store, Servers servers, Chains chains, Holders holders, Cancellation cancellation) {
        this.store = store;
        this.servers = servers;
        this.chains = chains;
        this.holders = holders;
        this.cancellation = cancellation;
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
        snapshot.requireImages();
        if (!snapshot.isComplete()) {
            awaitVolumes(snapshot, progress);
        }
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
        List<Snapshot> chain = chains.resolve(snapshot, progress);
        if (snapshot.isLayer()) {
            progress.step("putting the memory of " + snapshot.tag() + " together");
        }
        Path memory = chains.memory(chain);
        progress.step("starting the fork server");
        List<Path> written = written(snapshot, Chains.layers(chain), count, conflict);
        List<Disk> disks = disks(snapshot, Chains.layers(chain), written);
        try {
            // One that only has a view of a volume would keep its next writer out for as long as it is kept.
            return new Source(
                    kept && !volumes
                            ? servers.start(snapshot, memory, disks)
                            : servers.startOwn(snapshot, memory, disks, prepare),
                    written);
        } catch (VmmException e) {
            throw holders.explain(e, disks);
        }
    }

    /**
     * A branch that is being written gives no child a volume that its source writes to. It does from its files, when the
     * source has ended.
     */
    private void awaitVolumes(Snapshot snapshot, Progress progress) {
        List<ManifestDisk> disks = snapshot.manifest().disks();
        List<Path> unmounted = disks.stream()
                .skip(1)
                .filter(disk -> !disk.readOnly() && disk.modified().isEmpty())
                .map(snapshot::image)
                .toList();
        if (unmounted.isEmpty()) {
            return;
        }
        for (Path volume : unmounted) {
            holders.refusal(volume, true).ifPresent(refusal -> {
                throw refusal;
            });
        }
        Optional<Lease> twin = servers.running(snapshot);
        if (twin.isPresent()) {
            try (Lease held = twin.get()) {
                progress.step("waiting until " + snapshot.tag() + " is written");
                while (!held.server().awaitWritten(SLICE)) {
                    cancellation.check();
                }
            }
        }
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
        if (written.isEmpty() || conflict == VolumeConflict.PRIVATE) {
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

    /** A volume that has layers had a private view when they were written, and keeps it. */
    private static boolean isWrittenThrough(int number, ManifestDisk disk, List<Path> layers) {
        return number > 0 && !disk.readOnly() && layers.isEmpty();
    }

    private static List<Disk> disks(Snapshot snapshot, List<List<Path>> layers, List<Path> written) {
        List<Disk> disks = new ArrayList<>();
        for (int i = 0; i < layers.size(); i++) {
            ManifestDisk disk = snapshot.manifest().disks().get(i);
            Path image = snapshot.image(disk);
            Disk.Mode mode = disk.readOnly() ? Disk.Mode.READ_ONLY : Disk.Mode.PRIVATE;
            disks.add(new Disk(image, i > 0 && written.contains(image) ? Disk.Mode.SHARED : mode, layers.get(i)));
        }
        return disks;
    }
}
