package io.forkd.engine;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.files.FileLock;
import io.forkd.files.OwnedDirectory;
import io.forkd.sandbox.RuntimeDirectory;
import io.forkd.snapshot.Manifest.ManifestDisk;
import io.forkd.snapshot.Snapshot;
import io.forkd.vmm.ChildOptions;
import io.forkd.vmm.Disk;
import io.forkd.vmm.ForkServer;
import io.forkd.vmm.Vm;
import io.forkd.vmm.VmStatus;
import io.forkd.vmm.VmStatus.Phase;
import io.forkd.vmm.VmmException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.Iterator;
import java.util.List;
import java.util.Optional;
import java.util.function.Consumer;

/** The children of one snapshot, while they run. Closing it ends them all and leaves nothing. For one thread. */
public final class Fork implements AutoCloseable {
    private static final Duration SLICE = Duration.ofMillis(5);

    /**
     * A child that is ready to be used.
     *
     * @param restore from fork(2) in the server until its agent had acknowledged who it is
     * @param elapsed from the call of {@link Engine#fork} until we knew
     */
    public record Child(String name, int pid, Path socket, Duration restore, Duration elapsed) {}

    /** A child that did not come up, and why. */
    public record Failure(String name, String reason) {}

    private record Pending(String name, Path socket, Vm vm) {}

    private final ForkRequest request;
    private final OwnedDirectory run;
    private final Cancellation cancellation;
    private final Progress progress;
    private final long started;

    /** What to release, the last first. */
    private final Deque<AutoCloseable> held = new ArrayDeque<>();

    private final List<Pending> all = new ArrayList<>();

    /** Children that could not even be asked for. */
    private final List<Failure> refused = new ArrayList<>();

    private Duration serverUp = Duration.ZERO;
    private Optional<MemoryLimit> limit = Optional.empty();

    private Fork(ForkRequest request, OwnedDirectory run, Cancellation cancellation, Progress progress, long started) {
        this.request = request;
        this.run = run;
        this.cancellation = cancellation;
        this.progress = progress;
        this.started = started;
    }

    static Fork start(
            ForkRequest request,
            Snapshot snapshot,
            RuntimeDirectory runtime,
            Cancellation cancellation,
            Progress progress) {
        long started = System.nanoTime();
        Fork fork = new Fork(request, runtime.open("fork"), cancellation, progress, started);
        try {
            fork.start(snapshot);
            return fork;
        } catch (RuntimeException | Error e) {
            fork.close();
            throw e;
        }
    }

    private void start(Snapshot snapshot) {
        Optional<FileLock> lock = snapshot.use();
        lock.ifPresent(held::push);
        List<Disk> disks = new ArrayList<>();
        for (ManifestDisk disk : snapshot.manifest().disks()) {
            if (snapshot.isNewer(disk)) {
                progress.warn(snapshot.image(disk) + " was written to after the snapshot '" + snapshot.tag()
                        + "' was taken; what the children see of it may be damaged");
            }
            disks.add(new Disk(
                    snapshot.image(disk),
                    disk.readOnly() ? Disk.Mode.READ_ONLY : Disk.Mode.PRIVATE,
                    disk.layer().map(layer -> snapshot.directory().resolve(layer.file()))));
        }
        Optional<String> tap = snapshot.manifest().machine().tap();
        if (tap.isPresent() && !request.ownNetworks() && request.count() > 1) {
            progress.warn("one tap device serves one VM: the children have no network"
                    + " (--per-child-netns gives each its own)");
            tap = Optional.empty();
        }
        if (request.ownNetworks()) {
            requireNamespaces();
        }
        request.memoryLimitMib().ifPresent(mib -> {
            MemoryLimit memory = new MemoryLimit(mib, progress);
            limit = Optional.of(memory);
            held.push(memory);
        });

        progress.step("starting the fork server");
        ForkServer server = ForkServer.start(snapshot.memory(), snapshot.vmstate(), disks);
        held.push(server);
        serverUp = elapsed();

        progress.step("forking " + request.count() + " children");
        for (int i = 1; i <= request.count(); i++) {
            cancellation.check();
            String name = name(i);
            Path socket = RuntimeDirectory.socket(run.path(), name);
            Optional<Path> netns = request.ownNetworks() ? Optional.of(namespace(i)) : Optional.empty();
            Optional<Path> console =
                    request.keepWork() ? Optional.of(run.path().resolve(name + ".console.log")) : Optional.empty();
            try {
                Vm vm = server.fork(new ChildOptions(name, socket, console, tap, netns));
                held.push(vm);
                all.add(new Pending(name, socket, vm));
            } catch (VmmException e) {
                refused.add(new Failure(name, e.sentence()));
            }
        }
    }

