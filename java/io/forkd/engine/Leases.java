package io.forkd.engine;

import io.forkd.ForkdException;
import io.forkd.engine.Servers.Lease;
import io.forkd.files.FileLock;
import io.forkd.snapshot.Manifest.ManifestDisk;
import io.forkd.snapshot.Snapshot;
import io.forkd.snapshot.Volume;
import io.forkd.vmm.VmmException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Optional;

/** Gets the fork server of a snapshot: one that runs already, or a new one. */
final class Leases {
    private static final Duration SLICE = Duration.ofMillis(100);

    private final Servers servers;
    private final Launches launches;
    private final Holders holders;

    Leases(Servers servers, Launches launches, Holders holders) {
        this.servers = servers;
        this.launches = launches;
        this.holders = holders;
    }

    /** A server, and what its children write through to. The snapshot counts as used until this is closed. */
    final class Source implements AutoCloseable {
        private final Snapshot snapshot;
        private final Lease lease;
        private final List<Path> written;
        private Optional<FileLock> use;
        private boolean checked;

        private Source(Snapshot snapshot, Optional<FileLock> use, Lease lease, List<Path> written, boolean checked) {
            this.snapshot = snapshot;
            this.use = use;
            this.lease = lease;
            this.written = written;
            this.checked = checked;
        }

        Lease lease() {
            return lease;
        }

        /** Volumes that are attached for writing. */
        List<Path> written() {
            return written;
        }

        /**
         * Fails when the snapshot cannot be used any more. To be called before a child is handed out: a server that has
         * everything open already needs none of this, so that it can be found out while the child comes up.
         */
        void check() {
            if (!checked) {
                use = snapshot.use();
                launches.requireUnchanged(List.of(snapshot));
                snapshot.check().requireImages();
                checked = true;
            }
        }

        @Override
        public void close() {
            lease.close();
            use.ifPresent(FileLock::close);
        }
    }

    /**
     * @param count how many children are to come of it
     * @param keep whether it may be one that others use, too
     * @param prepare whether children get the snapshot's working set; what is kept gives it always
     * @param groups that the children are to be in
     */
    Source lease(
            Snapshot snapshot,
            int count,
            boolean keep,
            boolean prepare,
            Groups groups,
            VolumeConflict conflict,
            Call call) {
        // One that only has a view of a volume would keep its next writer out for as long as it is kept.
        boolean kept = keep
                && !servers.idle().isZero()
                && snapshot.manifest().volumes().stream().allMatch(Volume::readOnly);
        Optional<Lease> connected =
                kept && snapshot.isComplete() ? suitable(servers.connected(snapshot), groups) : Optional.empty();
        if (connected.isPresent()) {
            return new Source(snapshot, Optional.empty(), connected.get(), List.of(), false);
        }
        Optional<FileLock> use = snapshot.use();
        try {
            return used(snapshot, use, count, kept, prepare, groups, conflict, call);
        } catch (RuntimeException | Error e) {
            use.ifPresent(FileLock::close);
            throw e;
        }
    }

    private Source used(
            Snapshot snapshot,
            Optional<FileLock> use,
            int count,
            boolean kept,
            boolean prepare,
            Groups groups,
            VolumeConflict conflict,
            Call call) {
        if (snapshot.isComplete()) {
            snapshot.requireImages();
        } else {
            awaitVolumes(snapshot, call); // Who serves it has the images open, and what is fetched has none yet.
        }
        // A branch that is being written has nobody but its twin, whatever is asked for.
        if (kept || !snapshot.isComplete()) {
            Optional<Lease> running = snapshot.isLeftByPull() ? Optional.empty() : servers.running(snapshot);
            if (running.isPresent() && snapshot.isComplete()) {
                running = suitable(running, groups);
                kept = running.isPresent();
            }
            if (running.isPresent()) {
                return unchanged(snapshot, use, List.of(snapshot), running.get(), List.of());
            }
        }
        Launch launch = launches.of(snapshot, count, conflict, call);
        call.step("starting the fork server");
        try {
            Lease lease = kept ? servers.start(launch, call) : servers.startOwn(launch, prepare);
            return unchanged(snapshot, use, launch.chain(), lease, launch.written());
        } catch (VmmException e) {
            launches.requireUnchanged(launch.chain());
            throw holders.explain(e, launch.disks());
        }
    }

    /** One that was started outside of what was delegated to us has no children in there. */
    private static Optional<Lease> suitable(Optional<Lease> lease, Groups groups) {
        if (lease.isEmpty() || !groups.areNeeded()) {
            return lease;
        }
        try {
            if (groups.areReachedBy(lease.get().server().status().pid())) {
                return lease;
            }
        } catch (VmmException e) {
            // It has just ended.
        }
        lease.get().close();
        return Optional.empty();
    }

    /** What was started while one of them was replaced, by us or by somebody else, may have opened files of both. */
    private Source unchanged(
            Snapshot snapshot, Optional<FileLock> use, List<Snapshot> chain, Lease lease, List<Path> written) {
        try {
            launches.requireUnchanged(chain);
            return new Source(snapshot, use, lease, written, true);
        } catch (ForkdException e) {
            lease.close();
            throw e;
        }
    }

    /**
     * A branch that is being written gives no child a volume that its source writes to. It does from its files, when the
     * source has ended.
     */
    private void awaitVolumes(Snapshot snapshot, Call call) {
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
                call.step("waiting until " + snapshot.tag() + " is written");
                while (!held.server().awaitWritten(SLICE)) {
                    call.check();
                }
            }
        }
    }
}
