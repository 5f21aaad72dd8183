package io.forkd.engine;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.forkd.ForkdException;
import io.forkd.Limits;
import io.forkd.Remedy;
import io.forkd.files.Trees;
import io.forkd.network.NetWorld;
import io.forkd.network.NetworkPolicy;
import io.forkd.network.Networks;
import io.forkd.sandbox.Sandbox;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Networks of children from call to end: real namespaces, and VMs in memory. */
class NetworksTest {
    private static final NetworkPolicy NARROW = NetworkPolicy.parse(List.of("1.1.1.0/24:443"));

    @TempDir
    static Path scratch;

    private static NetWorld net;
    private Networks networks;
    private World world;

    @BeforeAll
    static void start() throws IOException {
        net = new NetWorld(scratch);
    }

    @AfterAll
    static void stop() {
        net.close();
    }

    @BeforeEach
    void begin() throws IOException {
        networks = net.networks();
        world = new World(networks);
        world.engine.snapshot(world.booting("base", false), World.call());
    }

    @AfterEach
    void end() throws IOException {
        world.killAll();
        networks.tearDown(true);
        assertThat(net.left()).isEmpty();
        networks.close();
        Trees.delete(net.foreign());
        world.close();
    }

    private static SpawnRequest asking(String tag, int count, NetworkRequest network) {
        return new SpawnRequest(World.tag(tag), count, network, Limits.NONE, VolumeConflict.FAIL);
    }

    private List<Sandbox> spawn(String tag, int count, NetworkRequest network) {
        return world.engine.spawn(asking(tag, count, network), World.call());
    }

    private static NetworkRequest with(NetworkPolicy policy) {
        return new NetworkRequest(false, Optional.of(policy));
    }

    private static List<String> names(List<Sandbox> sandboxes) {
        return sandboxes.stream().map(sandbox -> sandbox.netns().orElse("-")).toList();
    }

    @Test
    void each_sandbox_has_one_until_it_ends() {
        List<Sandbox> made = spawn("base", 3, NetworkRequest.own(true));
        assertThat(names(made)).containsExactly("forkd-child-1", "forkd-child-2", "forkd-child-3");
        assertThat(made.get(0).network()).contains(NetworkPolicy.INTERNET);
        assertThat(net.left()).contains("forkd-child-1", "forkd-n1", "forkd-child-3", "table inet forkd");
        world.kill(world.engine, made.get(1).id());
        assertThat(net.left()).contains("forkd-child-1", "forkd-child-3").doesNotContain("forkd-child-2", "forkd-n2");
        assertThat(names(spawn("base", 2, NetworkRequest.own(true)))).containsExactly("forkd-child-2", "forkd-child-4");
        world.killAll();
        assertThat(net.left()).isEmpty();
    }

    @Test
    void children_of_a_fork_have_them_until_it_ends() {
        ForkRequest request = new ForkRequest(
                World.tag("base"), 2, with(NARROW), Limits.NONE, VolumeConflict.FAIL, true, true, false);
        List<String> names = new ArrayList<>();
        try (Fork fork = world.engine.fork(request, World.call())) {
            fork.awaitReady(child -> names.add(child.netns().orElse("-")));
            assertThat(names).containsExactlyInAnyOrder("forkd-child-1", "forkd-child-2");
            assertThat(net.left()).contains("forkd-child-2");
        }
        assertThat(net.left()).isEmpty();
    }

    @Test
    void those_of_others_are_used_as_they_are_and_stay() throws IOException {
        Files.createDirectories(net.foreign());
        Files.createFile(net.foreign().resolve("forkd-child-2"));
        List<Sandbox> made = spawn("base", 2, NetworkRequest.own(true));
        assertThat(names(made)).containsExactly("forkd-child-2", "forkd-child-1");
        assertThat(made.get(0).network()).isEmpty();
        assertThat(made.get(1).network()).contains(NetworkPolicy.INTERNET);
        assertThatThrownBy(() -> world.engine.sandboxes().setNetwork(made.get(0).id(), present -> NetworkPolicy.NONE))
                .isInstanceOf(ForkdException.class)
                .hasMessageContaining("forkd-child-2");
        // One with a policy is of ours.
        assertThat(names(spawn("base", 1, with(NARROW)))).containsExactly("forkd-child-3");
        world.killAll();
        assertThat(net.foreign().resolve("forkd-child-2")).exists();
    }

