package io.forkd.engine;

import io.forkd.ForkdException;
import io.forkd.network.Networks;
import io.forkd.sandbox.Found;
import io.forkd.sandbox.RuntimeDirectory;
import io.forkd.sandbox.Sandbox;
import io.forkd.snapshot.DataDirectory;
import io.forkd.snapshot.Manifest;
import io.forkd.snapshot.Manifest.ManifestDisk;
import io.forkd.snapshot.Snapshot;
import io.forkd.snapshot.SnapshotStore;
import io.forkd.snapshot.SnapshotTag;
import io.forkd.vmm.NativeFiles;
import io.forkd.vmm.NativeVmm;
import io.forkd.vmm.Vmm;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.Future;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.ScheduledThreadPoolExecutor;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;

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

    /** How long a service keeps a channel to a fork server that nobody uses. */
    private static final Duration CHANNELS_KEPT = Duration.ofSeconds(5);

    private final Vmm vmm;
    private final Path dataDirectory;
    private final SnapshotStore store;
    private final RuntimeDirectory runtime;
    private final Servers servers;
    private final Sandboxes sandboxes;
    private final Chains chains;
    private final Holders holders;
    private final WorkingSets workingSets;
    private final Leases leases;
    private final Networks networks;
    private final AtomicLong swept = new AtomicLong(Long.MIN_VALUE);
    private volatile Optional<ScheduledExecutorService> following = Optional.empty();

    public Engine(Vmm vmm, Map<String, String> environment) {
        this(vmm, environment, new Networks(environment, vmm::networkHelper));
    }

    Engine(Vmm vmm, Map<String, String> environment, Networks networks) {
        this.vmm = vmm;
        this.networks = networks;
        this.dataDirectory = DataDirectory.of(environment);
        this.runtime = RuntimeDirectory.of(environment);
        this.servers = new Servers(vmm, runtime, environment);
        this.store = new SnapshotStore(DataDirectory.snapshots(environment), servers);
        this.sandboxes = new Sandboxes(vmm, runtime, networks);
        this.chains = new Chains(vmm, store);
        this.holders = new Holders(sandboxes, servers, store);
        this.leases = new Leases(servers, new Launches(store, chains), holders);
        this.workingSets = new WorkingSets(vmm, store);
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

    /** Networks of children, as an administrator sees them. */
    public Networks networks() {
        return networks;
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

    /** The program that makes a folder in place of an image, unpacked from the jar. */
    public Path mktreeBinary() {
        return NativeFiles.installed().mktree();
    }

    /** The disk images that snapshots and sandboxes of this user need. One that cannot be read stops this. */
    public Set<Path> diskImagesInUse() {
        Set<Path> used = new HashSet<>();
        for (SnapshotStore.Entry entry : store.list()) {
            for (ManifestDisk disk :
                    store.read(new SnapshotTag(entry.tag())).manifest().disks()) {
                used.add(disk.image());
            }
        }
        for (Found found : sandboxes.list()) {
            Path manifest = Sandbox.manifest(found.directory());
            if (Files.exists(manifest)) {
                Manifest.read(manifest).disks().forEach(disk -> used.add(disk.image()));
            }
        }
        return used;
    }

    /** Boots a parent, waits until its guest is ready, and writes it down. The parent ends. */
    public SnapshotResult snapshot(SnapshotRequest request, Call call) {
        sweepNowAndThen();
        return new Parents(vmm, store, runtime, holders, workingSets).snapshot(request, call);
    }

    /** Asks the fork server of a snapshot for children; they become ready while the caller looks on. */
    public Fork fork(ForkRequest request, Call call) {
        sweepNowAndThen();
        return Fork.start(request, store.read(request.tag()), leases, runtime, new ChildNetworks(networks), vmm, call);
    }

    /** Makes sandboxes of a snapshot, all or none. */
    public List<Sandbox> spawn(SpawnRequest request, Call call) {
        sweepNowAndThen();
        Snapshot snapshot = store.read(request.tag(), call.owner());
        List<Sandbox> made = store.with(
                List.of(snapshot),
                () -> new Spawn(vmm, runtime, sandboxes, leases, new ChildNetworks(networks))
                        .run(request, snapshot, call));
        if (made.stream().anyMatch(sandbox -> sandbox.network().isPresent())) {
            // So that the next one finds them ready.
            following.ifPresent(sweeper -> sweeper.execute(this::tryFillNetworks));
        }
        return made;
    }

    /** Makes a snapshot of a running sandbox, which goes on. */
    public BranchResult branch(BranchRequest request, Call call) {
        sweepNowAndThen();
        return branches().branch(request, call);
    }

    /** Makes a snapshot of what a command changes in a child of another. */
    public BranchResult diff(DiffRequest request, Call call) {
        sweepNowAndThen();
        return branches().diff(request, call);
    }

    private Branches branches() {
        return new Branches(vmm, store, runtime, sandboxes, servers, leases, chains, workingSets);
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
        sweep();
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
        following = Optional.of(sweeper);
        sweeper.execute(this::tryFillNetworks);
        return () -> {
            following = Optional.empty();
            sweeper.shutdownNow();
            channels.close();
            known.close();
        };
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
            sweep();
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

    /** Sets right what is left of what has ended, as far as that is possible. */
    public void sweep() {
        swept.set(System.nanoTime());
        ofStore().forEach(Leftover::tryToRemove);
        sandboxes.sweep();
        servers.leftovers().forEach(Leftover::tryToRemove);
    }
}
