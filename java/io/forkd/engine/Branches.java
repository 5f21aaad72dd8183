package io.forkd.engine;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.Limits;
import io.forkd.Remedy;
import io.forkd.agent.AgentAddress;
import io.forkd.agent.AgentClient;
import io.forkd.agent.GuestStreams;
import io.forkd.cgroup.Cgroups;
import io.forkd.engine.Leases.Source;
import io.forkd.files.FileLock;
import io.forkd.files.OwnedDirectory;
import io.forkd.sandbox.Origin;
import io.forkd.sandbox.RuntimeDirectory;
import io.forkd.sandbox.Sandbox;
import io.forkd.snapshot.Manifest;
import io.forkd.snapshot.Manifest.Machine;
import io.forkd.snapshot.Manifest.ManifestDisk;
import io.forkd.snapshot.Manifest.Parent;
import io.forkd.snapshot.Provenance;
import io.forkd.snapshot.Snapshot;
import io.forkd.snapshot.SnapshotStore;
import io.forkd.snapshot.SnapshotTag;
import io.forkd.vmm.Branch;
import io.forkd.vmm.BranchOptions;
import io.forkd.vmm.ForkServer;
import io.forkd.vmm.Vm;
import io.forkd.vmm.Vmm;
import io.forkd.vmm.VmmException;
import java.io.IOException;
import java.nio.file.Path;
import java.security.SecureRandom;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.function.Function;
import tools.jackson.databind.JsonNode;

/** Turns running VMs into snapshots while they go on. */
final class Branches {
    private static final Duration SLICE = Duration.ofMillis(100);

    /** The one that something is done in. */
    private static final String CHILD = "child";

    private static final SecureRandom RANDOM = new SecureRandom();

    private final Vmm vmm;
    private final SnapshotStore store;
    private final RuntimeDirectory runtime;
    private final Sandboxes sandboxes;
    private final Servers servers;
    private final Leases leases;
    private final Chains chains;
    private final WorkingSets workingSets;
    private final Cgroups cgroups;
    private final ChildNetworks networks;

    Branches(
            Vmm vmm,
            SnapshotStore store,
            RuntimeDirectory runtime,
            Sandboxes sandboxes,
            Servers servers,
            Leases leases,
            Chains chains,
            WorkingSets workingSets,
            Cgroups cgroups,
            ChildNetworks networks) {
        this.vmm = vmm;
        this.store = store;
        this.runtime = runtime;
        this.sandboxes = sandboxes;
        this.servers = servers;
        this.leases = leases;
        this.chains = chains;
        this.workingSets = workingSets;
        this.cgroups = cgroups;
        this.networks = networks;
    }

    BranchResult branch(BranchRequest request, Call call) {
        Sandbox sandbox = sandboxes.find(request.sandbox());
        SnapshotTag tag = request.tag().orElseGet(() -> defaultTag(sandbox.id()));
        if (!request.replace()) {
            store.requireFree(tag);
        }
        Manifest forked = Manifest.read(Sandbox.manifest(sandbox.directory()));
        Manifest source = forked.withMachine(forked.machine().withLimits(sandbox.limits()))
                .withNetwork(sandbox.network())
                .with(request.fields());
        Optional<Under> parent = request.layer() ? Optional.of(under(tag, base(sandbox), call)) : Optional.empty();
        try (Vm vm = vmm.attach(sandbox.control());
                Made made = withoutVolumes(
                        sandbox,
                        source,
                        volumes -> make(
                                new Living(vm, sandbox.cgroup()),
                                tag,
                                Optional.of(sandbox.id()),
                                source,
                                volumes,
                                parent,
                                sandbox.base(),
                                request.replace(),
                                request.written() != BranchRequest.Written.NEVER,
                                call),
                        call)) {
            if (request.counted()) {
                count(sandbox, made, call);
            }
            Provenance.ofBranch(
                            sandbox.id(),
                            made.branch().pause(),
                            made.branch().way().text())
                    .note(made.directory());
            if (request.untilWritten()) {
                await(made, call);
            }
            return result(
                    tag,
                    made,
                    parent,
                    sandbox.volumes().isEmpty() ? Optional.empty() : Optional.of(made.away()),
                    request.untilWritten());
        }
    }

    /** It is there, whatever becomes of its source's count. */
    private void count(Sandbox sandbox, Made made, Call call) {
        try {
            sandboxes.countBranch(sandbox, made.directory());
        } catch (ForkdException e) {
            call.warn("the branch " + made.snapshot().tag() + " is not counted among those of " + sandbox.id() + ": "
                    + e.sentence());
        }
    }

