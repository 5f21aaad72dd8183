package io.forkd.engine;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.Remedy;
import io.forkd.snapshot.Manifest.ManifestDisk;
import io.forkd.snapshot.Snapshot;
import io.forkd.snapshot.SnapshotStore;
import io.forkd.vmm.Disk;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/** Works out what the fork server of a snapshot is started with. */
final class Launches {
    private final SnapshotStore store;
    private final Chains chains;

    Launches(SnapshotStore store, Chains chains) {
        this.store = store;
        this.chains = chains;
    }

    /** @param count how many children are to come of it */
    Launch of(Snapshot snapshot, int count, VolumeConflict conflict, Call call) {
        store.open(snapshot.tag());
        List<Snapshot> chain = chains.resolve(snapshot, call);
        if (snapshot.isLayer()) {
            call.step("putting the memory of " + snapshot.tag() + " together");
        }
        return store.with(chain, () -> {
            Path memory = chains.memory(chain, call);
            chains.requireVerity(snapshot);
            List<List<Path>> layers = Chains.layers(chain);
            List<Path> written = written(snapshot, layers, count, conflict);
            return new Launch(chain, snapshot.vmstate(), memory, disks(snapshot, layers, written), written);
        });
    }

    /** As {@link SnapshotStore#requireUnchanged}, for each of them. */
    void requireUnchanged(List<Snapshot> chain) {
        chain.forEach(store::requireUnchanged);
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
                    Remedy.Action.PRIVATE_VOLUMES);
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
