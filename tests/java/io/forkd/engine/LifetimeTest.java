package io.forkd.engine;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.sandbox.Found;
import io.forkd.sandbox.Found.Paused;
import io.forkd.sandbox.Found.Running;
import io.forkd.sandbox.Lifetime;
import io.forkd.sandbox.Sandbox;
import io.forkd.vmm.MemoryVmm.Fault;
import io.forkd.vmm.MemoryVmm.Step;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.attribute.FileTime;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** Sandboxes whose time is over. */
class LifetimeTest {
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

    private static Lifetime lifetime(int ttl, int idle, boolean pause, boolean wake) {
        return Lifetime.of(time(ttl), time(idle), pause, wake);
    }

    private static Optional<Duration> time(int seconds) {
        return seconds == 0 ? Optional.empty() : Optional.of(Duration.ofSeconds(seconds));
    }

    private Sandbox spawn(Lifetime lifetime) {
        return world.engine
                .spawn(World.spawning("base", 1).living(lifetime), World.call())
                .get(0);
    }

    /** As if all of it had been so long ago. */
    private static void age(Sandbox sandbox, int seconds) throws IOException {
        Instant then = sandbox.lifetime().since().minusSeconds(seconds);
        sandbox.withLifetime(sandbox.lifetime().begun(then)).write();
        if (Files.exists(Lifetimes.used(sandbox.directory()))) {
            Files.setLastModifiedTime(
                    Lifetimes.used(sandbox.directory()),
                    FileTime.from(Instant.now().minusSeconds(seconds)));
        }
    }

    private static void await(BooleanSupplier check) throws InterruptedException {
        long end = System.nanoTime() + 30_000_000_000L;
        while (!check.getAsBoolean() && System.nanoTime() < end) {
            Thread.sleep(5);
        }
        assertThat(check.getAsBoolean()).isTrue();
    }

    private void use(Engine by, String id) {
        by.use(id, World.call()).close();
    }

    private List<Found> all() {
        return world.engine.sandboxesInTime();
    }

    @Test
    void it_is_kept_with_the_sandbox_and_costs_one_without_it_nothing() {
        Lifetime lifetime = lifetime(100, 50, true, true);
        Sandbox sandbox = spawn(lifetime);
        assertThat(Sandbox.read(sandbox.directory())).contains(sandbox);
        assertThat(sandbox.lifetime().ttl()).isEqualTo(lifetime.ttl());
        assertThat(sandbox.lifetime().end()).contains(sandbox.createdAt().plusSeconds(100));
        Sandbox endless = spawn(Lifetime.ENDLESS);
        use(world.engine, endless.id());
        assertThat(Lifetimes.used(endless.directory())).doesNotExist();
        assertThat(endless.lifetime()).isEqualTo(Lifetime.ENDLESS);
        assertThatThrownBy(() -> lifetime(0, 0, true, false)).hasMessageContaining("neither");
    }

    @Test
    void whoever_looks_ends_or_pauses_those_whose_time_is_over() throws Exception {
        Sandbox ends = spawn(lifetime(100, 0, false, false));
        Sandbox sleeps = spawn(lifetime(100, 0, true, false));
        Sandbox idle = spawn(lifetime(1000, 50, true, false));
        Sandbox lives = spawn(lifetime(1000, 500, false, false));
        for (Sandbox each : List.of(ends, sleeps, idle, lives)) {
            age(each, 99);
            use(world.engine, lives.id());
        }
        assertThat(all())
                .extracting(Found::id)
                .containsExactlyInAnyOrder(ends.id(), sleeps.id(), idle.id(), lives.id());
        assertThat(world.engine.sandboxes().findAny(idle.id())).isInstanceOf(Paused.class);
        age(ends, 100);
        age(sleeps, 100);
        assertThat(all()).extracting(Found::id).containsExactlyInAnyOrder(sleeps.id(), idle.id(), lives.id());
        assertThat(world.engine.sandboxes().findAny(sleeps.id())).isInstanceOf(Paused.class);
        assertThat(world.engine.sandboxes().findAny(lives.id())).isInstanceOf(Running.class);
    }

