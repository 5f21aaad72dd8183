package io.forkd.engine;

import io.forkd.ForkdException;
import io.forkd.engine.Servers.Lease;
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
    Source lease(Snapshot snapshot, int count, boolean keep, boolean prepare, VolumeConflict conflict, Call call) {
        snapshot.requireImages();
        if (!snapshot.isComplete()) {
            awaitVolumes(snapshot, call);
        }
        // One that only has a view of a volume would keep its next writer out for as long as it is kept.
        boolean kept = keep
                && !servers.idle().isZero()
                && snapshot.manifest().volumes().stream().allMatch(Volume::readOnly);
        // A branch that is being written has nobody but its twin, whatever is asked for.
        if (kept || !snapshot.isComplete()) {
            Optional<Lease> running = servers.running(snapshot);
            if (running.isPresent()) {
                return unchanged(List.of(snapshot), running.get(), List.of());
            }
        }
        Launch launch = launches.of(snapshot, count, conflict, call);
        call.step("starting the fork server");
        try {
            Lease lease = kept ? servers.start(launch, call) : servers.startOwn(launch, prepare);
            return unchanged(launch.chain(), lease, launch.written());
        } catch (VmmException e) {
            launches.requireUnchanged(launch.chain());
            throw holders.explain(e, launch.disks());
        }
    }

    /** What was started while one of them was replaced, by us or by somebody else, may have opened files of both. */
    private Source unchanged(List<Snapshot> chain, Lease lease, List<Path> written) {
        try {
            launches.requireUnchanged(chain);
            return new Source(lease, written);
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
