package io.forkd.engine;

import io.forkd.ForkdException;
import io.forkd.cgroup.Cgroups;
import io.forkd.engine.ImageRequest.ParentNetwork;
import io.forkd.files.FileLock;
import io.forkd.image.Work;
import io.forkd.network.Networks;
import io.forkd.rootfs.Rootfs;
import io.forkd.rootfs.RootfsCache;
import io.forkd.sandbox.Found;
import io.forkd.sandbox.Lifetime;
import io.forkd.sandbox.Naming;
import io.forkd.sandbox.RuntimeDirectory;
import io.forkd.sandbox.Sandbox;
import io.forkd.snapshot.DataDirectory;
import io.forkd.snapshot.Manifest;
import io.forkd.snapshot.Snapshot;
import io.forkd.snapshot.SnapshotStore;
import io.forkd.snapshot.SnapshotTag;
import io.forkd.vmm.NativeFiles;
import io.forkd.vmm.NativeVmm;
import io.forkd.vmm.Vm;
import io.forkd.vmm.Vmm;
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
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.Future;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.ScheduledThreadPoolExecutor;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.Supplier;

/**
 * The jobs that forkd does, for whoever asks. Safe for use by several threads, and beside other processes on the same
 * folders.
 */
public final class Engine {
    /** The version of forkd, as recorded in what it writes. */
    public static final String VERSION = Optional.ofNullable(
                    Engine.class.getPackage().getImplementationVersion())
            .orElse("development");

    /** How often a process that has many operations looks for what is left of others. */
    private static final Duration SWEEP = Duration.ofMinutes(5);

    /** How late the end of a sandbox's time is noticed by a service. */
    private static final Duration TICK = Duration.ofMillis(500);

    /** How long a service keeps a channel to a fork server that nobody uses. */
    private static final Duration CHANNELS_KEPT = Duration.ofSeconds(5);

    /** How often is looked for what moves meanwhile. */
    private static final int LOOKS = 10;

    /** Where the private disks of VMs are, as forkd.h has it. */
    private static final Path SCRATCH = Path.of("/var/tmp");

    private final Vmm vmm;
    private final Map<String, String> environment;
    private final Path dataDirectory;
    private final SnapshotStore store;
    private final RuntimeDirectory runtime;
    private final Servers servers;
    private final PausedSandboxes paused;
    private final SnapshotStore forks;
    private final Drafts drafts;
    private final Sandboxes sandboxes;
    private final Chains chains;
    private final Holders holders;
    private final WorkingSets workingSets;
    private final Leases leases;
    private final Networks networks;
    private final Cgroups cgroups;
    private final Pools pools;
    private final AtomicLong swept = new AtomicLong(Long.MIN_VALUE);
    private volatile Optional<ScheduledExecutorService> following = Optional.empty();

    public Engine(Vmm vmm, Map<String, String> environment) {
        this(vmm, environment, new Networks(environment, vmm::networkHelper));
    }

    Engine(Vmm vmm, Map<String, String> environment, Networks networks) {
        this.vmm = vmm;
        this.environment = Map.copyOf(environment);
        this.networks = networks;
        this.dataDirectory = DataDirectory.of(environment);
        this.runtime = RuntimeDirectory.of(environment);
        this.cgroups = new Cgroups(runtime.groupName(), List.of(SCRATCH, dataDirectory));
        this.servers = new Servers(vmm, runtime, environment);
        this.store = new SnapshotStore(DataDirectory.snapshots(environment), servers);
        this.forks = new SnapshotStore(dataDirectory.resolve("forks"), servers);
        this.drafts = new Drafts(new SnapshotStore(dataDirectory.resolve("drafts"), servers));
        this.paused = new PausedSandboxes(dataDirectory.resolve("paused"), runtime);
        this.sandboxes = new Sandboxes(vmm, runtime, networks, cgroups, paused);
        this.chains = new Chains(vmm, store);
        this.holders = new Holders(sandboxes, servers, store);
        this.leases = new Leases(servers, new Launches(store, chains), holders);
        this.workingSets = new WorkingSets(vmm, store, cgroups);
        this.pools = new Pools(dataDirectory.resolve("pools"), this, sandboxes, paused, store, resets());
    }

