package io.forkd.engine;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.Remedy;
import io.forkd.agent.AgentAddress;
import io.forkd.agent.AgentClient;
import io.forkd.cgroup.Cgroups;
import io.forkd.files.OwnedDirectory;
import io.forkd.sandbox.RuntimeDirectory;
import io.forkd.snapshot.Manifest;
import io.forkd.snapshot.Manifest.Layer;
import io.forkd.snapshot.Manifest.Machine;
import io.forkd.snapshot.Manifest.ManifestDisk;
import io.forkd.snapshot.Snapshot;
import io.forkd.snapshot.SnapshotStore;
import io.forkd.snapshot.Volume;
import io.forkd.snapshot.VolumeImages;
import io.forkd.vmm.BootOptions;
import io.forkd.vmm.Disk;
import io.forkd.vmm.Vm;
import io.forkd.vmm.VmStatus;
import io.forkd.vmm.VmStatus.Phase;
import io.forkd.vmm.Vmm;
import io.forkd.vmm.VmmException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.Set;
import tools.jackson.databind.node.JsonNodeFactory;

/** Boots VMs from images and writes them down when their guests are ready. */
final class Parents {
    private static final Duration SLICE = Duration.ofMillis(100);

    private final Vmm vmm;
    private final SnapshotStore store;
    private final RuntimeDirectory runtime;
    private final Holders holders;
    private final WorkingSets workingSets;
    private final Cgroups cgroups;

    Parents(
            Vmm vmm,
            SnapshotStore store,
            RuntimeDirectory runtime,
            Holders holders,
            WorkingSets workingSets,
            Cgroups cgroups) {
        this.vmm = vmm;
        this.store = store;
        this.runtime = runtime;
        this.holders = holders;
        this.workingSets = workingSets;
        this.cgroups = cgroups;
    }

    /** Boots a parent, waits until its guest is ready, and writes it down. The parent ends. */
    SnapshotResult snapshot(SnapshotRequest request, Call call) {
        if (!request.replace()) {
            store.requireFree(request.tag());
        }
        List<ManifestDisk> images = new ArrayList<>();
        images.add(image(request.rootfs(), !request.writableRoot(), "the rootfs", Remedy.Action.OTHER_ROOTFS));
        for (Volume volume : request.volumes()) {
            images.add(image(
                    volume.hostPath(),
                    volume.readOnly(),
                    "the volume",
                    new Remedy.Advice("truncate -s 1G NEW.ext4 && mkfs.ext4 NEW.ext4 makes an empty one.")));
            VolumeImages.requireMountable(volume.hostPath(), volume.readOnly());
        }
        VolumeImages.requireDistinct(request.rootfs(), request.volumes());
        String commandLine = KernelCommandLine.of(
                request.writableRoot(),
                request.kernel().initrd().isPresent(),
                request.tap().isPresent(),
                request.volumes(),
                request.warm());

        try (OwnedDirectory run = runtime.open("snapshot")) {
            try (Groups groups = Groups.of(cgroups, request.limits(), request.vcpus())) {
                Optional<Path> cgroup = groups.make(String.valueOf(run.path().getFileName()));
                SnapshotResult made = snapshot(request, images, commandLine, run.path(), cgroup, call);
                workingSets.learn(made.tag(), run.path(), call);
                return made;
            } finally {
                if (request.keepWork()) {
                    WorkDirectory.keep(run.path(), "forkd-parent-" + request.tag(), call);
                }
            }
        }
    }

    private SnapshotResult snapshot(
            SnapshotRequest request,
            List<ManifestDisk> images,
            String commandLine,
            Path run,
            Optional<Path> cgroup,
            Call call) {
        long memoryBytes = request.memoryMib() * 1024L * 1024;
        Path console = run.resolve("console.log");
        Path socket = RuntimeDirectory.socket(
                run,
                request.tag().value().length() > 40 ? "parent" : request.tag().value());
        boolean shared = request.volumeConflict() == VolumeConflict.FAIL;
        BootOptions options = new BootOptions(
                request.kernel().vmlinux(),
                request.kernel().initrd(),
                commandLine,
                memoryBytes,
                request.vcpus(),
                disks(images, shared),
                request.tap(),
                console,
                socket,
                request.limits(),
                cgroup);

        call.step("booting " + request.kernel().vmlinux());
        long start = System.nanoTime();
        try (Vm vm = boot(options)) {
            VmStatus ready = awaitReady(vm, options, request.bootWait(), call);
            long up = System.nanoTime();

            Set<Integer> unmounted = shared
                    ? WrittenVolumes.unmount(
                            new AgentClient(new AgentAddress.Vsock(socket)),
                            request.volumes(),
                            images,
                            writable(images),
                            call)
                    : Set.of();

            call.step("writing " + request.memoryMib() + " MiB of memory");
            try (OwnedDirectory staged = store.stage(request.tag())) {
                call.blockedBy(ready.pid(), () -> vm.snapshot(staged.path()));
                Path directory = store.directory(request.tag());
                Manifest manifest = new Manifest(
                                directory.resolve(Snapshot.VMSTATE),
                                directory.resolve(Snapshot.MEMORY),
                                memoryBytes,
                                request.volumes(),
                                images.get(0).image(),
                                Optional.empty(),
                                written(images, shared, unmounted, staged.path()),
                                new Machine(
                                        request.vcpus(),
                                        request.kernel().vmlinux(),
                                        request.kernel().initrd(),
                                        commandLine,
                                        request.tap(),
                                        request.limits(),
                                        Engine.VERSION),
                                Optional.empty(),
                                Instant.now(),
                                JsonNodeFactory.instance.objectNode())
                        .ownedBy(call.owner());
                store.install(staged, request.tag(), manifest, request.replace());
                return new SnapshotResult(
                        request.tag(),
                        directory,
                        memoryBytes,
                        ready.pid(),
                        Duration.ofNanos(up - start),
                        Duration.ofNanos(System.nanoTime() - up));
            }
        }
    }

