package io.forkd.engine;

import static org.assertj.core.api.Assertions.assertThat;

import io.forkd.ForkdException;
import io.forkd.sandbox.Sandbox;
import io.forkd.snapshot.Snapshot.State;
import io.forkd.snapshot.SnapshotStore;
import io.forkd.vmm.MemoryVmm.Fault;
import io.forkd.vmm.MemoryVmm.Step;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.TreeSet;
import org.junit.jupiter.api.parallel.Execution;
import org.junit.jupiter.api.parallel.ExecutionMode;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/**
 * Every operation, with every step that the monitor or a guest takes for it going wrong in every way, one at a time. What
 * it leaves is as if it had never been tried, or as if it had gone well; then it goes well.
 */
class FailureTest {
    private static final int EIO = -5;

    /** What is tried, on a world with a snapshot {@code base}, a layer {@code layer} over it and one sandbox of it. */
    private enum Operation {
        SNAPSHOT {
            @Override
            void run(World world, String sandbox, Call call) {
                world.engine.snapshot(world.booting("new", false), call);
            }
        },
        FORK {
            @Override
            void run(World world, String sandbox, Call call) {
                try (Fork fork = world.engine.fork(World.forking("base", 3), call)) {
                    fork.awaitReady(child -> assertThat(child.socket()).exists());
                }
            }
        },
        SPAWN {
            @Override
            void run(World world, String sandbox, Call call) {
                world.engine.spawn(World.spawning("base", 3), call);
            }
        },
        SPAWN_OF_LAYER {
            @Override
            void run(World world, String sandbox, Call call) {
                world.engine.spawn(World.spawning("layer", 1), call);
            }
        },
        BRANCH {
            @Override
            void run(World world, String sandbox, Call call) {
                world.engine.branch(World.branching(sandbox, "new", false, false), call);
            }
        },
        BRANCH_OF_LAYER {
            @Override
            void run(World world, String sandbox, Call call) {
                world.engine.branch(World.branching(sandbox, "new", true, false), call);
            }
        },
        REPLACE {
            @Override
            void run(World world, String sandbox, Call call) {
                world.engine.branch(World.branching(sandbox, "old", false, true), call);
            }
        },
        DIFF {
            @Override
            void run(World world, String sandbox, Call call) {
                world.engine.diff(World.changing("base", "new", "changed", false), call);
            }
        },
        COMPACT {
            @Override
            void run(World world, String sandbox, Call call) {
                world.engine.snapshots().compact(World.tag("layer"), call);
            }
        },
        KILL {
            @Override
            void run(World world, String sandbox, Call call) {
                world.kill(world.engine, sandbox);
            }
        },
        REMOVE {
            @Override
            void run(World world, String sandbox, Call call) {
                world.remove("old");
            }
        };

        abstract void run(World world, String sandbox, Call call);

        boolean makesTag() {
            return this == SNAPSHOT || this == BRANCH || this == BRANCH_OF_LAYER || this == DIFF;
        }
    }

    private sealed interface Trouble {
        record Planned(Fault fault) implements Trouble {}

        record Cancelled() implements Trouble {}
    }

    private static final List<Trouble> TROUBLES = List.of(
            new Trouble.Planned(new Fault.Fails(EIO)), new Trouble.Planned(Fault.DIES), new Trouble.Cancelled());

    private World world;

    @Execution(ExecutionMode.CONCURRENT)
    @ParameterizedTest
    @CsvSource({
        "SNAPSHOT,60",
        "FORK,60",
        "FORK,0",
        "SPAWN,60",
        "SPAWN,0",
        "SPAWN_OF_LAYER,60",
        "BRANCH,60",
        "BRANCH_OF_LAYER,60",
        "REPLACE,60",
        "DIFF,60",
        "COMPACT,60",
        "KILL,60",
        "REMOVE,60"
    })
    void nothing_is_left_of_what_goes_wrong(Operation operation, String idleSecs) throws Exception {
        try (World made = new World(idleSecs)) {
            world = made;
            for (Trouble trouble : TROUBLES) {
                boolean more = true;
                for (int step = 1; more; step++) {
                    try {
                        more = goesWrong(operation, step, trouble);
                    } catch (AssertionError | RuntimeException e) {
                        throw new AssertionError(
                                operation + ", " + trouble + " at step " + step + " of " + world.vmm.steps() + ": "
                                        + e.getMessage(),
                                e);
                    }
                }
            }
        }
    }

