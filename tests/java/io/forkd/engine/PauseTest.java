package io.forkd.engine;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.Limit;
import io.forkd.Limits;
import io.forkd.sandbox.Found;
import io.forkd.sandbox.Found.Paused;
import io.forkd.sandbox.Found.Running;
import io.forkd.sandbox.Sandbox;
import io.forkd.vmm.MemoryVmm;
import io.forkd.vmm.MemoryVmm.Fault;
import io.forkd.vmm.MemoryVmm.Step;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** Sandboxes that are paused and resumed, by one process or several, with every step going wrong. */
class PauseTest {
    private static final int EIO = -5;

    private World world;

    @BeforeEach
    void begin() throws IOException {
        world = new World();
        world.engine.snapshot(world.booting("base", false), World.call());
    }

    @AfterEach
    void end() throws IOException {
        world.close();
    }

    private Sandbox spawn() {
        return world.engine.spawn(World.spawning("base", 1), World.call()).get(0);
    }

    private Found look(String id) {
        return world.engine.sandboxes().findAny(id);
    }

    private List<String> kept() throws IOException {
        if (!Files.exists(world.paused())) {
            return List.of();
        }
        try (Stream<Path> entries = Files.list(world.paused())) {
            return entries.map(entry -> entry.getFileName().toString())
                    .filter(name -> !name.equals(".lock"))
                    .toList();
        }
    }

    @Test
    void what_was_paused_goes_on_as_what_it_was() throws Exception {
        Limits limits = new Limits(Map.of(Limit.DISK, 100L));
        Sandbox sandbox = world.engine
                .spawn(
                        new SpawnRequest(World.tag("base"), 1, NetworkRequest.OF_HOST, limits, VolumeConflict.FAIL),
                        World.call())
                .get(0);
        world.engine.branch(World.branching(sandbox.id(), "branch", false, false), World.call());
        World.set(sandbox, "worked");

        Found paused = world.pause(sandbox.id());
        assertThat(paused).isInstanceOf(Paused.class);
        assertThat(paused.state()).isEqualTo("paused");
        assertThat(world.vmm.vms()).isZero();
        assertThat(sandbox.directory()).doesNotExist();
        assertThat(world.engine.sandboxes().sweep()).extracting(Found::id).containsExactly(sandbox.id());

        Sandbox resumed = world.resume(sandbox.id());
        assertThat(World.text(resumed.vsock())).isEqualTo("worked");
        assertThat(resumed.id()).isEqualTo(sandbox.id());
        assertThat(resumed.directory()).isEqualTo(sandbox.directory());
        assertThat(resumed.limits()).isEqualTo(limits);
        assertThat(world.vmm.limits()).endsWith(limits);
        assertThat(resumed.createdAt()).isEqualTo(sandbox.createdAt());
        assertThat(resumed.branches()).isEqualTo(1);
        assertThat(resumed.lastBranch()).contains(world.engine.store().directory(World.tag("branch")));
        assertThat(resumed.snapshot()).isEqualTo(sandbox.snapshot());
        assertThat(look(sandbox.id())).isEqualTo(new Running(resumed, false, io.forkd.sandbox.Room.LEFT));
        assertThat(kept()).isEmpty();
        world.assertLeft(Set.of("base", "branch"), Set.of(sandbox.id()));
    }

    @Test
    void one_that_is_paused_outlasts_the_machine_and_one_that_runs_does_not() throws Exception {
        Sandbox asleep = spawn();
        spawn();
        World.set(asleep, "worked");
        world.pause(asleep.id());
        world.restart();
        Engine next = world.beside();
        assertThat(next.sandboxes().sweep()).extracting(Found::state).containsExactly("paused");
        assertThat(World.text(next.resume(asleep.id(), World.call()).vsock())).isEqualTo("worked");
    }

    @Test
    void a_snapshot_is_not_needed_by_what_was_made_of_it_and_is_paused() throws Exception {
        Sandbox sandbox = spawn();
        world.pause(sandbox.id());
        world.engine.snapshots().remove(World.tag("base"), false);
        assertThat(World.text(world.resume(sandbox.id()).vsock())).isNotEmpty();
        assertThatThrownBy(() -> world.engine.branch(World.branching(sandbox.id(), "new", true, false), World.call()))
                .isInstanceOfSatisfying(
                        ForkdException.class, e -> assertThat(e.kind()).isEqualTo(Kind.CONFLICT))
                .hasMessageContaining("was paused");
        world.engine.branch(World.branching(sandbox.id(), "new", false, false), World.call());
        assertThat(world.text("new")).isEqualTo(World.text(Sandbox.vsock(sandbox.directory())));
    }

