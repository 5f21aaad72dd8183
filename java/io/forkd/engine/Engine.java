package io.forkd.engine;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.files.OwnedDirectory;
import io.forkd.sandbox.RuntimeDirectory;
import io.forkd.snapshot.DataDirectory;
import io.forkd.snapshot.Manifest;
import io.forkd.snapshot.Manifest.Layer;
import io.forkd.snapshot.Manifest.Machine;
import io.forkd.snapshot.Manifest.ManifestDisk;
import io.forkd.snapshot.SnapshotStore;
import io.forkd.snapshot.SnapshotTag;
import io.forkd.snapshot.Volume;
import io.forkd.vmm.BootOptions;
import io.forkd.vmm.Disk;
import io.forkd.vmm.NativeFiles;
import io.forkd.vmm.Vm;
import io.forkd.vmm.VmStatus;
import io.forkd.vmm.VmStatus.Phase;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import tools.jackson.databind.node.JsonNodeFactory;

/** The jobs that forkd does, for whoever asks: the command line now, a daemon one day. */
public final class Engine {
    /** The version of forkd, as recorded in what it writes. */
    public static final String VERSION = Optional.ofNullable(
                    Engine.class.getPackage().getImplementationVersion())
            .orElse("development");

    private static final Duration SLICE = Duration.ofMillis(100);
    private static final int CONSOLE_LINES = 20;

    private final Path dataDirectory;
    private final SnapshotStore store;
    private final RuntimeDirectory runtime;
    private final Cancellation cancellation;

    public Engine(Map<String, String> environment, Cancellation cancellation) {
        this.dataDirectory = DataDirectory.of(environment);
        this.store = new SnapshotStore(dataDirectory);
        this.runtime = RuntimeDirectory.of(environment);
        this.cancellation = cancellation;
    }

    public Path dataDirectory() {
        return dataDirectory;
    }

    public SnapshotStore store() {
        return store;
    }

    public RuntimeDirectory runtime() {
        return runtime;
    }

    /** The guest's init and agent, unpacked from the jar. */
    public Path guestBinary() {
        return NativeFiles.installed().guest();
    }

    /** The program that writes ext4 images, unpacked from the jar. */
    public Path mkfsBinary() {
        return NativeFiles.installed().mkfs();
    }

    /** The program that makes a folder in place of an image, unpacked from the jar. */
    public Path mktreeBinary() {
        return NativeFiles.installed().mktree();
    }

    /** The disk images that snapshots of this user need. A snapshot that cannot be read stops this. */
    public Set<Path> diskImagesInUse() {
        Set<Path> used = new HashSet<>();
        for (SnapshotStore.Entry entry : store.list()) {
            for (ManifestDisk disk :
                    store.open(new SnapshotTag(entry.tag())).manifest().disks()) {
                used.add(disk.image());
            }
        }
        return used;
    }

    /** Boots a parent, waits until its guest is ready, and writes it down. The parent ends. */
    public SnapshotResult snapshot(SnapshotRequest request, Progress progress) {
        store.sweep();
        if (!request.replace()) {
            store.requireFree(request.tag());
        }
        List<ManifestDisk> images = new ArrayList<>();
        images.add(image(request.rootfs(), !request.writableRoot(), "the rootfs", "Name another one with --rootfs."));
        for (Volume volume : request.volumes()) {
            images.add(image(
                    volume.hostPath(),
                    volume.readOnly(),
                    "the volume",
                    "Make an empty one: truncate -s 1G " + volume.hostPath() + " && mkfs.ext4 " + volume.hostPath()));
        }
        String commandLine = KernelCommandLine.of(
                request.writableRoot(),
                request.kernel().initrd().isPresent(),
                request.tap().isPresent(),
                request.volumes(),
                request.warm());

        try (OwnedDirectory run = runtime.open("snapshot")) {
            try {
                return snapshot(request, images, commandLine, run.path(), progress);
            } finally {
                if (request.keepWork()) {
                    progress.warn("kept " + WorkDirectory.keep(run.path(), "forkd-parent-" + request.tag()));
                }
            }
        }
    }