    private Vm boot(BootOptions options) {
        try {
            return vmm.boot(options);
        } catch (VmmException e) {
            throw holders.explain(e, options.disks());
        }
    }

    private static VmStatus awaitReady(Vm vm, BootOptions options, Duration limit, Call call) {
        Path console = options.console();
        long deadline = System.nanoTime() + limit.toNanos();
        while (true) {
            call.check();
            VmStatus status = vm.await(SLICE).orElse(null);
            if (status != null && status.phase() == Phase.READY) {
                return status;
            }
            if (status != null) {
                throw new ForkdException(
                        Kind.FAILED,
                        "the guest did not come up: "
                                + Groups.whyKilled(options.cgroup(), options.limits())
                                        .orElseGet(status::reason),
                        WorkDirectory.lastLines(console));
            }
            if (System.nanoTime() >= deadline) {
                throw new ForkdException(
                        Kind.FAILED,
                        "the guest was not ready after " + limit.toSeconds() + " seconds",
                        new Remedy.LongerBoot(WorkDirectory.lastLines(console)));
            }
        }
    }

    private static ManifestDisk image(Path given, boolean readOnly, String what, Remedy remedy) {
        try {
            if (!Files.exists(given)) {
                throw new ForkdException(Kind.NOT_FOUND, what + " " + given + " does not exist", remedy);
            }
            Path image = given.toRealPath();
            if (!Files.isRegularFile(image)) {
                throw new ForkdException(Kind.FAILED, what + " " + given + " is not a file", remedy);
            }
            long bytes = Files.size(image);
            if (bytes == 0 || bytes % 512 != 0) {
                throw new ForkdException(
                        Kind.FAILED,
                        what + " " + given + " is not a disk image: it has " + bytes
                                + " bytes, which is no multiple of 512",
                        remedy);
            }
            return new ManifestDisk(
                    image,
                    readOnly,
                    bytes,
                    OptionalLong.of(Files.getLastModifiedTime(image).toMillis()),
                    Optional.empty());
        } catch (IOException e) {
            throw ForkdException.of("look at " + what + " " + given, e);
        }
    }

    private static List<Path> writable(List<ManifestDisk> images) {
        return images.stream()
                .skip(1)
                .filter(image -> !image.readOnly())
                .map(ManifestDisk::image)
                .toList();
    }

    /** The root disk is never written to; writable volumes are, unless the guest has a view of its own. */
    private static List<Disk> disks(List<ManifestDisk> images, boolean shared) {
        List<Disk> disks = new ArrayList<>();
        for (ManifestDisk image : images) {
            Disk.Mode writable = shared && !disks.isEmpty() ? Disk.Mode.SHARED : Disk.Mode.PRIVATE;
            disks.add(new Disk(image.image(), image.readOnly() ? Disk.Mode.READ_ONLY : writable, List.of()));
        }
        return disks;
    }

    /** Notes which disks the library wrote a layer for, and how old the images of those that are mounted are now. */
    private static List<ManifestDisk> written(
            List<ManifestDisk> images, boolean shared, Set<Integer> unmounted, Path directory) {
        List<ManifestDisk> disks = new ArrayList<>();
        try {
            for (ManifestDisk image : images) {
                String name = Snapshot.layerName(disks.size());
                Path file = directory.resolve(name);
                Optional<Layer> layer =
                        Files.exists(file) ? Optional.of(new Layer(name, Files.size(file))) : Optional.empty();
                disks.add(new ManifestDisk(
                        image.image(),
                        image.readOnly(),
                        image.bytes(),
                        shared ? WrittenVolumes.modified(image, disks.size(), unmounted) : image.modified(),
                        layer));
            }
            return disks;
        } catch (IOException e) {
            throw ForkdException.of("look at the disks and at " + directory, e);
        }
    }
}