    @Test
    void one_that_is_used_is_not_idle_however_long_that_takes() throws Exception {
        Sandbox sandbox = spawn(lifetime(0, 50, false, false));
        Engine other = world.beside();
        try (Engine.Use used = other.use(sandbox.id(), World.call())) {
            assertThat(used.sandbox().id()).isEqualTo(sandbox.id());
            age(sandbox, 100);
            assertThat(all()).hasSize(1);
        }
        assertThat(all()).as("it was used until now").hasSize(1);
        age(sandbox, 100);
        assertThat(all()).isEmpty();
        world.assertLeft(Set.of("base"), Set.of());
    }

    @Test
    void use_of_one_whose_time_is_over_finds_it_ended_or_wakes_it() throws Exception {
        Sandbox ends = spawn(lifetime(100, 0, false, false));
        age(ends, 200);
        assertThatThrownBy(() -> use(world.engine, ends.id()))
                .isInstanceOfSatisfying(
                        ForkdException.class, e -> assertThat(e.kind()).isEqualTo(Kind.NOT_FOUND));
        Sandbox sleeps = spawn(lifetime(100, 0, true, false));
        age(sleeps, 200);
        assertThatThrownBy(() -> use(world.engine, sleeps.id()))
                .isInstanceOfSatisfying(
                        ForkdException.class, e -> assertThat(e.kind()).isEqualTo(Kind.CONFLICT));
        Sandbox wakes = spawn(lifetime(100, 0, true, true));
        World.set(wakes, "worked");
        age(wakes, 200);
        use(world.engine, wakes.id());
        Sandbox awake = world.engine.sandboxes().find(wakes.id());
        assertThat(World.text(awake.vsock())).isEqualTo("worked");
        assertThat(awake.lifetime().since())
                .as("its time begins anew")
                .isAfter(wakes.lifetime().since());
        world.engine.branch(World.branching(wakes.id(), "new", false, false), World.call());
        world.pause(wakes.id());
        world.engine.branch(World.branching(wakes.id(), "other", false, false), World.call());
        assertThat(world.engine.sandboxes().findAny(wakes.id())).isInstanceOf(Running.class);
    }

    @Test
    void it_can_be_changed_of_one_that_runs_and_of_one_that_is_paused() throws Exception {
        Sandbox sandbox = spawn(lifetime(100, 0, false, false));
        age(sandbox, 200);
        world.engine.setLifetime(sandbox.id(), lifetime(100, 0, false, false));
        assertThat(all()).as("it begins anew").hasSize(1);
        world.pause(sandbox.id());
        world.engine.setLifetime(sandbox.id(), lifetime(0, 70, true, true));
        assertThat(all()).hasOnlyElementsOfType(Paused.class);
        use(world.engine, sandbox.id());
        assertThat(world.engine.sandboxes().find(sandbox.id()).lifetime().idle())
                .contains(Duration.ofSeconds(70));
        world.engine.setLifetime(sandbox.id(), Lifetime.ENDLESS);
        assertThat(world.engine.sandboxes().find(sandbox.id()).lifetime()).isEqualTo(Lifetime.ENDLESS);
    }

    @Test
    void who_is_to_be_frozen_is_in_every_process_that_it_has() throws Exception {
        List<Duration> none = List.of();
        Sandbox sandbox = spawn(lifetime(0, 0, false, false).freezing(time(5)));
        assertThat(world.vmm.frozenAfter()).containsExactly(Duration.ofSeconds(5));
        world.engine.reset(sandbox.id(), World.call());
        assertThat(world.vmm.frozenAfter()).containsExactly(Duration.ofSeconds(5));
        world.pause(sandbox.id());
        world.resume(sandbox.id());
        assertThat(world.vmm.frozenAfter()).containsExactly(Duration.ofSeconds(5));
        world.pause(sandbox.id());
        world.engine.setLifetime(sandbox.id(), lifetime(100, 0, false, false).freezing(time(7)));
        assertThat(world.vmm.frozenAfter()).isEqualTo(none);
        world.resume(sandbox.id());
        assertThat(world.vmm.frozenAfter()).containsExactly(Duration.ofSeconds(7));
        world.engine.setLifetime(sandbox.id(), lifetime(100, 0, false, false));
        assertThat(world.vmm.frozenAfter()).isEqualTo(none);
        world.engine.fork(sandbox.id(), World.spawning("base", 1).living(Lifetime.ENDLESS), World.call());
        assertThat(world.vmm.frozenAfter()).isEqualTo(none);
    }

