package io.forkd.engine;

import io.forkd.Limits;
import io.forkd.kernel.GuestKernel;
import io.forkd.snapshot.SnapshotTag;
import io.forkd.snapshot.Volume;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Optional;

/**
 * A parent to boot and to write down.
 *
 * @param limits of the parent, and of children for which nothing else is said
 * @param bootWait how long the guest may take to become ready
 * @param warm Python that its warm interpreter runs first
 * @param replace whether a snapshot of that tag may be replaced
 * @param keepWork whether the console is kept in /tmp
 */
public record SnapshotRequest(
        SnapshotTag tag,
        GuestKernel kernel,
        Path rootfs,
        boolean writableRoot,
        Optional<String> tap,
        int memoryMib,
        int vcpus,
        Limits limits,
        List<Volume> volumes,
        VolumeConflict volumeConflict,
        Optional<String> warm,
        Duration bootWait,
        boolean replace,
        boolean keepWork) {
    /** The same under another tag, which nobody has. */
    SnapshotRequest as(SnapshotTag other) {
        return with(other, rootfs, tap, false);
    }

    /** The same on another root disk, connected with that tap device. */
    SnapshotRequest on(Path disk, Optional<String> device) {
        return with(tag, disk, device, replace);
    }

    private SnapshotRequest with(SnapshotTag ofTag, Path disk, Optional<String> device, boolean replacing) {
        return new SnapshotRequest(
                ofTag,
                kernel,
                disk,
                writableRoot,
                device,
                memoryMib,
                vcpus,
                limits,
                volumes,
                volumeConflict,
                warm,
                bootWait,
                replacing,
                keepWork);
    }
}
