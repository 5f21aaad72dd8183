package io.forkd.engine;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.forkd.ForkdException;
import io.forkd.sandbox.Sandbox;
import io.forkd.vmm.MemoryVmm.Fault;
import io.forkd.vmm.MemoryVmm.Step;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** The channels to fork servers that a service keeps. */
class ChannelsTest {
    private World world;
    private AutoCloseable following;

    @BeforeEach
    void follow() throws Exception {
        world = new World();
        following = world.engine.follow();
        world.engine.snapshot(world.booting("base", false), World.call());
        spawn();
    }

    @AfterEach
    void end() throws Exception {
        following.close();
        world.close();
    }

    private Sandbox spawn() {
        return world.engine.spawn(World.spawning("base", 1), World.call()).get(0);
    }

    private List<Step> steps(Runnable job) {
        world.vmm.plan((number, step) -> Fault.NONE);
        job.run();
        return world.vmm.steps();
    }

    @Test
    void one_is_used_again() {
        spawn();
        assertThat(steps(this::spawn)).contains(Step.FORK).doesNotContain(Step.ATTACH_SERVER);
    }

    @Test
    void one_to_a_server_that_has_ended_is_not() throws Exception {
        spawn();
        int pid = ((ServerInfo.Answering) world.engine.servers().get(0)).pid();
        Optional<ProcessHandle> process = ProcessHandle.of(pid);
        world.vmm.killed(pid);
        if (process.isPresent()) {
            process.get().onExit().get();
        }
        assertThat(steps(this::spawn)).contains(Step.SERVE);
        assertThat(world.sandboxes()).hasSize(3);
    }

    @Test
    void one_on_which_something_failed_is_not() {
        spawn();
        world.vmm.plan((number, step) -> step == Step.FORK ? new Fault.Fails(-110) : Fault.NONE);
        assertThatThrownBy(this::spawn).isInstanceOf(ForkdException.class);
        assertThat(steps(this::spawn)).contains(Step.ATTACH_SERVER, Step.FORK);
    }

    @Test
    void none_keeps_a_server_from_ending_for_long() throws Exception {
        following.close();
        following = world.engine.follow(Duration.ofMillis(100));
        spawn();
        world.killAll();
        long end = System.nanoTime() + 60_000_000_000L;
        while (world.vmm.servers() > 0 && System.nanoTime() < end) {
            Thread.sleep(10);
            world.vmm.endIdleServers();
        }
        assertThat(world.vmm.servers()).isZero();
    }
}
