package io.forkd.engine;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.agent.AgentAddress;
import io.forkd.agent.AgentClient;
import io.forkd.files.OwnedDirectory;
import io.forkd.sandbox.RuntimeDirectory;
import io.forkd.sandbox.Sandbox;
import io.forkd.snapshot.DataDirectory;
import io.forkd.snapshot.Manifest;
import io.forkd.snapshot.Manifest.Layer;
import io.forkd.snapshot.Manifest.Machine;
import io.forkd.snapshot.Manifest.ManifestDisk;
import io.forkd.snapshot.Snapshot;
import io.forkd.snapshot.SnapshotStore;
import io.forkd.snapshot.SnapshotTag;
import io.forkd.snapshot.Volume;
import io.forkd.snapshot.VolumeImages;
import io.forkd.vmm.BootOptions;
import io.forkd.vmm.Disk;
import io.forkd.vmm.NativeFiles;
import io.forkd.vmm.Vm;
import io.forkd.vmm.VmStatus;
import io.forkd.vmm.VmStatus.Phase;
import io.forkd.vmm.VmmException;
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
import java.util.OptionalLong;
import java.util.Set;
import tools.jackson.databind.node.JsonNodeFactory;

/** The jobs that forkd does, for whoever asks: the command line now, a daemon one day. */
public final class Engine {
    /** The version of forkd, as recorded in what it writes. */
    public static final String VERSION = Optional.ofNullable(
                    Engine.class.getPackage().getImplementationVersion())
            .orElse("development");

    private static final Duration SLICE = Duration.ofMillis(100);

    private final Path dataDirectory;
    private final SnapshotStore store;
    private final RuntimeDirectory runtime;
    private final Cancellation cancellation;
    private final Servers servers;
    private final Sandboxes sandboxes;
    private final Chains chains;
    private final Holders holders;
    private final WorkingSets workingSets;
    private final Leases leases;

    public Engine(Map<String, String> environment, Cancellation cancellation) {
        this.dataDirectory = DataDirectory.of(environment);
        this.runtime = RuntimeDirectory.of(environment);
        this.cancellation = cancellation;
        this.servers = new Servers(runtime, environment);
        this.store = new SnapshotStore(dataDirectory, servers);
        this.sandboxes = new Sandboxes(runtime);
        this.chains = new Chains(store);
        this.holders = new Holders(sandboxes, servers, store);
        this.leases = new Leases(store, servers, chains, holders, cancellation);
        this.workingSets = new WorkingSets(store, cancellation);
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

    public Sandboxes sandboxes() {
        return sandboxes;
    }

    public Snapshots snapshots() {
        return new Snapshots(store, chains, servers, sandboxes);
    }

    /** The fork servers that run on their own. */
    public List<ServerInfo> servers() {
        return servers.list();
    }

    /** What is left of what has ended, and what lives and has lost what tells of it. */
    public List<Leftover> leftovers() {
        List<Leftover> found = new ArrayList<>(ofRuns());
        found.addAll(sandboxes.leftovers());
        found.addAll(sandboxes.damaged());
        found.addAll(servers.leftovers());
        found.addAll(ofStore());
        return found;
    }

    private List<Leftover> ofRuns() {
        return runtime.leftovers().stream()
                .map(run -> new Leftover(run, () -> OwnedDirectory.removeAbandoned(run)))
                .toList();
    }

    private List<Leftover> ofStore() {
        return store.leftovers().stream()
                .map(left -> new Leftover(left, () -> store.setRight(left)))
                .toList();
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
                    store.read(new SnapshotTag(entry.tag())).manifest().disks()) {
                used.add(disk.image());
            }
        }
        return used;
    }

    /** Boots a parent, waits until its guest is ready, and writes it down. The parent ends. */
    public SnapshotResult snapshot(SnapshotRequest request, Progress progress) {
        sweep();
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
                    "Make an empty one: truncate -s 1G NEW.ext4 && mkfs.ext4 NEW.ext4"));
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
            try {
                SnapshotResult made = snapshot(request, images, commandLine, run.path(), progress);
                workingSets.learn(made.tag(), run.path(), progress);
                return made;
            } finally {
                if (request.keepWork()) {
                    WorkDirectory.keep(run.path(), "forkd-parent-" + request.tag(), progress);
                }
            }
        }
    }

    private SnapshotResult snapshot(
            SnapshotRequest request, List<ManifestDisk> images, String commandLine, Path run, Progress progress) {
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
                socket);

        progress.step("booting " + request.kernel().vmlinux());
        long start = System.nanoTime();
        try (Vm vm = boot(options)) {
            VmStatus ready = awaitReady(vm, request.bootWait(), console);
            long up = System.nanoTime();

            Set<Integer> unmounted = shared
                    ? WrittenVolumes.unmount(
                            new AgentClient(new AgentAddress.Vsock(socket)),
                            request.volumes(),
                            images,
                            writable(images),
                            progress)
                    : Set.of();

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
                                VERSION),
                        Instant.now(),
                        JsonNodeFactory.instance.objectNode());
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
            return Vm.boot(options);
        } catch (VmmException e) {
            throw holders.explain(e, options.disks());
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
                        Kind.FAILED, "the guest did not come up: " + status.reason(), WorkDirectory.lastLines(console));
            }
            if (System.nanoTime() >= deadline) {
                throw new ForkdException(
                        Kind.FAILED,
                        "the guest was not ready after " + limit.toSeconds()
                                + " seconds (--boot-wait-secs allows it more)",
                        WorkDirectory.lastLines(console));
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

    /** Asks the fork server of a snapshot for children; they become ready while the caller looks on. */
    public Fork fork(ForkRequest request, Progress progress) {
        sweep();
        return Fork.start(request, store.read(request.tag()), leases, runtime, cancellation, progress);
    }

    /** Makes sandboxes of a snapshot, all or none. */
    public List<Sandbox> spawn(SpawnRequest request, Progress progress) {
        sweep();
        return new Spawn(runtime, sandboxes, leases, cancellation).run(request, store.read(request.tag()), progress);
    }

    /** Makes a snapshot of a running sandbox, which goes on. */
    public BranchResult branch(BranchRequest request, Progress progress) {
        sweep();
        return branches().branch(request, progress);
    }

    /** Makes a snapshot of what a command changes in a child of another. */
    public BranchResult diff(DiffRequest request, Progress progress) {
        sweep();
        return branches().diff(request, progress);
    }

    private Branches branches() {
        return new Branches(store, runtime, sandboxes, servers, leases, chains, workingSets, cancellation);
    }

    /** Sets right what is left of what has ended, as far as that is possible. */
    public void sweep() {
        ofRuns().forEach(Leftover::tryToRemove);
        ofStore().forEach(Leftover::tryToRemove);
        sandboxes.sweep();
        servers.leftovers().forEach(Leftover::tryToRemove);
    }
}
