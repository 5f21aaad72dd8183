package io.forkd.engine;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.tuple;

import com.sun.management.ThreadMXBean;
import io.forkd.ForkdException;
import io.forkd.sandbox.Found;
import io.forkd.sandbox.Found.Running;
import io.forkd.sandbox.Sandbox;
import io.forkd.vmm.MemoryVmm;
import io.forkd.vmm.MemoryVmm.Fault;
import io.forkd.vmm.MemoryVmm.Step;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** An engine that follows the sandboxes, as a service does, beside others on the same folders. */
class FollowTest {
    private World world;
    private AutoCloseable following;

    @BeforeEach
    void follow() throws Exception {
        world = new World();
        following = world.engine.follow();
        world.engine.snapshot(world.booting("base", false), World.call());
    }

    @AfterEach
    void end() throws Exception {
        following.close();
        world.close();
    }

    private List<Sandbox> spawn(Engine by, int count) {
        return by.spawn(World.spawning("base", count), World.call());
    }

    /** What is asked of the monitor meanwhile. */
    private List<Step> steps(Runnable job) {
        world.vmm.plan((number, step) -> Fault.NONE);
        job.run();
        return world.vmm.steps();
    }

    private static void await(Check check) throws Exception {
        long end = System.nanoTime() + 30_000_000_000L;
        while (!check.holds() && System.nanoTime() < end) {
            Thread.sleep(2);
        }
        assertThat(check.holds()).isTrue();
    }

    private interface Check {
        boolean holds() throws Exception;
    }

    private interface Operation {
        void run(Sandbox sandbox);
    }

    private Map<String, Operation> operations() {
        Map<String, Operation> operations = new LinkedHashMap<>();
        Sandboxes sandboxes = world.engine.sandboxes();
        operations.put("find", sandbox -> sandboxes.find(sandbox.id()));
        operations.put("findAny", sandbox -> sandboxes.findAny(sandbox.id()));
        operations.put("giveVolumesBack", sandbox -> sandboxes.giveVolumesBack(sandbox.id()));
        operations.put("room", sandbox -> sandboxes.room(sandbox.id()));
        operations.put("fork", sandbox -> world.text("base"));
        operations.put(
                "branch",
                sandbox -> world.engine.branch(World.branching(sandbox.id(), "branch", false, true), World.call()));
        operations.put("spawn", sandbox -> spawn(world.engine, 1));
        operations.put("kill", sandbox -> world.kill(world.engine, sandbox.id()));
        return operations;
    }

    private record Cost(List<Step> steps, long allocated) {}

    private Map<String, Cost> costs(List<Sandbox> sandboxes) {
        ThreadMXBean threads = (ThreadMXBean) ManagementFactory.getThreadMXBean();
        Map<String, Cost> costs = new LinkedHashMap<>();
        int next = 0;
        for (Map.Entry<String, Operation> operation : operations().entrySet()) {
            Sandbox sandbox = sandboxes.get(next++);
            long before = threads.getCurrentThreadAllocatedBytes();
            List<Step> steps = steps(() -> operation.getValue().run(sandbox));
            costs.put(operation.getKey(), new Cost(steps, threads.getCurrentThreadAllocatedBytes() - before));
        }
        return costs;
    }

