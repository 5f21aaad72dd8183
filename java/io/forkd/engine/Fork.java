package io.forkd.engine;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.Limits;
import io.forkd.agent.AgentAddress;
import io.forkd.agent.AgentClient;
import io.forkd.cgroup.Cgroups;
import io.forkd.engine.Leases.Source;
import io.forkd.files.OwnedDirectory;
import io.forkd.sandbox.Room;
import io.forkd.sandbox.RuntimeDirectory;
import io.forkd.snapshot.Snapshot;
import io.forkd.vmm.Vmm;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.List;
import java.util.Optional;
import java.util.function.Consumer;

/** The children of one snapshot, while they run. Closing it ends them all and leaves nothing. For one thread. */
public final class Fork implements AutoCloseable {
    /**
     * A child that is ready to be used.
     *
     * @param startTime of its process when it is detached, else 0
     * @param restore from fork(2) in the server until its agent had acknowledged who it is
     */
    public record Child(String name, int pid, long startTime, Path socket, Optional<String> netns, Duration restore) {}

    /**
     * A child that did not come up, and why.
     *
     * @param kind a conflict where another VM has what this one needs
     */
    public record Failure(String name, String reason, Kind kind) {}

    private final ForkRequest request;
    private final OwnedDirectory run;
    private final ChildNetworks networks;
    private final Call call;
    private final long started = System.nanoTime();

    /** What to release, the last first. */
    private final Deque<AutoCloseable> held = new ArrayDeque<>();

    private final Children children;
    private Duration serverUp = Duration.ZERO;

    private Fork(ForkRequest request, OwnedDirectory run, ChildNetworks networks, Vmm vmm, Call call) {
        this.request = request;
        this.run = run;
        this.networks = networks;
        this.call = call;
        this.children = new Children(vmm, call);
        held.push(children);
    }

    static Fork start(
            ForkRequest request,
            Snapshot snapshot,
            Leases leases,
            RuntimeDirectory runtime,
            ChildNetworks networks,
            Cgroups cgroups,
            Vmm vmm,
            Call call) {
        Fork fork = new Fork(request, runtime.open("fork"), networks, vmm, call);
        try {
            fork.start(snapshot, leases, cgroups);
            return fork;
        } catch (RuntimeException | Error e) {
            fork.close();
            throw e;
        }
    }

    private void start(Snapshot snapshot, Leases leases, Cgroups cgroups) {
        Limits limits = request.limits().over(snapshot.manifest().machine().limits());
        Groups groups = Groups.of(cgroups, limits, snapshot.manifest().machine().vcpus());
        held.remove(children);
        held.push(groups); // They go after all that is in them.
        held.push(children);
        NetworkRequest network = request.network().of(snapshot, call.owner());
        Optional<String> tap = networks.tap(snapshot, network, request.count(), call);
        List<Optional<String>> namespaces = networks.numbered(network, run.path(), request.count());
        Source source = leases.lease(
                snapshot,
                request.count(),
                request.keepServer(),
                request.prepare(),
                groups,
                request.volumeConflict(),
                call);
        held.push(source);
        // The children go before the server: a kept one does not take them along.
        held.remove(children);
        held.push(children);
        held.push(() -> flush(source.written()));
        serverUp = elapsed();

        call.step("forking " + request.count() + " children");
        for (int i = 1; i <= request.count(); i++) {
            Optional<Path> cgroup =
                    groups.make(Cgroups.name(String.valueOf(run.path().getFileName()), "" + i));
            children.fork(source.lease().server(), place(i, namespaces.get(i - 1), limits, cgroup), tap, source::check);
        }
    }

    /** A volume that is written to has one child. */
    private void flush(List<Path> volumes) {
        if (children.anyAlive()) {
            WrittenVolumes.flush(new AgentClient(new AgentAddress.Vsock(socket(1))), volumes, call);
        }
    }

    private Path socket(int i) {
        return RuntimeDirectory.socket(run.path(), name(i));
    }

    private Place place(int i, Optional<String> netns, Limits limits, Optional<Path> cgroup) {
        String name = name(i);
        return new Place(
                name,
                socket(i),
                Optional.empty(),
                request.keepWork() ? Optional.of(run.path().resolve(name + ".console.log")) : Optional.empty(),
                netns,
                limits,
                cgroup,
                Optional.empty());
    }

    /** Waits until all are ready; {@code onReady} gets each as soon as it is. One that fails, fails all. */
    public void awaitReady(Consumer<Child> onReady) {
        awaitReady(onReady, Fork::failAll);
    }

    /** Takes a failed child for the failure of all: they end when the fork is closed. */
    public static void failAll(Failure failure) {
        throw new ForkdException(
                failure.kind(),
                "the child " + failure.name() + " did not come up: " + failure.reason(),
                "All children of this fork were ended.");
    }

    /** Waits until each is ready or has failed, and hands it over as soon as that is known. */
    public void awaitReady(Consumer<Child> onReady, Consumer<Failure> onFailure) {
        children.awaitReady(onReady, onFailure);
    }

    /** Whether there was room for what they wrote to their disks. */
    public Room room() {
        return children.room();
    }

    /** Why one of them was ended by the kernel or the monitor, if one was. */
    public Optional<String> whyEnded() {
        return children.whyKilled().or(children::whyFailed);
    }

    /** How many have not ended. */
    public int alive() {
        return children.alive();
    }

    /** Lets the children run for a while, or until the last of them has ended. */
    public void settle(Duration time) {
        long end = System.nanoTime() + time.toNanos();
        while (System.nanoTime() < end && children.anyAlive()) {
            call.check();
            try {
                Thread.sleep(Math.min(20, Math.max(1, (end - System.nanoTime()) / 1_000_000)));
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
                call.check();
                return;
            }
        }
    }

    /** From the call until there was a server that has mapped and decoded the snapshot. */
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

    @Override
    public void close() {
        if (request.keepWork()) {
            WorkDirectory.keep(run.path(), "forkd-fork-" + request.tag(), call);
        }
        for (AutoCloseable resource : held) {
            try {
                resource.close();
            } catch (Exception e) {
                throw new IllegalStateException("cannot release " + resource, e);
            }
        }
        held.clear();
        run.close();
        networks.release(run.path());
    }
}