    /** What a guest writes through to, which it has to be without at the instant of a branch. */
    private interface Volumes {
        /** Their images. */
        List<Path> images();

        /** Has the guest unmount them; returns the numbers of the disks that are not mounted any more. */
        Set<Integer> unmount();

        void mount();
    }

    /**
     * Makes a branch of a guest that has unmounted what it writes through to, so that each child mounts it anew, with
     * what was written since. The guest has it back whatever comes of the branch.
     */
    private static Made withoutVolumes(Sandbox sandbox, Manifest source, Function<Volumes, Made> branch, Call call) {
        if (sandbox.volumes().isEmpty()) {
            return branch.apply(gone(List.of(), Set.of()));
        }
        SandboxVolumes volumes = new SandboxVolumes(sandbox);
        try (FileLock alone = volumes.lock(call)) {
            return branch.apply(new Volumes() {
                @Override
                public List<Path> images() {
                    return sandbox.volumes();
                }

                @Override
                public Set<Integer> unmount() {
                    return volumes.takeAway(() -> WrittenVolumes.unmount(
                            volumes.agent(), source.volumes(), source.disks(), sandbox.volumes(), call));
                }

                @Override
                public void mount() {
                    try {
                        volumes.giveBack();
                    } catch (ForkdException e) {
                        throw new ForkdException(
                                Kind.FAILED,
                                "the volumes of " + sandbox.id() + " are not mounted any more: " + e.sentence(),
                                new Remedy.MountAgain(sandbox.id()));
                    }
                }
            });
        } catch (IOException e) {
            throw ForkdException.of("lock the volumes of " + sandbox.id(), e);
        }
    }

    /** Those of a guest that goes on without them. */
    private static Volumes gone(List<Path> images, Set<Integer> unmounted) {
        return new Volumes() {
            @Override
            public List<Path> images() {
                return images;
            }

            @Override
            public Set<Integer> unmount() {
                return unmounted;
            }

            @Override
            public void mount() {}
        };
    }

    BranchResult diff(DiffRequest request, Call call) {
        if (!request.replace()) {
            store.requireFree(request.tag());
        }
        Snapshot from = store.open(request.from());
        Under parent = under(request.tag(), from, call);
        return ofChild(
                from,
                request.tag(),
                Optional.of(parent),
                request.replace(),
                NetworkRequest.OF_HOST,
                socket -> {
                    call.step("running " + String.join(" ", request.command()));
                    run(request, new AgentClient(new AgentAddress.Vsock(socket)), call);
                    return Map.of();
                },
                call);
    }

    /** Makes a snapshot that needs nothing of the one that it is made from. When that is being written it is not cancelled any more. */
    BranchResult build(BuildRequest request, Snapshot from, Call call) {
        return ofChild(
                from,
                request.tag(),
                Optional.empty(),
                true,
                request.network(),
                socket -> call.interruptibly(() -> request.preparation().prepare(new GuestStreams(socket))),
                call);
    }

    /** What is done in a child before it is written down; returns what its manifest is to say beside. */
    private interface Change {
        Map<String, JsonNode> make(Path socket);
    }

    private BranchResult ofChild(
            Snapshot from,
            SnapshotTag tag,
            Optional<Under> parent,
            boolean replace,
            NetworkRequest wanted,
            Change change,
            Call call) {
        Machine machine = from.manifest().machine();
        NetworkRequest network = machine.tap().isPresent() ? wanted.of(from, call.owner()) : NetworkRequest.OF_HOST;
        try (OwnedDirectory run = runtime.open("fork");
                Release release = () -> networks.release(run.path());
                Groups groups = Groups.of(cgroups, machine.limits(), machine.vcpus());
                Source source = leases.lease(from, 1, false, true, groups, VolumeConflict.FAIL, call);
                Children children = new Children(vmm, call)) {
            Optional<Path> cgroup =
                    groups.make(Cgroups.name(String.valueOf(run.path().getFileName()), CHILD));
            Path socket = RuntimeDirectory.socket(run.path(), CHILD);
            Path console = run.path().resolve("console.log");
            children.fork(
                    source.lease().server(),
                    new Place(
                            CHILD,
                            socket,
                            Optional.empty(),
                            Optional.of(console),
                            networks.numbered(network, run.path(), 1).get(0),
                            machine.limits(),
                            cgroup,
                            Optional.empty()),
                    networks.tap(from, network, 1, call),
                    source::check);
            children.awaitReady(child -> {}, Fork::failAll);
            Map<String, JsonNode> fields;
            try {
                fields = change.make(socket);
            } catch (ForkdException e) {
                throw ended(children, console).orElse(e);
            }
            Set<Integer> unmounted = WrittenVolumes.unmount(
                    new AgentClient(new AgentAddress.Vsock(socket)),
                    from.manifest().volumes(),
                    from.manifest().disks(),
                    source.written(),
                    call);
            try (Made made = make(
                    new Living(children.first(), cgroup),
                    tag,
                    Optional.empty(),
                    from.manifest().ownedBy(call.owner()).with(fields),
                    gone(source.written(), unmounted),
                    parent,
                    Servers.origin(from),
                    replace,
                    true,
                    call)) {
                await(made, parent.isPresent() ? call : new Call(call, Optional.empty()));
                return result(tag, made, parent, Optional.empty(), true);
            }
        }
    }

