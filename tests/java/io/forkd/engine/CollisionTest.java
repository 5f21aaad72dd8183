package io.forkd.engine;

import static org.assertj.core.api.Assertions.assertThat;

import io.forkd.ForkdException;
import io.forkd.sandbox.Sandbox;
import io.forkd.snapshot.Snapshot.State;
import io.forkd.snapshot.SnapshotStore;
import io.forkd.snapshot.SnapshotTag;
import io.forkd.vmm.MemoryVmm;
import io.forkd.vmm.MemoryVmm.Fault;
import io.forkd.vmm.MemoryVmm.Step;
import java.nio.file.Files;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.parallel.Execution;
import org.junit.jupiter.api.parallel.ExecutionMode;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/** Two callers at once, of one engine or of two processes, whose operations are about one tag or one sandbox. */
class CollisionTest {
    private static final int ROUNDS = 2;
    private static final String DONE = "done";

    /** On a layer {@code one} over {@code base} and a sandbox of it; {@code base} has a sandbox that sets its memory. */
    private enum Operation {
        FORK {
            @Override
            void run(World world, Engine engine, String sandbox) {
                try (Fork fork = engine.fork(World.forking("one", 2), World.call())) {
                    fork.awaitReady(
                            child -> assertThat(World.text(child.socket())).matches("(booted|changed) [0-9]+"));
                }
            }
        },
        SPAWN {
            @Override
            void run(World world, Engine engine, String sandbox) {
                List<Sandbox> made = engine.spawn(World.spawning("one", 2), World.call());
                made.forEach(each -> assertThat(World.text(each.vsock())).matches("(booted|changed) [0-9]+"));
                made.forEach(each -> world.kill(engine, each.id()));
            }
        },
        BRANCH {
            @Override
            void run(World world, Engine engine, String sandbox) {
                engine.branch(World.branching(sandbox, "one", false, true), World.call());
            }
        },
        DIFF {
            @Override
            void run(World world, Engine engine, String sandbox) {
                engine.diff(World.changing("base", "one", "changed " + System.nanoTime(), true), World.call());
            }
        },
        CHILD {
            @Override
            void run(World world, Engine engine, String sandbox) {
                engine.diff(World.changing("one", "two", "changed " + System.nanoTime(), true), World.call());
            }
        },
        KILL {
            @Override
            void run(World world, Engine engine, String sandbox) {
                world.kill(engine, sandbox);
            }
        },
        REMOVE {
            @Override
            void run(World world, Engine engine, String sandbox) {
                Set<SnapshotTag> one = Set.of(World.tag("one"));
                Snapshots.Removal plan = engine.snapshots().planRemoval(one, false, false);
                plan.refused().values().forEach(refusal -> {
                    throw refusal;
                });
                plan.all().forEach(tag -> engine.snapshots().remove(tag, plan, false));
            }
        },
        REMOVE_BY_FORCE {
            @Override
            void run(World world, Engine engine, String sandbox) {
                engine.snapshots().remove(World.tag("one"), true);
            }
        },
        SNAPSHOT {
            @Override
            void run(World world, Engine engine, String sandbox) {
                engine.snapshot(world.booting("one", true), World.call());
            }
        },
        COMPACT {
            @Override
            void run(World world, Engine engine, String sandbox) {
                engine.snapshots().compact(World.tag("one"), World.call());
            }
        },
        SWEEP {
            @Override
            void run(World world, Engine engine, String sandbox) {
                engine.sweep();
            }
        };

        /** May fail with a {@link ForkdException} when the other was first. */
        abstract void run(World world, Engine engine, String sandbox);
    }

    private static final Set<Operation> REPLACE = Set.of(Operation.BRANCH, Operation.DIFF, Operation.SNAPSHOT);
    private static final Set<Operation> REMOVE = Set.of(Operation.REMOVE, Operation.REMOVE_BY_FORCE);

    private World world;
    private final ExecutorService callers = Executors.newFixedThreadPool(2);

    @BeforeEach
    void make() throws Exception {
        world = new World();
        world.engine.snapshot(world.booting("base", false), World.call());
    }

    @AfterEach
    void end() throws Exception {
        callers.shutdownNow();
        world.close();
    }