    /** False when it does not have so many steps. */
    private boolean goesWrong(Operation operation, int at, Trouble trouble) throws Exception {
        Sandbox sandbox = prepare(operation);
        Call call = World.call();
        List<Step> hit = new ArrayList<>();
        world.vmm.plan((number, step) -> {
            if (number != at) {
                return Fault.NONE;
            }
            hit.add(step);
            if (trouble instanceof Trouble.Planned planned) {
                return planned.fault();
            }
            call.cancel();
            return Fault.NONE;
        });
        Optional<ForkdException> failure = Optional.empty();
        try {
            operation.run(world, sandbox.id(), call);
        } catch (ForkdException e) {
            failure = Optional.of(e);
        }
        assertThat(Thread.interrupted()).as("the thread is interrupted").isFalse();
        world.vmm.awaitWriters();
        boolean branched = world.vmm.steps().contains(Step.WRITE);
        world.vmm.plan((number, step) -> Fault.NONE);
        boolean died =
                trouble instanceof Trouble.Planned planned && planned.fault().equals(Fault.DIES);
        if (died || (branched && !hit.contains(Step.WRITE))) {
            world.engine
                    .sweep(); // What is left of the dead, and of who left before it was known what becomes of a branch.
        }
        boolean lives = world.sandboxes().contains(sandbox.id());
        check(operation, failure.isEmpty(), branched, lives);
        if (failure.isPresent()) {
            Sandbox again = lives ? sandbox : spawn();
            if (branched && hasCompleted("new")) {
                world.remove("new");
            }
            operation.run(world, again.id(), World.call());
            world.vmm.awaitWriters();
            check(operation, true, true, operation != Operation.KILL);
        }
        return !hit.isEmpty();
    }

    private boolean hasCompleted(String tag) {
        return world.engine.store().list().stream()
                .anyMatch(entry -> entry.tag().equals(tag) && entry.state() == State.COMPLETE);
    }

    private Sandbox spawn() {
        return world.engine.spawn(World.spawning("base", 1), World.call()).get(0);
    }

    /** As the operations expect it, whatever the one before has done. */
    private Sandbox prepare(Operation operation) {
        Set<String> there = new TreeSet<>();
        world.engine.store().list().forEach(entry -> there.add(entry.tag()));
        if (there.contains("new")) {
            world.remove("new");
        }
        if (there.isEmpty()) {
            world.engine.snapshot(world.booting("base", false), World.call());
        }
        if (!there.contains("old")) {
            world.engine.snapshot(world.booting("old", false), World.call());
        }
        if (operation == Operation.COMPACT && there.remove("layer")) {
            world.remove("layer");
        }
        if (!there.contains("layer")) {
            world.engine.diff(World.changing("base", "layer", "layered", false), World.call());
        }
        world.killAll();
        return spawn();
    }

    private void check(Operation operation, boolean done, boolean branched, boolean lives) throws Exception {
        Set<String> expected = new TreeSet<>(Set.of("base", "layer", "old"));
        if (done && operation.makesTag()) {
            expected.add("new");
        }
        if (done && operation == Operation.REMOVE) {
            expected.remove("old");
        }
        Set<String> found = new TreeSet<>();
        for (SnapshotStore.Entry entry : world.engine.store().list()) {
            // A twin goes on alone, and a branch that it could not write keeps its tag, as one that has failed.
            boolean ofTwin = entry.tag().equals("new") && !done && branched;
            if (ofTwin) {
                assertThat(entry.state()).isNotEqualTo(State.WRITING);
                expected.add("new");
            } else {
                assertThat(entry.state()).as(entry.tag()).isEqualTo(State.COMPLETE);
            }
            found.add(entry.tag());
        }
        assertThat(found).isEqualTo(expected);
        int made = !done ? 0 : operation == Operation.SPAWN ? 3 : operation == Operation.SPAWN_OF_LAYER ? 1 : 0;
        List<String> sandboxes = world.sandboxes();
        assertThat(sandboxes).hasSize((lives ? 1 : 0) + made);
        world.assertLeft(expected, sandboxes);
    }
}