    private interface Release extends AutoCloseable {
        @Override
        void close();
    }

    /** Why what is done in a child has failed, when that has ended: its end is known a little later than that of its connections. */
    private static Optional<ForkdException> ended(Children children, Path console) {
        return children.first()
                .awaitEnd(Duration.ofSeconds(1))
                .map(status -> new ForkdException(
                        Kind.FAILED,
                        "the child ended before the command did: "
                                + children.whyKilled().orElseGet(status::reason),
                        WorkDirectory.lastLines(console)));
    }

    private static void run(DiffRequest request, AgentClient agent, Call call) {
        int code = call.interruptibly(() -> agent.exec(request.command(), request.timeout(), request.output()));
        if (code != 0) {
            throw new ForkdException(
                    Kind.FAILED, "the command ended with the exit code " + code + "; no snapshot was made");
        }
    }

    /** The snapshot whose files the sandbox's memory is mapped from, if it is still that one. */
    private Snapshot base(Sandbox sandbox) {
        Origin base = sandbox.base();
        if (base.tag().equals(sandbox.id())) {
            throw new ForkdException(
                    Kind.CONFLICT,
                    "the sandbox '" + sandbox.id() + "' was paused, and since then it differs from no snapshot",
                    Remedy.Action.BRANCH_WHOLE);
        }
        SnapshotTag tag = new SnapshotTag(base.tag());
        Optional<Snapshot> found = found(tag);
        return found.filter(snapshot -> Servers.origin(snapshot).equals(base))
                .orElseThrow(() -> new ForkdException(
                        Kind.CONFLICT,
                        "the snapshot '" + tag + "', which " + sandbox.id() + " differs from, was "
                                + (found.isPresent() ? "replaced" : "removed"),
                        Remedy.Action.BRANCH_WHOLE));
    }

    private Optional<Snapshot> found(SnapshotTag tag) {
        try {
            return Optional.of(store.open(tag));
        } catch (ForkdException e) {
            if (e.kind() == Kind.NOT_FOUND) {
                return Optional.empty();
            }
            throw e;
        }
    }

    /** What a layer lies on. */
    private record Under(Snapshot snapshot, Parent parent) {}

    private Under under(SnapshotTag tag, Snapshot parent, Call call) {
        Chains.requireDepth(tag, chains.resolve(parent, call).size());
        return new Under(parent, new Parent(parent.tag(), chains.contentHash(parent, call)));
    }

    /**
     * A branch under way; closing it leaves the twin to itself.
     *
     * @param away how long the source was without its volumes
     */
    private record Made(Snapshot snapshot, Branch branch, Duration away) implements AutoCloseable {
        Path directory() {
            return snapshot.directory();
        }

        @Override
        public void close() {
            branch.server().close();
        }
    }

    /** What is branched, and the cgroup that it is in. */
    private record Living(Vm vm, Optional<Path> cgroup) {}

    /** In a group of its own, with the same limits: it is neither ended with its source nor its source with it. */
    private Branch branch(Living source, Limits limits, BranchOptions options, Path control) {
        if (source.cgroup().isEmpty()) {
            return source.vm().branch(options);
        }
        String owner = String.valueOf(control.resolveSibling("").getFileName());
        Path cgroup = source.cgroup().get();
        try (Groups groups = Groups.ofBranch(cgroups, limits)) {
            Optional<Path> own = groups.make(Cgroups.name(owner, String.valueOf(cgroup.getFileName())));
            Cgroups.allowBranches(cgroup, limits);
            Branch made = source.vm()
                    .branch(new BranchOptions(
                            options.directory(), options.control(), options.written(), options.layer(), own));
            groups.release();
            return made;
        }
    }

