package io.forkd.engine;

import static org.assertj.core.api.Assertions.assertThat;

import io.forkd.sandbox.Sandbox;
import java.util.List;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;

class LiveTest {
    @Test
    void failure_with_one_that_has_ended_keeps_nobody_from_hearing_of_the_next() throws Exception {
        LinkedBlockingQueue<String> told = new LinkedBlockingQueue<>();
        try (World world = new World();
                Live live = new Live(world.vmm.watch(), sandbox -> {
                    told.add(sandbox.id());
                    throw new IllegalStateException("of one");
                })) {
            world.engine.snapshot(world.booting("base", false), World.call());
            List<Sandbox> sandboxes = world.engine.spawn(World.spawning("base", 2), World.call());
            sandboxes.forEach(live::add);
            for (Sandbox sandbox : sandboxes) {
                world.vmm.killed(sandbox.pid());
                assertThat(told.poll(30, TimeUnit.SECONDS)).isEqualTo(sandbox.id());
            }
        }
    }
}
