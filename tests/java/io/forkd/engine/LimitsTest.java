package io.forkd.engine;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.forkd.ForkdException;
import io.forkd.Limit;
import io.forkd.Limits;
import io.forkd.cgroup.Controller;
import io.forkd.sandbox.Sandbox;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.Map;
import java.util.Optional;
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
        return new SpawnRequest(World.tag(tag), 1, NetworkRequest.OF_HOST, limits, VolumeConflict.FAIL);
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

    /** A limit that the kernel keeps is there from the first moment, for a branch's children too; or it is an error. */
    @Test
    void cgroups_come_and_go_with_their_sandboxes_or_nothing_does() throws Exception {
        Limits limits = new Limits(Map.of(Limit.MEMORY, 64L));
        if (world.engine.cgroups().status().missing().contains(Controller.MEMORY)) {
            assertThatThrownBy(() -> world.engine.spawn(spawning("base", limits), World.call()))
                    .isInstanceOf(ForkdException.class)
                    .hasMessageContaining("memory_limit_mib cannot be put in place");
            assertThatThrownBy(
                            () -> world.engine.snapshot(world.booting("none", false, List.of(), limits), World.call()))
                    .hasMessageContaining("memory_limit_mib cannot be put in place");
            world.assertLeft(List.of("base"), List.of());
            return;
        }
        Sandbox sandbox =
                world.engine.spawn(spawning("base", limits), World.call()).get(0);
        Path group = sandbox.cgroup().orElseThrow();
        assertThat(group).isDirectory().hasFileName(sandbox.id());
        assertThat(world.vmm.cgroups()).endsWith(Optional.of(group));
        world.engine.branch(World.branching(sandbox.id(), "branch", false, false), World.call());
        Sandbox child = world.engine
                .spawn(spawning("branch", Limits.NONE), World.call())
                .get(0);
        assertThat(child.cgroup()).hasValue(group.resolveSibling(child.id()));
        world.killAll();
        assertThat(group).doesNotExist();
        world.remove("branch");
        world.engine.sweep();
        assertThat(group.getParent()).doesNotExist();
    }

    @Test
    void fewer_threads_than_a_vm_takes_are_refused() {
        assertThatThrownBy(() ->
                        world.engine.spawn(spawning("base", new Limits(Map.of(Limit.PROCESSES, 4L))), World.call()))
                .hasMessageContaining("pids_limit 4 is too few: a VM with 1 vCPU takes 5 threads");
    }

    @Test
    void what_was_killed_is_told_for_a_day() throws Exception {
        Path root = world.engine.runtime().sandboxes();
        String id = "sb-00000001-00000001";
        new Obituary(id, "it was killed: it used more", Optional.of("ann")).write(root);
        assertThat(world.engine.sandboxes().killed(id))
                .hasValue(new Obituary(id, "it was killed: it used more", Optional.of("ann")));
        assertThat(world.engine.sandboxes().killed()).hasSize(1);
        assertThatThrownBy(() -> world.engine.sandboxes().find(id))
                .hasMessageContaining("there is no sandbox '" + id + "' any more: it was killed: it used more");
        world.engine.sweep();
        assertThat(world.engine.sandboxes().killed(id)).isPresent();
        Files.setLastModifiedTime(
                root.resolve(".killed-" + id), FileTime.from(Instant.now().minus(Duration.ofHours(25))));
        world.engine.sweep();
        assertThat(world.engine.sandboxes().killed(id)).isEmpty();
        assertThat(world.engine.sandboxes().killed()).isEmpty();
    }
}