    private static Stream<Arguments> pairs() {
        List<Arguments> pairs = new ArrayList<>();
        Operation[] all = Operation.values();
        for (int i = 0; i < all.length; i++) {
            for (int j = i; j < all.length; j++) {
                pairs.add(Arguments.of(all[i], all[j]));
            }
        }
        return pairs.stream();
    }

    @Execution(ExecutionMode.CONCURRENT)
    @ParameterizedTest
    @MethodSource("pairs")
    void two_at_once_leave_what_one_of_them_makes(Operation first, Operation second) throws Exception {
        for (int round = 0; round < ROUNDS; round++) {
            Sandbox sandbox = prepare();
            String before = world.text("one");
            MemoryVmm theirs = world.vmm.beside();
            Engine other = round % 2 == 0 ? world.engine : world.on(theirs);
            world.vmm.plan(CollisionTest::shake);
            theirs.plan(CollisionTest::shake);
            CyclicBarrier start = new CyclicBarrier(2);
            Future<String> one = callers.submit(() -> run(first, world.engine, sandbox.id(), start));
            Future<String> two = callers.submit(() -> run(second, other, sandbox.id(), start));
            Map<Operation, String> said = new EnumMap<>(Operation.class);
            said.put(first, one.get(60, TimeUnit.SECONDS));
            said.merge(second, two.get(60, TimeUnit.SECONDS), (a, b) -> a + ", " + b);
            world.vmm.awaitWriters();
            world.vmm.plan((number, step) -> Fault.NONE);
            try {
                check();
                if (first != second) {
                    checkOrder(said, before);
                }
            } catch (AssertionError | RuntimeException e) {
                throw new AssertionError(said + "\n" + e.getMessage(), e);
            }
        }
    }

    /** One of the two takes this step later than it could. */
    private static Fault shake(int number, Step step) {
        try {
            Thread.sleep(ThreadLocalRandom.current().nextInt(3));
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
        return Fault.NONE;
    }

    /** What came of it has to be what one after the other could have come to. */
    private void checkOrder(Map<Operation, String> said, String before) {
        Set<Operation> done = new TreeSet<>(said.keySet());
        done.removeIf(operation -> !said.get(operation).equals(DONE));
        boolean replaced = done.stream().anyMatch(REPLACE::contains);
        boolean removed = done.stream().anyMatch(REMOVE::contains);
        boolean there = Files.exists(world.engine.store().directory(World.tag("one")));
        if (!replaced) {
            assertThat(there).as("one is there").isEqualTo(!removed);
        }
        if (replaced && there) {
            assertThat(world.text("one")).as("one, which was replaced").isNotEqualTo(before);
        }
    }

    private String run(Operation operation, Engine engine, String sandbox, CyclicBarrier start) throws Exception {
        start.await();
        try {
            operation.run(world, engine, sandbox);
            return DONE;
        } catch (ForkdException e) {
            return e.getMessage();
        }
    }

    private Sandbox prepare() {
        world.killAll();
        for (SnapshotStore.Entry entry : world.engine.store().list()) {
            if (!entry.tag().equals("base")) {
                world.remove(entry.tag());
            }
        }
        world.engine.diff(World.changing("base", "one", "changed " + System.nanoTime(), false), World.call());
        return world.engine.spawn(World.spawning("base", 1), World.call()).get(0);
    }

    /** Whatever is there works, and nothing else is. */
    private void check() throws Exception {
        world.engine.sweep();
        Set<String> tags = new TreeSet<>();
        for (SnapshotStore.Entry entry : world.engine.store().list()) {
            tags.add(entry.tag());
            assertThat(entry.state()).as(entry.tag()).isEqualTo(State.COMPLETE);
            boolean orphan = entry.parent().isPresent()
                    && Files.notExists(
                            world.engine.store().directory(entry.parent().get()));
            if (!orphan && !entry.tag().equals("two")) {
                assertThat(world.text(entry.tag())).as(entry.tag()).matches("(booted|changed) [0-9]+");
            }
        }
        assertThat(tags).contains("base").isSubsetOf("base", "one", "two");
        List<String> sandboxes = world.sandboxes();
        assertThat(sandboxes).hasSizeLessThan(4);
        world.assertLeft(tags, sandboxes);
    }
}