    private SnapshotResult snapshot(
            SnapshotRequest request, List<ManifestDisk> images, String commandLine, Path run, Progress progress) {
        long memoryBytes = request.memoryMib() * 1024L * 1024;
        Path console = run.resolve("console.log");
        BootOptions options = new BootOptions(
                request.kernel().vmlinux(),
                request.kernel().initrd(),
                commandLine,
                memoryBytes,
                request.vcpus(),
                images.stream().map(Engine::disk).toList(),
                request.tap(),
                console,
                RuntimeDirectory.socket(
                        run,
                        request.tag().value().length() > 40
                                ? "parent"
                                : request.tag().value()));

        progress.step("booting " + request.kernel().vmlinux());
        long start = System.nanoTime();
        try (Vm vm = Vm.boot(options)) {
            VmStatus ready = awaitReady(vm, request.bootWait(), console);
            long booted = System.nanoTime();

            progress.step("writing " + request.memoryMib() + " MiB of memory");
            try (OwnedDirectory staged = store.stage(request.tag())) {
                cancellation.blockedBy(ready.pid());
                try {
                    vm.snapshot(staged.path());
                } finally {
                    cancellation.blockedBy(0);
                }
                Path directory = store.directory(request.tag());
                Manifest manifest = new Manifest(
                        directory.resolve("vmstate"),
                        directory.resolve("memory.bin"),
                        memoryBytes,
                        request.volumes(),
                        images.get(0).image(),
                        Optional.empty(),
                        withLayers(images, staged.path()),
                        new Machine(
                                request.vcpus(),
                                request.kernel().vmlinux(),
                                request.kernel().initrd(),
                                commandLine,
                                request.tap(),
                                VERSION),
                        Instant.now(),
                        JsonNodeFactory.instance.objectNode());
                store.install(staged, request.tag(), manifest, request.replace());
                return new SnapshotResult(
                        request.tag(),
                        directory,
                        memoryBytes,
                        ready.pid(),
                        Duration.ofNanos(booted - start),
                        Duration.ofNanos(System.nanoTime() - booted));
            }
        }
    }

    private VmStatus awaitReady(Vm vm, Duration limit, Path console) {
        long deadline = System.nanoTime() + limit.toNanos();
        while (true) {
            cancellation.check();
            VmStatus status = vm.await(SLICE).orElse(null);
            if (status != null && status.phase() == Phase.READY) {
                return status;
            }
            if (status != null) {
                throw new ForkdException(
                        Kind.FAILED,
                        "the guest did not come up: " + status.reason(),
                        WorkDirectory.lastLines(console, CONSOLE_LINES));
            }
            if (System.nanoTime() >= deadline) {
                throw new ForkdException(
                        Kind.FAILED,
                        "the guest was not ready after " + limit.toSeconds()
                                + " seconds (--boot-wait-secs allows it more)",
                        WorkDirectory.lastLines(console, CONSOLE_LINES));
            }
        }
    }

    private static ManifestDisk image(Path given, boolean readOnly, String what, String remedy) {
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
                    image, readOnly, bytes, Files.getLastModifiedTime(image).toMillis(), Optional.empty());
        } catch (IOException e) {
            throw ForkdException.of("look at " + what + " " + given, e);
        }
    }

    private static Disk disk(ManifestDisk disk) {
        return new Disk(disk.image(), disk.readOnly() ? Disk.Mode.READ_ONLY : Disk.Mode.PRIVATE, Optional.empty());
    }

    /** Notes which disks the library wrote a layer for. */
    private static List<ManifestDisk> withLayers(List<ManifestDisk> images, Path directory) {
        List<ManifestDisk> disks = new ArrayList<>();
        for (int i = 0; i < images.size(); i++) {
            ManifestDisk image = images.get(i);
            Path layer = directory.resolve("disk-" + i + ".layer");
            try {
                disks.add(
                        Files.exists(layer)
                                ? new ManifestDisk(
                                        image.image(),
                                        image.readOnly(),
                                        image.bytes(),
                                        image.modified(),
                                        Optional.of(new Layer("disk-" + i + ".layer", Files.size(layer))))
                                : image);
            } catch (IOException e) {
                throw ForkdException.of("look at " + layer, e);
            }
        }
        return disks;
    }

    /** Starts the fork server of a snapshot and asks it for children; they become ready while the caller looks on. */
    public Fork fork(ForkRequest request, Progress progress) {
        store.sweep();
        return Fork.start(request, store.open(request.tag()), runtime, cancellation, progress);
    }
}
