package io.forkd.engine;

import io.forkd.engine.Fork.Child;
import io.forkd.engine.Fork.Failure;
import io.forkd.vmm.ChildOptions;
import io.forkd.vmm.ForkServer;
import io.forkd.vmm.Vm;
import io.forkd.vmm.VmStatus;
import io.forkd.vmm.VmStatus.Phase;
import io.forkd.vmm.VmmException;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.Iterator;
import java.util.List;
import java.util.Optional;
import java.util.function.Consumer;

/** Children of one server, from the call until all are ready. Closing it ends them. For one thread. */
final class Children implements AutoCloseable {
    private static final Duration SLICE = Duration.ofMillis(5);

    private final Optional<MemoryLimit> limit;
    private final Cancellation cancellation;
    private final List<Pending> all = new ArrayList<>();

    /** Children that could not even be asked for. */
    private final List<Failure> refused = new ArrayList<>();

    private boolean kept;

    private record Pending(Place place, Vm vm) {}

    Children(Optional<MemoryLimit> limit, Cancellation cancellation) {
        this.limit = limit;
        this.cancellation = cancellation;
    }

    void fork(ForkServer server, Place place, Optional<String> tap) {
        cancellation.check();
        try {
            Vm vm = server.fork(new ChildOptions(
                    place.name(),
                    place.socket(),
                    place.console(),
                    tap,
                    place.netns().map(Place::namespace),
                    place.control()));
            all.add(new Pending(place, vm));
        } catch (VmmException e) {
            refused.add(new Failure(place.name(), e.sentence()));
        }
    }

    /** Waits until each is ready or has failed, and hands it over as soon as that is known. */
    void awaitReady(Consumer<Child> onReady, Consumer<Failure> onFailure) {
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
                        onReady.accept(ready(child.place(), status.get()));
                    } else {
                        onFailure.accept(
                                new Failure(child.place().name(), status.get().reason()));
                    }
                }
            }
        }
    }

    private Child ready(Place place, VmStatus status) {
        limit.ifPresent(memory -> memory.place(place.name(), status.pid()));
        return new Child(place.name(), status.pid(), place.socket(), place.netns(), status.ready());
    }

    /** The first of them. */
    Vm first() {
        return all.get(0).vm();
    }

    /** How many have not ended. */
    int alive() {
        return (int) all.stream().filter(Children::isAlive).count();
    }

    boolean anyAlive() {
        return all.stream().anyMatch(Children::isAlive);
    }

    private static boolean isAlive(Pending child) {
        return child.vm()
                .await(Duration.ZERO)
                .map(status -> status.phase() == Phase.READY)
                .orElse(false);
    }

    /** From now on closing this ends none of them that is detached. */
    void keep() {
        kept = true;
    }

    @Override
    public void close() {
        if (!kept) {
            // All at once; waiting for the end of each before the next is killed would take long.
            for (Pending child : all) {
                child.vm()
                        .await(Duration.ZERO)
                        .filter(status -> status.phase() == Phase.READY)
                        .flatMap(status -> ProcessHandle.of(status.pid()))
                        .ifPresent(ProcessHandle::destroyForcibly);
            }
            all.forEach(child -> child.vm().kill());
        }
        all.forEach(child -> child.vm().close());
        all.clear();
    }
}