    @Test
    void one_that_cannot_be_told_to_freeze_is_not_made() {
        world.vmm.plan((number, step) -> step == Step.FREEZE ? new Fault.Fails(-5) : Fault.NONE);
        Lifetime lifetime = lifetime(0, 0, false, false).freezing(time(5));
        assertThatThrownBy(() -> spawn(lifetime))
                .isInstanceOf(ForkdException.class)
                .hasMessageContaining("as planned");
        assertThat(world.vmm.vms()).isZero();
        world.vmm.plan((number, step) -> Fault.NONE);
    }

    @Test
    void a_service_does_it_in_time_whoever_made_or_changed_them() throws Exception {
        Engine other = world.beside();
        Sandbox before = spawn(lifetime(1, 0, true, false));
        try (AutoCloseable following = world.engine.follow()) {
            assertThat(following).isNotNull();
            Sandbox ours = spawn(lifetime(1, 0, false, false));
            Sandbox theirs = other.spawn(World.spawning("base", 1).living(lifetime(0, 1, true, false)), World.call())
                    .get(0);
            Sandbox changed = spawn(Lifetime.ENDLESS);
            other.setLifetime(changed.id(), lifetime(1, 0, false, false));
            await(() -> !world.sandboxes().contains(ours.id())
                    && !world.sandboxes().contains(changed.id())
                    && isPaused(before)
                    && isPaused(theirs));
            assertThat(world.sandboxes()).containsExactlyInAnyOrder(before.id(), theirs.id());
        }
    }

    private Sandbox spawnFor(String owner, Lifetime lifetime) {
        Call call = World.call();
        call.setOwner(Optional.of(owner));
        return world.engine
                .spawn(World.spawning("base", 1).living(lifetime), call)
                .get(0);
    }

    /** Its owner may have given it a byte a second for that. */
    @Test
    void one_that_takes_long_to_pause_keeps_no_other_from_its_end() throws Exception {
        List<Sandbox> slow = new ArrayList<>();
        for (int i = 0; i < 10; i++) {
            slow.add(spawnFor("anna", lifetime(1, 0, true, false)));
            age(slow.get(i), 100);
        }
        CountDownLatch written = new CountDownLatch(1);
        world.vmm.plan((number, step) -> {
            if (step == Step.SNAPSHOT) {
                awaitUninterruptibly(written);
            }
            return Fault.NONE;
        });
        try (AutoCloseable following =
                CompletableFuture.supplyAsync(world.engine::follow).get(30, TimeUnit.SECONDS)) {
            assertThat(following).isNotNull();
            Sandbox other = spawnFor("bert", lifetime(1, 0, false, false));
            await(() -> !world.sandboxes().contains(other.id()));
            written.countDown();
            await(() -> slow.stream().allMatch(this::isPaused));
        } finally {
            written.countDown();
        }
    }

    private static void awaitUninterruptibly(CountDownLatch latch) {
        try {
            latch.await(2, TimeUnit.MINUTES);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    private boolean isPaused(Sandbox sandbox) {
        return world.engine.sandboxes().isPaused(sandbox.id());
    }

    @Test
    void one_that_cannot_be_paused_goes_on() throws Exception {
        Sandbox sandbox = spawn(lifetime(100, 0, true, false));
        age(sandbox, 200);
        world.vmm.plan((number, step) -> step == Step.SNAPSHOT ? new Fault.Fails(-28) : Fault.NONE);
        assertThat(all()).hasOnlyElementsOfType(Running.class);
        world.vmm.plan((number, step) -> Fault.NONE);
        assertThat(all()).hasOnlyElementsOfType(Paused.class);
    }
}
