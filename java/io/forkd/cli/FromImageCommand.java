package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.engine.SnapshotRequest;
import io.forkd.engine.SnapshotResult;
import io.forkd.engine.VolumeConflict;
import io.forkd.network.Networks;
import io.forkd.rootfs.Rootfs;
import io.forkd.rootfs.RootfsCache;
import io.forkd.rootfs.RootfsCache.Request;
import io.forkd.snapshot.SnapshotTag;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

@Command(
        name = "from-image",
        description =
                "From a container image to a warm snapshot: pulls it, makes a disk image of it, boots, warms up and"
                        + " writes it down. Without Docker and without root.",
        sortOptions = false)
final class FromImageCommand implements Callable<Integer> {
    private final Shell shell;

    @Parameters(
            paramLabel = "IMAGE",
            description =
                    "The image: python:3.12-slim, ghcr.io/user/repo:tag, host:port/name@sha256:..., oci:DIR[:REF],"
                            + " oci-archive:FILE, docker-archive:FILE, docker-daemon:NAME")
    String reference = "";

    @Mixin
    ImageOptions image = new ImageOptions();

    @Option(
            names = "--tag",
            paramLabel = "TAG",
            converter = NewTagConverter.class,
            description = "Name of the snapshot: 1 to 64 letters, digits, . _ -")
    Optional<SnapshotTag> tag = Optional.empty();

    @Mixin
    MachineOptions machine = new MachineOptions();

    @Option(names = "--force", description = "Replace a snapshot of that name.")
    boolean force;

    @Option(names = "--json", description = "Print the result as JSON.")
    boolean json;

    FromImageCommand(Shell shell) {
        this.shell = shell;
    }

    @Override
    public Integer call() {
        SnapshotTag name = tag.orElseThrow(() -> new ForkdException(Kind.USAGE, "missing: --tag TAG"));
        Request request = image.request(reference);
        // What would fail after the pull had better fail before it.
        snapshotOf(name, Path.of("rootfs.ext4"));
        if (!force) {
            shell.engine().store().requireFree(name);
        }

        // In use until the snapshot says that it needs the disk image.
        try (RootfsCache cache = image.cache(shell)) {
            make(name, cache, request);
        }
        return 0;
    }

    /** The usual tap, where none was named and it is there, or may be made. */
    private void chooseTap() {
        if (machine.tap.isPresent()) {
            return;
        }
        try {
            shell.engine().networks().requireTap();
            machine.tap = Optional.of(Networks.TAP);
        } catch (ForkdException e) {
            shell.note("The guest gets no network, which would be on " + Networks.TAP + ": " + e.sentence());
        }
    }

    private void make(SnapshotTag name, RootfsCache cache, Request request) {
        long start = System.nanoTime();
        Rootfs rootfs = cache.get(request);
        Duration built = Duration.ofNanos(System.nanoTime() - start);
        shell.note(
                rootfs.cached()
                        ? "Rootfs: cached, " + rootfs.file()
                        : "Rootfs: built in " + built.toMillis() + " ms, " + Format.size(rootfs.usedBytes()) + ", "
                                + rootfs.file());
        if (!shell.terminal()) {
            shell.note("Booting the guest and writing the snapshot");
        }
        chooseTap();
        SnapshotResult result = shell.engine().snapshot(snapshotOf(name, rootfs.file()), shell.call());
        shell.clear();
        if (json) {
            shell.print(Shell.json()
                    .put("tag", name.value())
                    .put("dir", result.directory().toString())
                    .put("rootfs", rootfs.file().toString())
                    .put("image", rootfs.image().toString())
                    .put("cached", rootfs.cached())
                    .put("rootfs_ms", Format.inMillis(built))
                    .put("boot_ms", Format.inMillis(result.boot()))
                    .put("snapshot_ms", Format.inMillis(result.write())));
        } else {
            shell.print("tag:      " + name);
            shell.print("dir:      " + result.directory());
            shell.print("rootfs:   " + rootfs.file());
            shell.print("boot:     " + result.boot().toMillis() + " ms");
            shell.print("snapshot: " + result.write().toMillis() + " ms");
            shell.note("Next: forkd fork --tag " + name + " -n 10");
        }
    }

    private SnapshotRequest snapshotOf(SnapshotTag name, Path rootfs) {
        return machine.request(shell, name, rootfs, true, List.of(), VolumeConflict.FAIL, force);
    }
}