    @Test
    void no_operation_on_one_of_a_thousand_looks_at_the_others() throws Exception {
        List<Sandbox> few = spawn(world.engine, 10);
        costs(few); // Nothing is done for the first time after that.
        Map<String, Cost> ofFew = costs(spawn(world.engine, 10));
        List<Sandbox> many = new ArrayList<>();
        for (int i = 0; i < 10; i++) {
            many.addAll(spawn(world.engine, 100));
        }
        Map<String, Cost> ofMany = costs(many);
        ofMany.forEach((name, cost) -> {
            Cost before = ofFew.get(name);
            // Who follows a killed one may look at it once more, or find it gone already.
            assertThat(cost.steps()).as(name).hasSizeLessThan(before.steps().size() + 4);
            assertThat(cost.allocated()).as("bytes allocated by " + name).isLessThan(3 * before.allocated() + 100_000);
        });

        assertThat(steps(() -> assertThat(world.engine.sandboxes().list()).hasSizeGreaterThan(1000)))
                .as("a list asks nobody")
                .isEmpty();
        assertThat(steps(() -> world.engine.sweep()))
                .as("a sweep asks servers only")
                .isSubsetOf(Step.ATTACH_SERVER, Step.CLOSE);
        assertThat(steps(() -> assertThat(world.engine
                                .snapshots()
                                .planRemoval(Set.of(World.tag("base")), false, false)
                                .refused())
                        .isNotEmpty()))
                .as("who uses a snapshot is known")
                .doesNotContain(Step.ATTACH);
        List<Found> all = world.engine.sandboxes().list();
        List<Step> steps = steps(() -> assertThat(world.engine.sandboxes().kill(all, World.call()))
                .hasSize(all.size())
                .allMatch(failure -> failure.isEmpty()));
        assertThat(steps).as("each is asked, and perhaps looked at again").hasSizeLessThan(6 * all.size());
        following.close(); // It keeps its channels to servers for a while.
        following = () -> {};
        world.assertLeft(Set.of("base", "branch"), Set.of());
    }

    @Test
    void one_that_ends_is_gone_without_being_asked_for() throws Exception {
        List<Sandbox> all = spawn(world.engine, 3);
        world.vmm.killed(all.get(1).pid());
        await(() -> Files.notExists(all.get(1).directory()));
        assertThat(world.sandboxes())
                .containsExactlyInAnyOrder(all.get(0).id(), all.get(2).id());
        assertThatThrownBy(() -> world.engine.sandboxes().find(all.get(1).id()))
                .isInstanceOfSatisfying(
                        ForkdException.class, e -> assertThat(e.kind()).isEqualTo(ForkdException.Kind.NOT_FOUND));
    }

    @Test
    void what_another_process_makes_is_found_and_followed() throws Exception {
        Engine other = world.beside();
        Sandbox sandbox = spawn(other, 1).get(0);
        assertThat(steps(() ->
                        assertThat(world.engine.sandboxes().find(sandbox.id())).isEqualTo(sandbox)))
                .contains(Step.ATTACH, Step.WATCH_ADD);
        assertThat(steps(() -> assertThat(world.sandboxes()).containsExactly(sandbox.id())))
                .as("known from now on")
                .isEmpty();
        assertThat(other.sandboxes().list()).hasSize(1);

        other.branch(World.branching(sandbox.id(), "theirs", false, false), World.call());
        assertThat(world.engine.sandboxes().find(sandbox.id()).branches())
                .as("what others write down of it")
                .isEqualTo(1);
        assertThat(world.text("theirs")).isEqualTo(world.text("base"));

        world.vmm.killed(sandbox.pid());
        await(() -> Files.notExists(sandbox.directory()));
    }

    @Test
    void what_another_process_kills_is_gone() throws Exception {
        Engine other = world.beside();
        List<Sandbox> all = spawn(world.engine, 2);
        world.kill(other, all.get(0).id());
        assertThat(world.sandboxes()).containsExactly(all.get(1).id());
        assertThatThrownBy(() -> world.engine.sandboxes().find(all.get(0).id())).hasMessageContaining("no sandbox");
        world.kill(world.engine, all.get(1).id());
        assertThat(other.sandboxes().list()).isEmpty();
        world.assertLeft(Set.of("base"), Set.of());
    }

    @Test
    void nobody_is_asked_to_be_counted() throws Exception {
        Engine other = world.beside();
        Sandbox followed = spawn(world.engine, 1).get(0);
        spawn(other, 3).forEach(sandbox -> world.vmm.silence(sandbox.pid(), true));
        assertThat(world.engine.sandboxes().find(followed.id())).isNotNull();
        assertThat(steps(() -> assertThat(world.engine.sandboxes().count()).isPositive()))
                .doesNotContain(Step.ATTACH);
    }

