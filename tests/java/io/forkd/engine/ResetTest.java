package io.forkd.engine;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.sandbox.Lifetime;
import io.forkd.sandbox.Naming;
import io.forkd.sandbox.Sandbox;
import io.forkd.vmm.MemoryVmm.Fault;
import io.forkd.vmm.MemoryVmm.Step;
import java.io.IOException;
import java.time.Duration;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.atomic.AtomicBoolean;
import org.assertj.core.api.InstanceOfAssertFactories;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** Sandboxes that are put back to their snapshot, and those that cannot be. */
class ResetTest {
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
        return spawn("base");
    }

    private Sandbox spawn(String tag) {
        return world.engine.spawn(World.spawning(tag, 1), World.call()).get(0);
    }

    private void assertRefused(Sandbox sandbox, String why) {
        assertThatThrownBy(() -> world.engine.reset(sandbox.id(), World.call()))
                .isInstanceOf(ForkdException.class)
                .hasMessageContaining("the sandbox '" + sandbox.id() + "' cannot be reset: ")
                .hasMessageContaining(why)
                .asInstanceOf(InstanceOfAssertFactories.type(ForkdException.class))
                .extracting(ForkdException::kind)
                .isEqualTo(Kind.CONFLICT);
    }

    @Test
    void what_its_guest_did_is_gone_and_all_that_it_was_given_stays() throws Exception {
        Lifetime lifetime = Lifetime.of(Optional.of(Duration.ofHours(1)), Optional.empty(), false, false);
        Naming naming = new Naming(Optional.of("web"), Map.of("tier", "one"));
        Sandbox sandbox = world.engine
                .spawn(World.spawning("base", 1).living(lifetime).called(naming), World.call())
                .get(0);
        String first = World.text(sandbox.vsock());
        for (int i = 0; i < 3; i++) {
            World.set(sandbox, "worked");
            assertThat(world.engine.reset(sandbox.id(), World.call())).isEqualTo(sandbox);
            assertThat(World.text(sandbox.vsock())).isEqualTo(first);
        }
        assertThat(world.engine.sandboxes().find(sandbox.id())).isEqualTo(sandbox);
        assertThat(world.vmm.vms()).isEqualTo(1);
        world.assertLeft(Set.of("base"), Set.of(sandbox.id()));
    }

    @Test
    void child_of_what_another_became_goes_back_to_that() throws Exception {
        Sandbox sandbox = spawn();
        World.set(sandbox, "worked");
        world.engine.branch(World.branching(sandbox.id(), "new", false, true), World.call());
        world.vmm.awaitWriters();
        world.vmm.endIdleServers();
        Sandbox child = spawn("new");
        World.set(child, "worked on");
        world.engine.reset(child.id(), World.call());
        assertThat(World.text(child.vsock())).isEqualTo("worked");
        assertThat(World.text(sandbox.vsock())).isEqualTo("worked");
    }

    @Test
    void fork_of_one_that_runs_is_refused_and_goes_on() throws Exception {
        Sandbox source = spawn();
        Sandbox fork = world.engine
                .fork(source.id(), World.spawning("base", 1), World.call())
                .get(0);
        World.set(fork, "worked");
        assertRefused(fork, ""); // by its monitor, or because of its memory
        assertThat(World.text(fork.vsock())).isEqualTo("worked");
    }

    @Test
    void one_that_was_paused_is_refused_and_so_is_one_that_is() throws Exception {
        Sandbox sandbox = spawn();
        World.set(sandbox, "worked");
        world.pause(sandbox.id());
        assertThatThrownBy(() -> world.engine.reset(sandbox.id(), World.call()))
                .isInstanceOf(ForkdException.class)
                .hasMessageContaining("is paused");
        Sandbox resumed = world.resume(sandbox.id());
        assertRefused(resumed, "it was paused");
        assertThat(World.text(resumed.vsock())).isEqualTo("worked");
    }

    @Test
    void monitor_that_refuses_leaves_it_as_it_is() throws Exception {
        Sandbox sandbox = spawn();
        World.set(sandbox, "worked");
        world.vmm.plan((number, step) -> step == Step.RESET ? new Fault.Fails(EIO) : Fault.NONE);
        assertRefused(sandbox, "as planned");
        world.vmm.plan((number, step) -> Fault.NONE);
        assertThat(World.text(sandbox.vsock())).isEqualTo("worked");
        world.engine.reset(sandbox.id(), World.call());
        assertThat(World.text(sandbox.vsock())).isNotEqualTo("worked");
    }

    @Test
    void one_whose_process_dies_of_it_has_ended_and_leaves_nothing() {
        for (Step deadly : new Step[] {Step.RESET, Step.AWAIT}) {
            Sandbox sandbox = spawn();
            AtomicBoolean asked = new AtomicBoolean();
            world.vmm.plan((number, step) -> {
                asked.compareAndSet(false, step == Step.RESET);
                return asked.get() && step == deadly ? Fault.DIES : Fault.NONE;
            });
            assertThatThrownBy(() -> world.engine.reset(sandbox.id(), World.call()))
                    .isInstanceOf(ForkdException.class)
                    .hasMessageContaining("ended when it was reset");
            world.vmm.plan((number, step) -> Fault.NONE);
            assertThat(world.engine.sandboxes().sweep()).isEmpty();
            assertThat(sandbox.directory()).doesNotExist();
        }
    }

    @Test
    void one_that_nobody_knows_is_not_there() {
        assertThatThrownBy(() -> world.engine.reset("sb-00000000-00000000", World.call()))
                .isInstanceOf(ForkdException.class)
                .hasMessageContaining("there is no sandbox");
    }
}