    /** Waits until all are ready; {@code onReady} gets each as soon as it is. One that fails, fails all. */
    public void awaitReady(Consumer<Child> onReady) {
        awaitReady(onReady, Fork::failAll);
    }

    /** Takes a failed child for the failure of all: they end when the fork is closed. */
    public static void failAll(Failure failure) {
        throw new ForkdException(
                Kind.FAILED,
                "the child " + failure.name() + " did not come up: " + failure.reason(),
                "All children of this fork were ended.");
    }

    /** Waits until each is ready or has failed, and hands it over as soon as that is known. */
    public void awaitReady(Consumer<Child> onReady, Consumer<Failure> onFailure) {
        refused.forEach(onFailure);
        Deque<Pending> pending = new ArrayDeque<>(all);
        while (!pending.isEmpty()) {
            cancellation.check();
            // The oldest is waited for, a little; the others are only looked at.
            Duration wait = SLICE;
            for (Iterator<Pending> each = pending.iterator(); each.hasNext(); ) {
                Pending child = each.next();
                Optional<VmStatus> status = child.vm().await(wait);
                wait = Duration.ZERO;
                if (status.isPresent()) {
                    each.remove();
                    if (status.get().phase() == Phase.READY) {
                        onReady.accept(ready(child, status.get()));
                    } else {
                        onFailure.accept(new Failure(child.name(), status.get().reason()));
                    }
                }
            }
        }
    }

    private Child ready(Pending child, VmStatus status) {
        limit.ifPresent(memory -> memory.place(child.name(), status.pid()));
        return new Child(child.name(), status.pid(), child.socket(), status.ready(), elapsed());
    }

    /** How many have not ended. */
    public int alive() {
        return (int) all.stream().filter(Fork::isAlive).count();
    }

    /** Lets the children run for a while, or until the last of them has ended. */
    public void settle(Duration time) {
        long end = System.nanoTime() + time.toNanos();
        while (System.nanoTime() < end && anyAlive()) {
            cancellation.check();
            try {
                Thread.sleep(Math.min(20, Math.max(1, (end - System.nanoTime()) / 1_000_000)));
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
                cancellation.check();
                return;
            }
        }
    }

    private boolean anyAlive() {
        return all.stream().anyMatch(Fork::isAlive);
    }

    private static boolean isAlive(Pending child) {
        Optional<VmStatus> status = child.vm().await(Duration.ZERO);
        return status.isPresent() && status.get().phase() == Phase.READY;
    }

    /** From the call until the server had mapped and decoded the snapshot. */
    public Duration serverUp() {
        return serverUp;
    }

    public Duration elapsed() {
        return Duration.ofNanos(System.nanoTime() - started);
    }

    private String name(int index) {
        String end = "-" + index;
        String tag = request.tag().value();
        int room = RuntimeDirectory.maxNameLength(run.path()) - end.length();
        return (room > 0 && tag.length() > room ? tag.substring(0, room) : tag) + end;
    }

    private static Path namespace(int index) {
        return Path.of("/var/run/netns/forkd-child-" + index);
    }

    private void requireNamespaces() {
        for (int i = 1; i <= request.count(); i++) {
            if (!Files.exists(namespace(i))) {
                throw new ForkdException(
                        Kind.NOT_FOUND,
                        "the network namespace " + namespace(i) + " does not exist",
                        "Make " + request.count() + " of them first, each with the snapshot's tap device in it.");
            }
        }
    }

    @Override
    public void close() {
        if (request.keepWork()) {
            progress.warn("kept " + WorkDirectory.keep(run.path(), "forkd-fork-" + request.tag()));
        }
        // The server first: it takes all its children along, in one go.
        held.stream().filter(ForkServer.class::isInstance).forEach(Fork::release);
        held.forEach(Fork::release);
        held.clear();
        run.close();
    }

    private static void release(AutoCloseable resource) {
        try {
            resource.close();
        } catch (Exception e) {
            throw new IllegalStateException("cannot release " + resource, e);
        }
    }
}