    @Test
    void one_that_starts_again_sees_all_of_the_one_before() throws Exception {
        List<Sandbox> all = spawn(world.engine, 5);
        world.vmm.killed(all.get(0).pid());
        MemoryVmm monitor = world.vmm.beside();
        Engine next = world.on(monitor);
        try (AutoCloseable followed = next.follow()) {
            assertThat(followed).isNotNull();
            assertThat(next.sandboxes().list())
                    .extracting(Found::id)
                    .containsExactlyInAnyOrderElementsOf(
                            all.stream().skip(1).map(Sandbox::id).toList());
            monitor.plan((number, step) -> Fault.NONE);
            assertThat(next.sandboxes().find(all.get(1).id())).isEqualTo(all.get(1));
            assertThat(monitor.steps()).as("looked at once, at the start").isEmpty();
            world.vmm.killed(all.get(1).pid());
            await(() -> Files.notExists(all.get(1).directory()));
            world.kill(next, all.get(2).id());
            assertThat(next.sandboxes().list()).hasSize(2);
            spawn(next, 1);
        }
        assertThat(world.sandboxes()).hasSize(3);
    }

    @Test
    void one_that_cannot_be_watched_is_looked_at_each_time() throws Exception {
        world.vmm.plan((number, step) -> step == Step.WATCH_ADD ? new Fault.Fails(-24) : Fault.NONE);
        Sandbox sandbox = spawn(world.engine, 1).get(0);
        assertThat(world.engine.sandboxes().find(sandbox.id())).isEqualTo(sandbox);
        world.vmm.killed(sandbox.pid());
        assertThat(world.sandboxes()).isEmpty();
        world.engine.sweep();
        world.assertLeft(Set.of("base"), Set.of());
    }

    @Test
    void without_a_watch_all_are_looked_at_again() throws Exception {
        Sandbox sandbox = spawn(world.engine, 1).get(0);
        world.vmm.breakWatches();
        await(() -> steps(() -> world.engine.sandboxes().find(sandbox.id())).contains(Step.ATTACH));
        world.vmm.killed(sandbox.pid());
        assertThat(world.sandboxes()).isEmpty();
    }

    @Test
    void one_that_does_not_answer_is_known_as_running_until_it_is_used() throws Exception {
        Sandbox sandbox = spawn(world.engine, 1).get(0);
        world.vmm.silence(sandbox.pid(), true);
        assertThat(world.engine.sandboxes().list()).hasOnlyElementsOfType(Running.class);
        assertThatThrownBy(() -> world.engine.branch(World.branching(sandbox.id(), "new", false, false), World.call()))
                .isInstanceOf(ForkdException.class);
        world.kill(world.engine, sandbox.id());
        world.assertLeft(Set.of("base"), Set.of());
    }

    @Test
    void each_is_asked_how_it_is_when_that_is_wanted() throws Exception {
        List<Sandbox> all = spawn(world.engine, 3);
        world.vmm.fill(all.get(1).pid());
        world.vmm.silence(all.get(2).pid(), true);
        assertThat(world.engine.sandboxes().list()).extracting(Found::state).containsOnly("running");
        assertThat(world.engine.sandboxes().ask())
                .extracting(Found::id, Found::state)
                .containsExactlyInAnyOrder(
                        tuple(all.get(0).id(), "running"),
                        tuple(all.get(1).id(), "full"),
                        tuple(all.get(2).id(), "stopped"));
        assertThat(world.sandboxes()).hasSize(3);
    }

    @Test
    void two_that_are_followed_by_two_are_removed_once() throws Exception {
        Engine other = world.beside();
        try (AutoCloseable followed = other.follow()) {
            assertThat(followed).isNotNull();
            for (int i = 0; i < 20; i++) {
                List<Sandbox> all = spawn(world.engine, 2);
                assertThat(other.sandboxes().list()).hasSize(2);
                all.forEach(sandbox -> world.vmm.killed(sandbox.pid()));
                await(() -> all.stream().allMatch(sandbox -> Files.notExists(sandbox.directory())));
            }
            await(() -> Files.list(world.engine.runtime().sandboxes())
                    .allMatch(path -> path.getFileName().toString().startsWith(".")));
        }
    }
}