    /** The engine on libforkd. */
    public static Engine of(Map<String, String> environment) {
        return new Engine(new NativeVmm(), environment);
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
        return new Snapshots(vmm, store, chains, servers, sandboxes);
    }

    /** Snapshots in files. */
    public Packs packs() {
        return new Packs(vmm, store, chains, sandboxes.events());
    }

    /** Networks of children, as an administrator sees them. */
    public Networks networks() {
        return networks;
    }

    /** Sandboxes that are kept ready. */
    public Pools pools() {
        return pools;
    }

    private Resets resets() {
        return new Resets(vmm, sandboxes, paused);
    }

    /** What happens to sandboxes and snapshots, by this engine, or seen by it. */
    public Events events() {
        return sandboxes.events();
    }

    /** Tells {@link #events} of it: for who has made or fetched one by other means than this engine's. */
    public void snapshotMade(SnapshotTag tag) {
        sandboxes.events().happened(Events.Kind.SNAPSHOT_MADE, tag.value(), Snapshots.owner(store, tag), "");
    }

    /** What the kernel keeps VMs to. */
    public Cgroups cgroups() {
        return cgroups;
    }

    /** The fork servers that run on their own. */
    public List<ServerInfo> servers() {
        return servers.list();
    }

    /** What is left of what has ended, and what lives and has lost what tells of it. */
    public List<Leftover> leftovers() {
        List<Leftover> found = new ArrayList<>(sandboxes.ofRuns());
        found.addAll(sandboxes.leftovers());
        found.addAll(sandboxes.damaged());
        found.addAll(servers.leftovers());
        found.addAll(ofStore());
        return found;
    }