    /** What others made reaches what they like, and so does the host's tap device. */
    @Test
    void users_have_networks_of_ours_whatever_there_is_beside() throws IOException {
        Files.createDirectories(net.foreign());
        Files.createFile(net.foreign().resolve("forkd-child-1"));
        SnapshotRequest unconnected = world.booting("connected", false);
        world.engine.snapshot(
                new SnapshotRequest(
                        unconnected.tag(),
                        unconnected.kernel(),
                        unconnected.rootfs(),
                        unconnected.writableRoot(),
                        Optional.of(Networks.TAP),
                        unconnected.memoryMib(),
                        unconnected.vcpus(),
                        unconnected.limits(),
                        unconnected.volumes(),
                        unconnected.volumeConflict(),
                        unconnected.warm(),
                        unconnected.bootWait(),
                        unconnected.replace(),
                        unconnected.keepWork()),
                World.call());
        for (NetworkRequest request : List.of(NetworkRequest.OF_HOST, NetworkRequest.own(true))) {
            Call call = World.call();
            call.setOwner(Optional.of("anna"));
            Sandbox made =
                    world.engine.spawn(asking("connected", 1, request), call).get(0);
            assertThat(made.netns()).isPresent().isNotEqualTo(Optional.of("forkd-child-1"));
            assertThat(made.network()).contains(NetworkPolicy.INTERNET);
        }
    }

    @Test
    void a_branch_has_its_policy_and_no_wider_one_until_somebody_sets_it() {
        Sandbox source = spawn("base", 1, with(NARROW)).get(0);
        world.engine.branch(World.branching(source.id(), "b", false, false), World.call());
        Sandbox child = spawn("b", 1, NetworkRequest.OF_HOST).get(0);
        assertThat(child.network()).contains(NARROW);
        assertThat(child.netns()).isPresent();
        assertThat(spawn("b", 1, with(NetworkPolicy.NONE)).get(0).network()).contains(NetworkPolicy.NONE);
        assertThatThrownBy(() -> spawn("b", 1, with(NetworkPolicy.INTERNET)))
                .isInstanceOf(ForkdException.class)
                .hasMessageContaining("1.1.1.0/24:443");
        // And so has a branch of the branch.
        Sandbox wider = world.engine.sandboxes().setNetwork(child.id(), present -> NetworkPolicy.INTERNET);
        assertThat(wider.network()).contains(NetworkPolicy.INTERNET);
        world.engine.branch(World.branching(child.id(), "c", false, false), World.call());
        assertThat(spawn("c", 1, NetworkRequest.OF_HOST).get(0).network()).contains(NetworkPolicy.INTERNET);
    }

    @Test
    void without_a_network_of_its_own_there_is_no_policy() {
        Sandbox made = spawn("base", 1, NetworkRequest.OF_HOST).get(0);
        assertThatThrownBy(() -> world.engine.sandboxes().setNetwork(made.id(), present -> NetworkPolicy.NONE))
                .isInstanceOfSatisfying(
                        ForkdException.class, e -> assertThat(e.remedy()).isEqualTo(Remedy.Action.OWN_NETWORKS));
    }

    @Test
    void a_policy_that_cannot_be_written_down_is_not_in_force() throws IOException {
        Sandbox made = spawn("base", 1, with(NARROW)).get(0);
        String name = made.netns().orElseThrow();
        assertThat(net.ask("guest " + name)).isEqualTo("ok");
        Path staged = Files.createDirectory(made.directory().resolve(".sandbox.json")); // where it is written first
        for (NetworkPolicy other : List.of(NetworkPolicy.NONE, NetworkPolicy.INTERNET)) {
            assertThatThrownBy(() -> world.engine.sandboxes().setNetwork(made.id(), present -> other))
                    .isInstanceOf(ForkdException.class)
                    .hasMessageContaining("sandbox.json");
            assertThat(net.ask("tcp " + name + " 1.1.1.1 443")).isEqualTo("open");
            assertThat(net.ask("tcp " + name + " 8.8.8.8 443")).isEqualTo("refused");
        }
        Files.delete(staged);
    }