    @Test
    void what_is_paused_is_not_used_until_it_is_resumed_and_both_can_be_said_twice() {
        Sandbox sandbox = spawn();
        world.resume(sandbox.id());
        world.pause(sandbox.id());
        assertThat(world.pause(sandbox.id())).isInstanceOf(Paused.class);
        for (Runnable use : List.<Runnable>of(
                () -> world.engine.sandboxes().find(sandbox.id()),
                () -> world.engine.use(sandbox.id(), World.call()),
                () -> world.engine.branch(World.branching(sandbox.id(), "new", false, false), World.call()))) {
            assertThatThrownBy(use::run)
                    .isInstanceOfSatisfying(
                            ForkdException.class, e -> assertThat(e.kind()).isEqualTo(Kind.CONFLICT))
                    .hasMessageContaining("'" + sandbox.id() + "' is paused");
        }
        Sandbox resumed = world.resume(sandbox.id());
        assertThat(world.resume(sandbox.id())).isEqualTo(resumed);
        assertThatThrownBy(() -> world.pause("sb-00000000-00000000"))
                .isInstanceOfSatisfying(
                        ForkdException.class, e -> assertThat(e.kind()).isEqualTo(Kind.NOT_FOUND));
    }

    @Test
    void the_hundredth_time_leaves_what_the_first_did() throws Exception {
        Sandbox sandbox = spawn();
        List<Integer> steps = new ArrayList<>();
        for (int i = 0; i < 100; i++) {
            World.set(resumedOr(sandbox), "time " + i);
            world.vmm.plan((number, step) -> Fault.NONE);
            world.pause(sandbox.id());
            assertThat(kept()).containsExactlyInAnyOrder(sandbox.id(), ".life-" + sandbox.id());
            assertThat(World.text(world.resume(sandbox.id()).vsock())).isEqualTo("time " + i);
            steps.add((int) world.vmm.steps().stream()
                    .filter(step -> step != Step.AWAIT_ANY)
                    .count());
            assertThat(kept()).isEmpty();
        }
        assertThat(steps.get(99)).as("what it takes").isLessThanOrEqualTo(steps.get(1) + 2);
        world.assertLeft(Set.of("base"), Set.of(sandbox.id()));
    }

    private Sandbox resumedOr(Sandbox sandbox) {
        return look(sandbox.id()) instanceof Running running ? running.sandbox() : sandbox;
    }

    @Test
    void kill_ends_what_is_paused() throws Exception {
        Sandbox sandbox = spawn();
        world.pause(sandbox.id());
        world.kill(world.engine, sandbox.id());
        assertThat(world.sandboxes()).isEmpty();
        assertThat(kept()).isEmpty();
        world.assertLeft(Set.of("base"), Set.of());
    }

    @Test
    void whatever_goes_wrong_it_runs_or_is_paused_and_has_lost_nothing() throws Exception {
        boolean more = true;
        for (int at = 1; more; at++) {
            for (Fault fault : List.of(new Fault.Fails(EIO), Fault.DIES)) {
                more = goesWrong(at, fault);
            }
        }
    }

    /** Of both together; false when they have not so many steps. */
    private boolean goesWrong(int at, Fault fault) throws Exception {
        Sandbox sandbox = spawn();
        World.set(sandbox, "worked");
        List<Step> hit = new ArrayList<>();
        world.vmm.plan((number, step) -> {
            if (number == at) {
                hit.add(step);
            }
            return number == at ? fault : Fault.NONE;
        });
        boolean paused = false;
        try {
            world.pause(sandbox.id());
            paused = true;
            world.resume(sandbox.id());
        } catch (ForkdException e) {
            assertThat(hit).as(e.getMessage()).isNotEmpty();
        }
        world.vmm.plan((number, step) -> Fault.NONE);
        world.engine.sweep();
        String what = fault + " at step " + at + ", " + hit;
        // One whose process is killed before it is paused, or after it was resumed, is gone, as any that is killed.
        if (!fault.equals(Fault.DIES)) {
            assertThat(world.sandboxes()).as(what).containsExactly(sandbox.id());
        }
        if (!world.sandboxes().isEmpty()) {
            assertThat(World.text(world.resume(sandbox.id()).vsock())).as(what).isEqualTo("worked");
            world.assertLeft(Set.of("base"), Set.of(sandbox.id()));
            world.pause(sandbox.id());
            assertThat(World.text(world.resume(sandbox.id()).vsock())).as(what).isEqualTo("worked");
        } else {
            assertThat(paused && hit.contains(Step.FORK)).as(what).isFalse();
        }
        world.killAll();
        assertThat(kept()).as(what).isEmpty();
        world.assertLeft(Set.of("base"), Set.of());
        return !hit.isEmpty();
    }

    @Test
    void one_that_stands_still_is_paused_although_nobody_has_ended_it() throws Exception {
        Sandbox sandbox = spawn();
        World.set(sandbox, "worked");
        MemoryVmm killed = world.vmm.beside();
        Engine other = world.on(killed);
        killed.plan((number, step) -> {
            if (step == Step.KILL) {
                throw new Killed();
            }
            return Fault.NONE;
        });
        assertThatThrownBy(() -> other.pause(sandbox.id(), World.call())).isInstanceOf(Killed.class);
        assertThat(world.vmm.vms()).isEqualTo(1);
        assertThat(look(sandbox.id())).isInstanceOf(Paused.class);
        assertThat(world.sandboxes()).containsExactly(sandbox.id());
        world.engine.sweep();
        assertThat(world.vmm.vms()).isZero();
        assertThat(sandbox.directory()).doesNotExist();
        assertThat(World.text(world.resume(sandbox.id()).vsock())).isEqualTo("worked");
        world.assertLeft(Set.of("base"), Set.of(sandbox.id()));
    }

