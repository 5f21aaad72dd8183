package io.forkd.engine;

import static org.assertj.core.api.Assertions.assertThat;

import io.forkd.Limit;
import io.forkd.Limits;
import io.forkd.sandbox.Sandbox;
import java.util.List;
import java.util.Map;
import java.util.OptionalLong;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** From whom a VM has its limits. */
class LimitsTest {
    private static final Limits SNAPSHOT = new Limits(Map.of(Limit.DISK, 100L, Limit.NET_BYTES, 7L));
    private static final Limits OWN = new Limits(Map.of(Limit.NET_BYTES, 0L, Limit.VSOCK_CONNECTIONS, 3L));
    private static final Limits BOTH =
            new Limits(Map.of(Limit.DISK, 100L, Limit.NET_BYTES, 0L, Limit.VSOCK_CONNECTIONS, 3L));

    private World world;

    @BeforeEach
    void make() throws Exception {
        world = new World();
        world.engine.snapshot(world.booting("base", false, List.of(), SNAPSHOT), World.call());
    }

    @AfterEach
    void end() throws Exception {
        world.close();
    }

    private static SpawnRequest spawning(String tag, Limits limits) {
        return new SpawnRequest(
                World.tag(tag), 1, NetworkRequest.OF_HOST, OptionalLong.empty(), limits, VolumeConflict.FAIL);
    }

    private Limits last() {
        List<Limits> all = world.vmm.limits();
        return all.get(all.size() - 1);
    }

    @Test
    void children_have_their_snapshots() throws Exception {
        assertThat(world.vmm.limits().get(0)).isEqualTo(SNAPSHOT);
        Sandbox sandbox =
                world.engine.spawn(spawning("base", Limits.NONE), World.call()).get(0);
        assertThat(last()).isEqualTo(SNAPSHOT);
        assertThat(sandbox.limits()).isEqualTo(SNAPSHOT);
        try (Fork fork = world.engine.fork(World.forking("base", 1), World.call())) {
            fork.awaitReady(child -> {});
        }
        assertThat(last()).isEqualTo(SNAPSHOT);
    }

    @Test
    void branches_have_their_sandboxs_and_what_is_asked_for_comes_first() throws Exception {
        Sandbox sandbox =
                world.engine.spawn(spawning("base", OWN), World.call()).get(0);
        assertThat(last()).isEqualTo(BOTH);
        assertThat(sandbox.limits()).isEqualTo(BOTH);
        world.engine.branch(World.branching(sandbox.id(), "branch", false, false), World.call());
        Sandbox second = world.engine
                .spawn(spawning("branch", Limits.NONE), World.call())
                .get(0);
        assertThat(last()).isEqualTo(BOTH);
        world.engine.branch(World.branching(second.id(), "again", true, false), World.call());
        world.engine.spawn(spawning("again", new Limits(Map.of(Limit.DISK, 0L))), World.call());
        assertThat(last().get(Limit.DISK)).hasValue(0);
        assertThat(last().get(Limit.VSOCK_CONNECTIONS)).hasValue(3);
    }
}