    @Test
    void what_fails_leaves_none() {
        assertThatThrownBy(() -> spawn("nobody", 1, NetworkRequest.own(true))).isInstanceOf(ForkdException.class);
        assertThat(net.left()).isEmpty();
        Networks broken = net.networks("/nonexistent/forkd-net");
        assertThatThrownBy(() -> world.beside(broken).spawn(asking("base", 1, NetworkRequest.own(true)), World.call()))
                .isInstanceOf(ForkdException.class)
                .hasMessageContaining("/nonexistent/forkd-net");
        world.engine.sweep();
        assertThat(net.left()).isEmpty();
    }

    /** As in a container, and in a unit that protects it. */
    @Test
    void where_proc_sys_is_read_only_what_to_do_is_said() throws IOException {
        Path program = Files.writeString(
                scratch.resolve("read-only"),
                "#!/bin/sh\nexec unshare --mount sh -c 'mount --bind /proc/sys /proc/sys &&"
                        + " mount -o remount,bind,ro /proc/sys && exec "
                        + Path.of("build/forkd-net").toAbsolutePath() + "'\n");
        assertThat(program.toFile().setExecutable(true)).isTrue();
        try (Networks closed = net.networks(program.toString())) {
            assertThatThrownBy(
                            () -> world.beside(closed).spawn(asking("base", 1, NetworkRequest.own(true)), World.call()))
                    .isInstanceOfSatisfying(
                            ForkdException.class,
                            e -> assertThat(e.remedy()).asString().contains("ProtectKernelTunables="));
        }
        world.engine.sweep();
        assertThat(net.left()).isEmpty();
    }

    @Test
    void what_the_dead_had_is_taken_back() throws IOException {
        // Of a process that died after it had taken some, and of one that died while it made some to have them ready.
        Path gone = scratch.resolve("gone");
        networks.take(List.of(gone, gone), NARROW);
        Files.createDirectories(net.root.resolve("maker-1-00000000"));
        networks.take(List.of(net.root.resolve("maker-1-00000000")), NARROW);
        assertThat(net.left()).contains("forkd-child-1", "forkd-child-3");
        world.engine.sweep();
        assertThat(net.left()).isEmpty();
    }

    @Test
    void listing_takes_back_what_a_run_that_was_killed_had() throws IOException {
        Path run = Files.createDirectories(world.engine.runtime().root().resolve("fork-1-00000000"));
        networks.take(List.of(run), NARROW);
        world.engine.sandboxes().sweep();
        assertThat(run).doesNotExist();
        assertThat(net.left()).isEmpty();
    }

    @Test
    void so_many_are_ready_as_are_wanted() {
        networks.setUp(3, Optional.empty());
        assertThat(networks.status().ready()).hasSize(3);
        List<Sandbox> made = spawn("base", 2, with(NARROW));
        assertThat(networks.status().ready()).hasSize(1);
        assertThat(networks.status().used()).hasSize(2);
        networks.fill();
        assertThat(networks.status().ready()).hasSize(3);
        made.forEach(sandbox -> world.kill(world.engine, sandbox.id()));
        assertThat(networks.status().ready()).hasSize(3);
        assertThat(networks.status().used()).isEmpty();
        assertThat(net.left().lines().filter(line -> line.startsWith("forkd-n")))
                .hasSize(3);
        spawn("base", 1, NetworkRequest.own(true));
        assertThatThrownBy(() -> networks.tearDown(false)).isInstanceOf(ForkdException.class);
        world.killAll();
        networks.tearDown(false);
        assertThat(net.left()).isEmpty();
    }

    /** A process that a guest has taken over may have forked others, which live on with what it had open. */
    @Test
    void what_still_has_a_tap_has_no_other_sandboxes_network() throws IOException {
        networks.setUp(1, Optional.empty());
        Sandbox made = spawn("base", 1, with(NetworkPolicy.NONE)).get(0);
        String name = made.netns().orElseThrow();
        Process helper = net.holdTap(name);
        try {
            world.kill(world.engine, made.id());
            assertThat(networks.status().ready()).isEmpty();
            assertThat(net.left()).doesNotContain(name);
        } finally {
            helper.destroyForcibly();
        }
    }

    @Test
    void rules_that_somebody_flushed_are_set_again() {
        spawn("base", 1, NetworkRequest.own(true));
        net.ask("run nft flush ruleset");
        assertThat(net.left()).doesNotContain("table inet forkd");
        spawn("base", 1, NetworkRequest.own(true));
        assertThat(net.left()).contains("table inet forkd");
    }
}