    /** As long as its limits have it. */
    @Test
    void one_that_takes_long_to_pause_keeps_nobody_waiting_and_can_be_ended() throws Exception {
        Sandbox sandbox = spawn();
        CountDownLatch begun = new CountDownLatch(1);
        world.vmm.plan((number, step) -> {
            if (step != Step.SNAPSHOT) {
                return Fault.NONE;
            }
            begun.countDown();
            return new Fault.Hangs();
        });
        CompletableFuture<Boolean> pausing = CompletableFuture.supplyAsync(() -> {
            try {
                world.pause(sandbox.id());
                return true;
            } catch (ForkdException e) {
                return false; // It was ended.
            }
        });
        begun.await();
        Engine other = world.beside();
        CompletableFuture.runAsync(other::sweep).get(20, TimeUnit.SECONDS);
        List<Optional<ForkdException>> failures = CompletableFuture.supplyAsync(
                        () -> other.sandboxes().kill(List.of(look(sandbox.id())), World.call()))
                .get(20, TimeUnit.SECONDS);
        assertThat(failures).containsExactly(Optional.empty());
        assertThat(pausing.get(20, TimeUnit.SECONDS)).isNotNull();
        assertThat(kept()).isEmpty();
        world.assertLeft(Set.of("base"), Set.of());
    }

    @Test
    void one_that_was_being_resumed_when_its_forkd_was_killed_stays_paused() throws Exception {
        Sandbox sandbox = spawn();
        World.set(sandbox, "worked");
        world.pause(sandbox.id());
        MemoryVmm killed = world.vmm.beside();
        Engine other = world.on(killed);
        killed.plan((number, step) -> {
            if (step == Step.AWAIT_ANY) {
                throw new Killed();
            }
            return Fault.NONE;
        });
        assertThatThrownBy(() -> other.resume(sandbox.id(), World.call())).isInstanceOf(Killed.class);
        assertThat(look(sandbox.id())).isInstanceOf(Paused.class);
        assertThat(World.text(world.resume(sandbox.id()).vsock())).isEqualTo("worked");
        world.assertLeft(Set.of("base"), Set.of(sandbox.id()));
    }

    @Test
    void what_one_was_resumed_from_is_not_there_when_that_has_ended() throws Exception {
        Sandbox sandbox = spawn();
        world.pause(sandbox.id());
        Path copy = Files.createDirectory(world.paused().resolve("copy"));
        try (Stream<Path> files = Files.list(world.paused().resolve(sandbox.id()))) {
            for (Path file : files.toList()) {
                Files.copy(file, copy.resolve(file.getFileName()));
            }
        }
        Sandbox resumed = world.resume(sandbox.id());
        // As if its forkd had been killed before it removed that.
        Files.move(copy, world.paused().resolve(sandbox.id()));
        assertThat(look(sandbox.id())).isInstanceOf(Running.class);
        world.vmm.killed(resumed.pid());
        assertThat(world.sandboxes()).isEmpty();
        world.engine.sweep();
        assertThat(kept()).isEmpty();
        assertThat(world.sandboxes()).isEmpty();
    }

    @Test
    void many_at_once_each_do_what_they_are_told() throws Exception {
        Sandbox sandbox = spawn();
        World.set(sandbox, "worked");
        List<Engine> engines = List.of(world.engine, world.beside(), world.beside());
        List<Optional<RuntimeException>> failures = Parallel.map(List.of(0, 1, 2, 3, 4, 5, 6, 7, 8), i -> {
            try {
                for (int round = 0; round < 5; round++) {
                    Engine engine = engines.get((i + round) % 3);
                    if ((i + round) % 2 == 0) {
                        engine.pause(sandbox.id(), World.call());
                    } else {
                        engine.resume(sandbox.id(), World.call());
                    }
                }
                return Optional.empty();
            } catch (RuntimeException e) {
                return Optional.of(e);
            }
        });
        assertThat(failures)
                .allSatisfy(failure -> assertThat(failure)
                        .satisfiesAnyOf(
                                none -> assertThat(none).isEmpty(),
                                busy -> assertThat(busy.orElseThrow())
                                        .isInstanceOfSatisfying(
                                                ForkdException.class,
                                                e -> assertThat(e.kind()).isIn(Kind.CONFLICT, Kind.FAILED))));
        assertThat(World.text(world.resume(sandbox.id()).vsock())).isEqualTo("worked");
        world.assertLeft(Set.of("base"), Set.of(sandbox.id()));
    }

    /** As of kill -9, which no code hears of. */
    private static final class Killed extends Error {
        private static final long serialVersionUID = 1;
    }
}