    private Made make(
            Living living,
            SnapshotTag tag,
            Optional<String> from,
            Manifest source,
            Volumes volumes,
            Optional<Under> parent,
            Origin base,
            boolean replace,
            boolean onDisk,
            Call call) {
        Path directory = store.directory(tag);
        Set<Integer> written = WrittenVolumes.numbers(source.volumes(), source.disks(), volumes.images());
        Manifest manifest = new Manifest(
                directory.resolve(Snapshot.VMSTATE),
                directory.resolve(parent.isPresent() ? Snapshot.MEMORY_LAYER : Snapshot.MEMORY),
                source.memoryBytes(),
                source.volumes(),
                source.rootfs(),
                parent.map(Under::parent),
                disks(source, written),
                source.machine(),
                source.network(),
                Instant.now(),
                source.rest());
        Snapshot snapshot = new Snapshot(tag, directory, manifest);
        try (OwnedDirectory staged = store.stage(tag)) {
            byte[] known = workingSets.of(base); // before its place is taken: it may be what this replaces
            // Before it has its name: whoever dies from then on has told whose it is.
            from.ifPresent(id -> new Provenance(id, Optional.empty()).note(staged.path()));
            store.register(staged, tag, manifest, replace, parent.map(Under::snapshot));
            WorkingSets.put(known, directory);
            // What has to be on the disk is: the guest is without its volumes for as short as it can be.
            long start = System.nanoTime();
            Branch branch;
            try {
                Set<Integer> unmounted = volumes.unmount();
                if (!unmounted.equals(written)) {
                    store.rewrite(tag, manifest.withDisks(disks(source, unmounted)));
                }
                branch = servers.branch(
                        snapshot,
                        base,
                        control -> branch(
                                living,
                                source.machine().limits(),
                                new BranchOptions(
                                        directory, Optional.of(control), onDisk, parent.isPresent(), Optional.empty()),
                                control),
                        call);
            } catch (RuntimeException e) {
                try {
                    volumes.mount();
                } catch (ForkdException second) {
                    call.warn(second.sentence());
                }
                requireStillThere(snapshot, () -> store.unregister(staged, snapshot));
                throw e;
            }
            staged.release();
            try {
                volumes.mount();
            } catch (ForkdException e) {
                branch.server().close();
                throw new ForkdException(e.kind(), "the branch was made, but " + e.sentence(), e.remedy());
            }
            return new Made(snapshot, branch, Duration.ofNanos(System.nanoTime() - start));
        }
    }

    /** What will be written of them is not known yet. */
    static List<ManifestDisk> disks(Manifest source, Set<Integer> unmounted) {
        List<ManifestDisk> disks = new ArrayList<>();
        for (ManifestDisk disk : source.disks()) {
            disks.add(new ManifestDisk(
                    disk.image(),
                    disk.readOnly(),
                    disk.bytes(),
                    WrittenVolumes.modified(disk, disks.size(), unmounted),
                    Optional.empty()));
        }
        return disks;
    }

    private void await(Made made, Call call) {
        call.step("writing " + made.directory());
        ForkServer server = made.branch().server();
        try {
            while (!server.awaitWritten(SLICE)) {
                call.check();
            }
        } catch (VmmException e) {
            store.requireUnchanged(made.snapshot()); // Who removes it ends who writes it.
            throw e;
        } finally {
            store.sweep(); // What it replaced can go, or has to come back.
        }
    }

    /** Before it is taken back: a branch that somebody has removed fails for that, however it fails. */
    private void requireStillThere(Snapshot snapshot, Runnable takeBack) {
        try {
            store.requireUnchanged(snapshot);
        } finally {
            takeBack.run();
        }
    }

    private static BranchResult result(
            SnapshotTag tag, Made made, Optional<Under> parent, Optional<Duration> away, boolean written) {
        return new BranchResult(
                tag,
                made.directory(),
                parent.map(under -> under.parent().tag()),
                made.branch().pause(),
                made.branch().way().text(),
                away,
                written);
    }

    private static SnapshotTag defaultTag(String id) {
        byte[] random = new byte[2];
        RANDOM.nextBytes(random);
        return new SnapshotTag("branch-" + id + "-" + Instant.now().getEpochSecond() + "-"
                + HexFormat.of().formatHex(random));
    }
}
