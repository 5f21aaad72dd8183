package io.forkd.engine;

import io.forkd.ForkdException.Kind;
import io.forkd.engine.Fork.Child;
import io.forkd.engine.Fork.Failure;
import io.forkd.sandbox.Room;
import io.forkd.vmm.ChildOptions;
import io.forkd.vmm.ForkServer;
import io.forkd.vmm.Vm;
import io.forkd.vmm.VmStatus;
import io.forkd.vmm.VmStatus.Phase;
import io.forkd.vmm.Vmm;
import io.forkd.vmm.VmmException;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.Deque;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.function.Consumer;

/** Children of one server, from the call until all are ready. Closing it ends them. For one thread. */
final class Children implements AutoCloseable {
    /**
     * More at once than keep all processors busy make none of them ready earlier, and most later: guests that take turns
     * on a processor cost it more than guests that follow each other.
     */
    private static final int AT_ONCE = 2 * Runtime.getRuntime().availableProcessors();

    /** When none of them has come up for so long, they wait for something else than processors: for twice as many. */
    private static final Duration PATIENCE = Duration.ofSeconds(30);

    /** How soon a cancellation is noticed. */
    private static final Duration SLICE = Duration.ofMillis(20);

    private final Vmm vmm;
    private final Call call;
    private final Deque<Asked> asked = new ArrayDeque<>();
    private final List<Vm> all = new ArrayList<>();
    private final List<Place> places = new ArrayList<>();

    private boolean kept;

    private record Asked(ForkServer server, Place place, Optional<String> tap, Runnable meanwhile) {}

    Children(Vmm vmm, Call call) {
        this.vmm = vmm;
        this.call = call;
    }

    /**
     * Asks for a child, which is forked when its turn comes in {@link #awaitReady}.
     *
     * @param meanwhile what can be done while it comes up
     */
    void fork(ForkServer server, Place place, Optional<String> tap, Runnable meanwhile) {
        asked.add(new Asked(server, place, tap, meanwhile));
        places.add(place);
    }

    /** Forks those that were asked for, and hands each over as soon as it is ready or has failed. */
    void awaitReady(Consumer<Child> onReady, Consumer<Failure> onFailure) {
        Map<Vm, Place> starting = new LinkedHashMap<>();
        int atOnce = AT_ONCE;
        startMore(starting, atOnce, onFailure);
        long heard = System.nanoTime();
        while (!starting.isEmpty()) {
            call.check();
            Optional<Vm> known = vmm.awaitAny(List.copyOf(starting.keySet()), SLICE);
            if (known.isPresent()) {
                Place place = Objects.requireNonNull(starting.remove(known.get()));
                atOnce = AT_ONCE;
                heard = System.nanoTime();
                // The next one need not wait for what is done with this one.
                startMore(starting, atOnce, onFailure);
                hand(known.get(), place, onReady, onFailure);
            } else if (System.nanoTime() - heard > PATIENCE.toNanos()) {
                atOnce *= 2;
                heard = System.nanoTime();
                startMore(starting, atOnce, onFailure);
            }
        }
    }

    private void hand(Vm vm, Place place, Consumer<Child> onReady, Consumer<Failure> onFailure) {
        VmStatus status = vm.await(Duration.ZERO).orElseThrow();
        if (status.phase() == Phase.READY) {
            try {
                place.freeze().ifPresent(after -> vm.freeze(Optional.of(after)));
            } catch (VmmException e) {
                onFailure.accept(failure(place, e));
                return;
            }
            onReady.accept(ready(place, status));
        } else {
            onFailure.accept(new Failure(
                    place.name(),
                    Groups.whyKilled(place.cgroup(), place.limits()).orElseGet(status::reason),
                    Kind.FAILED));
        }
    }

    private static Failure failure(Place place, VmmException e) {
        return new Failure(place.name(), e.sentence(), e.kind() == Kind.CONFLICT ? Kind.CONFLICT : Kind.FAILED);
    }

    private void startMore(Map<Vm, Place> starting, int atOnce, Consumer<Failure> onFailure) {
        while (!asked.isEmpty() && starting.size() < atOnce) {
            start(asked.remove(), starting, onFailure);
        }
    }

    private void start(Asked child, Map<Vm, Place> starting, Consumer<Failure> onFailure) {
        Place place = child.place();
        try {
            Vm vm = child.server()
                    .fork(new ChildOptions(
                            place.name(),
                            place.socket(),
                            place.console(),
                            child.tap(),
                            place.netns().map(Place::namespace),
                            place.control(),
                            place.limits(),
                            place.cgroup()));
            all.add(vm);
            starting.put(vm, place);
        } catch (VmmException e) {
            onFailure.accept(
                    new Failure(place.name(), e.sentence(), e.kind() == Kind.CONFLICT ? Kind.CONFLICT : Kind.FAILED));
            return;
        }
        child.meanwhile().run();
    }

    private Child ready(Place place, VmStatus status) {
        return new Child(place.name(), status.pid(), status.startTime(), place.socket(), place.netns(), status.ready());
    }

    /** The first of them. */
    Vm first() {
        return all.get(0);
    }

    /** How many have not ended. */
    int alive() {
        return (int) all.stream().filter(Children::isAlive).count();
    }

    boolean anyAlive() {
        return all.stream().anyMatch(Children::isAlive);
    }

    /** Why the first was ended by the kernel that was. */
    Optional<String> whyKilled() {
        return places.stream()
                .flatMap(place ->
                        Groups.whyKilled(place.cgroup(), place.limits()).map(why -> place.name() + ": " + why).stream())
                .findFirst();
    }

    /** With what the monitor ended the first, of those that had come up, that it did. */
    Optional<String> whyFailed() {
        return all.stream()
                .flatMap(vm -> vm.await(Duration.ZERO).stream())
                .filter(status ->
                        status.phase() == Phase.ENDED && !status.ready().isZero())
                .flatMap(status -> status.error().stream())
                .map(error -> "a child was ended: " + error.sentence())
                .findFirst();
    }

    /** The least that one of them has. */
    Room room() {
        return all.stream().map(Sandboxes::room).max(Comparator.naturalOrder()).orElse(Room.LEFT);
    }

    private static boolean isAlive(Vm vm) {
        return vm.await(Duration.ZERO)
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
            for (Vm vm : all) {
                vm.await(Duration.ZERO)
                        .filter(status -> status.phase() == Phase.READY)
                        .flatMap(status -> ProcessHandle.of(status.pid()))
                        .ifPresent(ProcessHandle::destroyForcibly);
            }
            all.forEach(Vm::kill);
        }
        all.forEach(Vm::close);
        all.clear();
    }
}
