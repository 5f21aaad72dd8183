package io.forkd.engine;

import io.forkd.ForkdException;
import io.forkd.engine.Servers.Lease;
import io.forkd.files.FileLock;
import io.forkd.files.OwnedDirectory;
import io.forkd.files.Trees;
import io.forkd.snapshot.Manifest;
import io.forkd.snapshot.Provenance;
import io.forkd.snapshot.Snapshot;
import io.forkd.snapshot.SnapshotStore;
import io.forkd.snapshot.SnapshotTag;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;

/**
 * A snapshot that can be forked before all of it is here: as a branch that is being written, it has its tag and no vmstate,
 * and a fork server. What that server reads is fetched when it is read, which is for the caller to see to. As long as this
 * is open the server lives; when it is closed before the snapshot is complete, that has failed.
 */
public final class Arriving implements AutoCloseable {
    private final SnapshotStore store;
    private final Servers servers;
    private final Snapshot snapshot;
    private final Lease lease;
    private final FileLock pulling;

    /**
     * What is there already.
     *
     * @param from what it is fetched from, for people
     * @param memory of all that it is a layer over, too; it and the disks are readable and mappable, whatever that takes
     */
    public record Source(
            SnapshotTag tag,
            Manifest manifest,
            String from,
            Optional<Path> workingSet,
            Path vmstate,
            Path memory,
            List<Disk> disks) {
        public Source {
            disks = List.copyOf(disks);
        }

        private List<io.forkd.vmm.Disk> ofVmm() {
            return disks.stream()
                    .map(disk -> new io.forkd.vmm.Disk(
                            disk.image(),
                            disk.readOnly() ? io.forkd.vmm.Disk.Mode.READ_ONLY : io.forkd.vmm.Disk.Mode.PRIVATE,
                            disk.layers()))
                    .toList();
        }
    }

    /**
     * A disk of the guest.
     *
     * @param image the whole of it, or the lowest part when it has layers
     * @param layers what was written over it, the oldest first
     */
    public record Disk(Path image, boolean readOnly, List<Path> layers) {
        public Disk {
            layers = List.copyOf(layers);
        }
    }

    private Arriving(SnapshotStore store, Servers servers, Snapshot snapshot, Lease lease, FileLock pulling) {
        this.store = store;
        this.servers = servers;
        this.snapshot = snapshot;
        this.lease = lease;
        this.pulling = pulling;
    }

    /** @param replace whether it takes the place of a snapshot of that name, which comes back should it fail */
    static Arriving begin(SnapshotStore store, Servers servers, Source source, boolean replace, Call call) {
        Snapshot snapshot = new Snapshot(source.tag(), store.directory(source.tag()), source.manifest());
        try (OwnedDirectory staged = store.stage(source.tag())) {
            if (source.workingSet().isPresent()) {
                Files.copy(source.workingSet().get(), staged.path().resolve(Snapshot.WORKING_SET));
            }
            Provenance.ofPull(source.from()).note(staged.path());
            FileLock pulling = FileLock.exclusive(staged.path().resolve(Snapshot.PULL_LOCK));
            try {
                store.register(staged, source.tag(), source.manifest(), replace, Optional.empty());
                Lease lease = servers.start(
                        new Launch(List.of(snapshot), source.vmstate(), source.memory(), source.ofVmm(), List.of()),
                        call);
                staged.release();
                return new Arriving(store, servers, snapshot, lease, pulling);
            } catch (RuntimeException e) {
                pulling.close();
                store.unregister(staged, snapshot);
                throw e;
            }
        } catch (IOException e) {
            throw ForkdException.of("make the snapshot '" + source.tag() + "'", e);
        }
    }

    /** Fails when somebody has removed it meanwhile. */
    public void requireUnchanged() {
        store.requireUnchanged(snapshot);
    }

    /**
     * Completes it: from now on it is a snapshot like any other, and children are forked from its files.
     *
     * @param files a folder on the same file system with all its files, synced
     * @param manifest what is known now that they are here
     */
    public void complete(Path files, Manifest manifest) {
        try {
            store.change(snapshot, () -> place(files, manifest));
        } catch (IOException e) {
            throw ForkdException.of("complete the snapshot '" + snapshot.tag() + "'", e);
        }
        servers.retire(snapshot);
        store.sweep(); // What it replaced can go.
    }

    private void place(Path files, Manifest manifest) throws IOException {
        store.rewrite(snapshot.tag(), manifest);
        Path directory = snapshot.directory();
        for (Path file : Trees.list(files)) {
            String name = String.valueOf(file.getFileName());
            if (!name.equals(Snapshot.VMSTATE) && !name.equals(OwnedDirectory.LOCK)) {
                Files.deleteIfExists(directory.resolve(name));
                Files.createLink(directory.resolve(name), file);
            }
        }
        Trees.sync(directory);
        Files.createLink(directory.resolve(Snapshot.VMSTATE), files.resolve(Snapshot.VMSTATE));
        Trees.sync(directory);
        Files.deleteIfExists(directory.resolve(Snapshot.PULL_LOCK));
    }

    /** It will not be completed: whoever asks for it is told why. */
    public void failed(String why) {
        try {
            store.change(snapshot, () -> Files.writeString(snapshot.directory().resolve(Snapshot.PULL_LOCK), why));
        } catch (IOException | ForkdException e) {
            // He is told less.
        }
    }

    @Override
    public void close() {
        lease.close();
        pulling.close();
    }
}