    private List<Leftover> ofStore() {
        return store.leftovers().stream()
                .map(left -> new Leftover(left, "", () -> store.setRight(left)))
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

    /** The program that hands out files which are still being fetched, unpacked from the jar. */
    public Path pagerBinary() {
        return NativeFiles.installed().pager();
    }

    /** Has a snapshot be there before its files are. */
    public Arriving arriving(Arriving.Source source, boolean replace, Call call) {
        return Arriving.begin(store, servers, source, replace, call);
    }

    /** The disk images that snapshots and sandboxes of this user need. One that cannot be read stops this. */
    public Set<Path> diskImagesInUse() {
        Set<Path> used = new HashSet<>(store.diskImages());
        used.addAll(drafts.diskImages());
        for (int attempt = 1; ; attempt++) {
            try {
                used.addAll(diskImagesOfSandboxes());
                return used;
            } catch (ForkdException e) {
                if (e.kind() != ForkdException.Kind.NOT_FOUND || attempt == LOOKS) {
                    throw e;
                }
                // One has ended in this moment, or is elsewhere now, as it was paused or resumed.
            }
        }
    }

    private Set<Path> diskImagesOfSandboxes() {
        Set<Path> used = new HashSet<>();
        for (Found found : sandboxes.list()) {
            Path manifest = Sandbox.manifest(found.directory());
            if (Files.exists(manifest) || !Files.exists(found.directory())) {
                Manifest.read(manifest).disks().forEach(disk -> used.add(disk.image()));
            }
        }
        return used;
    }

    /** Boots a parent, waits until its guest is ready, and writes it down. The parent ends. */
    public SnapshotResult snapshot(SnapshotRequest request, Call call) {
        sweepNowAndThen();
        SnapshotResult made = parents(store).snapshot(request, call);
        snapshotMade(request.tag());
        return made;
    }

    private Parents parents(SnapshotStore of) {
        return new Parents(vmm, of, runtime, holders, new WorkingSets(vmm, of, cgroups), cgroups);
    }

    /** Pulls a container image and makes a disk of it, unless that is there; boots that, and writes it down. */
    public ImageSnapshot snapshot(ImageRequest request, Work work, Call call) {
        if (!request.parent().replace()) {
            store.requireFree(request.parent().tag()); // Before a pull, which takes long.
        }
        sweepNowAndThen();
        ImageSnapshot made = snapshot(request, store, work, call);
        snapshotMade(request.parent().tag());
        return made;
    }

    private ImageSnapshot snapshot(ImageRequest request, SnapshotStore to, Work work, Call call) {
        // In use until the snapshot says that it needs the disk.
        Optional<RootfsCache.Bound> bound =
                request.most().map(bytes -> new RootfsCache.Bound(bytes, this::diskImagesInUse));
        try (RootfsCache cache = images(request.cache(), request.environment(), work, bound)) {
            long start = System.nanoTime();
            Rootfs rootfs = cache.get(request.image());
            Duration build = Duration.ofNanos(System.nanoTime() - start);
            work.say(
                    rootfs.cached()
                            ? "Rootfs: cached, " + rootfs.file()
                            : "Rootfs: built in " + build.toMillis() + " ms, " + (rootfs.usedBytes() >> 20) + " MiB, "
                                    + rootfs.file());
            try (Tap tap = tap(request, work, call)) {
                work.begin("Booting the guest and writing the snapshot", 0);
                return new ImageSnapshot(
                        rootfs, build, parents(to).snapshot(request.parent().on(rootfs.file(), tap.name()), call));
            }
        }
    }

    /** A tap device, and what keeps others waiting for it. */
    private record Tap(Optional<String> name, Optional<FileLock> held) implements AutoCloseable {
        @Override
        public void close() {
            held.ifPresent(FileLock::close);
        }
    }

    /** The usual one serves one VM, and has to be had: a guest that is booted without never gets a network. */
    private Tap tap(ImageRequest request, Work work, Call call) {
        if (request.parent().tap().isPresent()) {
            return new Tap(request.parent().tap(), Optional.empty());
        }
        FileLock held;
        Path lock = drafts.store().root().resolve(".tap");
        try {
            Files.createDirectories(drafts.store().root());
            held = FileLock.exclusive(lock, "the tap device " + Networks.TAP, call);
        } catch (IOException e) {
            throw ForkdException.of("lock " + lock, e);
        }
        Optional<String> found = tap(request, work);
        if (found.isEmpty()) {
            held.close();
        }
        return new Tap(found, found.map(name -> held));
    }

    private Optional<String> tap(ImageRequest request, Work work) {
        try {
            networks.requireTap();
            if (request.network() == ParentNetwork.OWN) {
                networks.requireOwnTap();
            }
            return Optional.of(Networks.TAP);
        } catch (ForkdException e) {
            work.say("The guest gets no network, which would be on " + Networks.TAP + ": " + e.sentence());
            return Optional.empty();
        }
    }

    public Map<String, String> environment() {
        return environment;
    }

    /** Where disk images that were made of container images are, if nobody says otherwise. */
    public Path imageCache() {
        return Optional.ofNullable(environment.get("FORKD_RUN_CACHE"))
                .filter(given -> !given.isEmpty())
                .map(Path::of)
                .orElseGet(() -> RootfsCache.defaultDirectory(environment));
    }

    /**
     * Disk images that are kept in a folder.
     *
     * @param registries says where credentials of registries and proxies are
     */
    public RootfsCache images(Path directory, Map<String, String> registries, Work work) {
        return images(directory, registries, work, Optional.empty());
    }

    private static RootfsCache images(
            Path directory, Map<String, String> registries, Work work, Optional<RootfsCache.Bound> bound) {
        NativeFiles files = NativeFiles.installed();
        return new RootfsCache(directory, files.mkfs(), files.mktree(), files.guest(), registries, work, bound);
    }

    /** Asks the fork server of a snapshot for children; they become ready while the caller looks on. */
    public Fork fork(ForkRequest request, Call call) {
        sweepNowAndThen();
        return Fork.start(
                request, store.read(request.tag()), leases, runtime, new ChildNetworks(networks), cgroups, vmm, call);
    }

    /** Makes sandboxes of a snapshot, all or none. */
    public List<Sandbox> spawn(SpawnRequest request, Call call) {
        return spawn(request, store.read(request.tag(), call.owner()), call);
    }

    /** The same for who has read the snapshot, as one that the caller may use. */
    public List<Sandbox> spawn(SpawnRequest request, Snapshot snapshot, Call call) {
        sweepNowAndThen();
        List<Sandbox> made = store.with(List.of(snapshot), () -> spawner().run(request, snapshot, call));
        Optional<String> owner = snapshot.manifest().ownedBy(call.owner()).owner();
        made.forEach(sandbox -> events().happened(
                        Events.Kind.CREATED, sandbox.id(), owner, snapshot.tag().value()));
        if (made.stream().anyMatch(sandbox -> sandbox.network().isPresent())) {
            // So that the next one finds them ready.
            following.ifPresent(sweeper -> sweeper.execute(this::tryFillNetworks));
        }
        return made;
    }

    private Spawn spawner() {
        return new Spawn(vmm, runtime, sandboxes, leases, new ChildNetworks(networks), cgroups);
    }

    /**
     * Pauses a sandbox: it stands still, is written down where it outlasts this machine's next start, and has no process
     * any more. Returns when all that is on the disk.
     */
    public Found pause(String id, Call call) {
        sweepNowAndThen();
        return pauses().pause(id, call);
    }

    /** Lets a sandbox that is paused go on, as what it was; one that runs is left as it is. */
    public Sandbox resume(String id, Call call) {
        sweepNowAndThen();
        return pauses().resume(id, call);
    }

    /**
     * Puts a sandbox back to the snapshot that it was forked from: the same id, process, sockets, network, limits, time and
     * names, and of what its guest did nothing. What is open to its guest ends.
     *
     * @throws ForkdException when it cannot be, and then it is as it was; or it has ended
     */
    public Sandbox reset(String id, Call call) {
        sweepNowAndThen();
        try (Use used = use(id, call)) {
            Sandbox reset = resets().reset(id, call);
            events().happened(
                            Events.Kind.RESET,
                            id,
                            Sandboxes.owner(used.sandbox().directory()),
                            reset.snapshot().tag());
            return reset;
        }
    }

    /**
     * Has a sandbox be used: one that is paused is resumed, if that was wanted of it. Until this is closed it is not idle.
     *
     * @throws ForkdException when it is not there, or does not answer, or is paused and stays so
     */
    public Use use(String id, Call call) {
        return use(sandboxes.findAny(id), call);
    }

    /** The same of one that was looked at a moment ago, and is not looked at again when it has no end. */
    public Use use(Found looked, Call call) {
        Lifetimes.Use used = lifetimes().use(looked, call);
        return new Use(used.sandbox(), used::close);
    }

    /** A sandbox that is used until this is closed. */
    public record Use(Sandbox sandbox, Runnable end) implements AutoCloseable {
        @Override
        public void close() {
            end.run();
        }
    }

    /** Has its time begin anew, and be another. */
    public Sandbox setLifetime(String id, Lifetime lifetime) {
        List<Lifetime> before = new ArrayList<>();
        Sandbox changed = sandboxes.change(id, sandbox -> {
            before.add(sandbox.lifetime());
            return sandbox.withLifetime(lifetime.begun(Instant.now()));
        });
        if (!before.get(0).freeze().equals(lifetime.freeze())) {
            sandboxes.runs(id).ifPresent(sandbox -> freeze(sandbox, lifetime));
        }
        return changed;
    }

    /** Has its guest be frozen, or not, as that says. */
    void freeze(Sandbox sandbox, Lifetime lifetime) {
        try (Vm vm = vmm.attach(sandbox.control())) {
            vm.freeze(lifetime.freeze());
        } catch (VmmException e) {
            if (sandboxes.isThere(sandbox)) {
                throw e;
            }
            // It has been paused, and has it when it is resumed; or ended.
        }
    }

    /** Has a sandbox be called otherwise. */
    public Sandbox rename(String id, Optional<String> name) {
        Optional<String> owner = Sandboxes.owner(sandboxes.findAny(id).directory());
        List<Sandbox> before = new ArrayList<>();
        Naming wanted = Naming.NONE.named(name);
        Supplier<Sandbox> change = () -> sandboxes.change(id, sandbox -> {
            before.add(sandbox);
            return sandbox.withNaming(sandbox.naming().named(wanted.name()));
        });
        Sandbox renamed = name.isPresent() ? sandboxes.names().take(owner, name.get(), id, change) : change.get();
        before.stream()
                .flatMap(sandbox -> sandbox.naming().name().stream())
                .filter(old -> !name.equals(Optional.of(old)))
                .forEach(old -> sandboxes.names().release(owner, old, id));
        return renamed;
    }

    /** Gives a sandbox labels; those without a value it has no more. The others stay. */
    public Sandbox label(String id, Map<String, Optional<String>> changes) {
        return sandboxes.change(id, sandbox -> {
            Map<String, String> labels = new TreeMap<>(sandbox.naming().labels());
            changes.forEach(
                    (key, value) -> value.ifPresentOrElse(text -> labels.put(key, text), () -> labels.remove(key)));
            return sandbox.withNaming(sandbox.naming().labelled(labels));
        });
    }

    private Lifetimes lifetimes() {
        return new Lifetimes(sandboxes, pauses());
    }

    private Pauses pauses() {
        SnapshotStore asleep = paused.store();
        return new Pauses(
                vmm,
                sandboxes,
                paused,
                workingSets,
                new Leases(servers, new Launches(asleep, new Chains(vmm, asleep)), holders),
                spawner());
    }

    /** Makes a snapshot of a running sandbox, which goes on. */
    public BranchResult branch(BranchRequest request, Call call) {
        sweepNowAndThen();
        try (Use used = use(request.sandbox(), call)) {
            BranchResult made = branches().branch(request, call);
            events().happened(
                            Events.Kind.BRANCHED,
                            request.sandbox(),
                            Sandboxes.owner(used.sandbox().directory()),
                            made.tag().value());
            snapshotMade(made.tag());
            return made;
        }
    }

    /** Makes a snapshot of what a command changes in a child of another. */
    public BranchResult diff(DiffRequest request, Call call) {
        sweepNowAndThen();
        BranchResult made = branches().diff(request, call);
        snapshotMade(made.tag());
        return made;
    }

    private Branches branches() {
        return branches(leases, workingSets);
    }

    private Branches branches(Leases of, WorkingSets known) {
        return new Branches(
                vmm, store, runtime, sandboxes, servers, of, chains, known, cgroups, new ChildNetworks(networks));
    }

    /** Makes a snapshot of what is done in a child of another. */
    public BranchResult build(BuildRequest request, Snapshot from, Call call) {
        sweepNowAndThen();
        return built(store.with(List.of(from), () -> branches().build(request, from, call)));
    }

    /** The same of a child of a container image's; what that has as its tag is not looked at. */
    public BranchResult build(BuildRequest request, ImageRequest image, Work work, Call call) {
        sweepNowAndThen();
        SnapshotStore of = drafts.store();
        SnapshotTag draft = drafts.next();
        try {
            snapshot(image.as(draft), of, work, call);
            Leases fromDrafts = new Leases(servers, new Launches(of, new Chains(vmm, of)), holders);
            return built(branches(fromDrafts, new WorkingSets(vmm, of, cgroups)).build(request, of.open(draft), call));
        } finally {
            drafts.remove(draft);
        }
    }

    private BranchResult built(BranchResult made) {
        snapshotMade(made.tag());
        return made;
    }

    /**
     * Makes sandboxes of one that runs, as it is now, all or none; it goes on.
     *
     * @param like how many, and what they are to be like; of its tag and its limits nothing
     */
    public List<Sandbox> fork(String id, SpawnRequest like, Call call) {
        List<Sandbox> made = fork(id, like, (count, make) -> make.apply(count), call);
        made.forEach(this::forked);
        return made;
    }

    /**
     * The same, but as many as can be made.
     *
     * @throws ForkdException when none can be
     */
    public List<Attempt<Sandbox>> forkEach(String id, SpawnRequest like, Call call) {
        List<Attempt<Sandbox>> attempts = fork(id, like, Attempt::each, call);
        attempts.forEach(attempt -> {
            if (attempt instanceof Attempt.Made<Sandbox> made) {
                forked(made.it());
            }
        });
        return attempts;
    }

    private <T> T fork(String id, SpawnRequest like, LiveForks.Making<T> making, Call call) {
        sweepNowAndThen();
        try (Use used = use(id, call)) {
            return liveForks().fork(used.sandbox(), like, making, call);
        }
    }

    private void forked(Sandbox sandbox) {
        events().happened(
                        Events.Kind.CREATED,
                        sandbox.id(),
                        Sandboxes.owner(sandbox.directory()),
                        sandbox.snapshot().tag());
    }

    private LiveForks liveForks() {
        Chains ofForks = new Chains(vmm, forks);
        Leases fromForks = new Leases(servers, new Launches(forks, ofForks), holders);
        return new LiveForks(
                forks,
                new Branches(
                        vmm,
                        forks,
                        runtime,
                        sandboxes,
                        servers,
                        fromForks,
                        ofForks,
                        workingSets,
                        cgroups,
                        new ChildNetworks(networks)),
                fromForks,
                spawner());
    }

    /**
     * What a service does at its start: sets right what is left of what has ended, and from then on knows the sandboxes
     * that live, until this is closed.
     */
    public AutoCloseable follow() {
        return follow(CHANNELS_KEPT);
    }

    /** @param kept how long a channel to a fork server is that nobody uses */
    AutoCloseable follow(Duration kept) {
        AutoCloseable known = sandboxes.follow();
        Channels channels = servers.keepChannels(kept);
        Deadlines deadlines = new Deadlines(lifetimes(), sandboxes);
        sandboxes.watchTimes(Optional.of(deadlines));
        sweepLeft();
        ScheduledExecutorService sweeper = new ScheduledThreadPoolExecutor(
                1,
                task -> {
                    Thread thread = new Thread(task, "sweeper");
                    thread.setDaemon(true);
                    return thread;
                },
                new ThreadPoolExecutor.DiscardPolicy());
        // Neither throws, which would end it.
        Future<?> unusedEnd = sweeper.scheduleWithFixedDelay(
                channels::closeUnused, kept.toMillis() / 5, kept.toMillis() / 5, TimeUnit.MILLISECONDS);
        Future<?> unusedSweep =
                sweeper.scheduleWithFixedDelay(this::trySweep, SWEEP.toSeconds(), SWEEP.toSeconds(), TimeUnit.SECONDS);
        Future<?> unusedTick = sweeper.scheduleWithFixedDelay(
                () -> tryTick(deadlines), TICK.toMillis(), TICK.toMillis(), TimeUnit.MILLISECONDS);
        following = Optional.of(sweeper);
        sweeper.execute(this::tryFillNetworks);
        return () -> {
            following = Optional.empty();
            sweeper.shutdownNow();
            sandboxes.watchTimes(Optional.empty());
            deadlines.close();
            channels.close();
            known.close();
        };
    }

    private void tryTick(Deadlines deadlines) {
        try {
            sandboxes.noteTimes(deadlines);
            deadlines.tick();
        } catch (ForkdException e) {
            // The next one may be able to.
        }
    }

    private void tryFillNetworks() {
        try {
            networks.fill();
        } catch (ForkdException e) {
            // Whoever needs one makes it, and is told why not.
        }
    }

    private void trySweep() {
        try {
            sweepLeft();
        } catch (ForkdException e) {
            // The next one may be able to.
        }
    }

    /**
     * As {@link #sweep}, for operations: it looks at all that there is, which each of many need not do, and none of a
     * service's.
     */
    private void sweepNowAndThen() {
        if (following.isPresent()) {
            return;
        }
        long now = System.nanoTime();
        long last = swept.get();
        if (last == Long.MIN_VALUE || now - last > SWEEP.toNanos()) {
            sweep();
        }
    }

    /** Sets right what is left of what has ended, as far as that is possible, and ends those whose time is over. */
    public void sweep() {
        sweepLeft();
        lifetimes().expireAll();
    }

    /** The same, for a service: that looks at each in its time, and waits for none. */
    private void sweepLeft() {
        swept.set(System.nanoTime());
        ofStore().forEach(Leftover::tryToRemove);
        servers.leftovers().forEach(Leftover::tryToRemove);
        sandboxes.sweep();
        liveForks().sweep();
        drafts.sweep();
    }

    /** As {@link Sandboxes#sweep}, when those have been ended or paused whose time is over. */
    public List<Found> sandboxesInTime() {
        lifetimes().expireAll();
        return sandboxes.sweep();
    }
}
