package io.forkd.cgroup;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.forkd.ForkdException;
import io.forkd.Limit;
import io.forkd.Limits;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.EnumSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/**
 * With the tree that this machine has, whatever is in it: what can be had is had, and what cannot is refused by name. That
 * the tree is found is tried with descriptions of others, too.
 */
class CgroupsTest {
    private static final Limits ALL = new Limits(Map.of(
            Limit.MEMORY,
            64L,
            Limit.CPUS,
            1500L,
            Limit.PROCESSES,
            20L,
            Limit.IO_BYTES,
            1_000_000L,
            Limit.IO_REQUESTS,
            0L));

    @TempDir
    Path directory;

    private final Cgroups cgroups =
            new Cgroups("forkd-test-" + ProcessHandle.current().pid(), List.of());

    @AfterEach
    void leave_nothing() {
        cgroups.sweep(name -> false);
    }

    /** Whether groups can be made at all; where not, that is an error with a remedy. */
    private Optional<Cgroups.Maker> maker() {
        try {
            return Optional.of(cgroups.plainMaker());
        } catch (ForkdException e) {
            assertThat(e.sentence()).contains("cgroup");
            assertThat(e.remedy().toString()).isNotEmpty();
            return Optional.empty();
        }
    }

    @Test
    void group_goes_with_its_folder_and_not_before() {
        maker().ifPresent(maker -> {
            Path one = maker.make("sb-1");
            Path branch = maker.make(Cgroups.name("server", "sb-1"));
            assertThat(Files.exists(one.resolve("cgroup.procs"))).isTrue();
            cgroups.sweep(name -> true);
            assertThat(one).exists();
            cgroups.sweep(name -> name.equals("server"));
            assertThat(one).doesNotExist();
            assertThat(branch).exists();
            cgroups.sweep(name -> name.equals("sb-1"));
            assertThat(branch).doesNotExist();
            assertThat(branch.getParent()).as("with the last").doesNotExist();
            assertThat(maker.make("sb-2")).exists();
        });
    }

    /** A process in a new group, and another that it has made. */
    private Process inhabit(Path group) throws Exception {
        Process process = new ProcessBuilder(
                        "sh", "-c", "echo $$ >\"$0\"/cgroup.procs; sleep 1000 & exec cat", group.toString())
                .start();
        await(() -> Files.readString(group.resolve("cgroup.procs")).lines().count() == 2);
        return process;
    }

    @Test
    void group_goes_with_all_that_is_in_it() throws Exception {
        if (maker().isEmpty()) {
            return;
        }
        Path group = cgroups.plainMaker().make("sb-1");
        Process process = inhabit(group);
        assertThat(cgroups.reaches((int) process.pid())).isTrue();
        assertThat(Usage.of(group)).isPresent();
        assertThat(cgroups.total()).isPresent();
        cgroups.sweep(name -> name.equals("sb-1"));
        assertThat(process.isAlive()).isTrue();

        Cgroups.remove(group);

        assertThat(process.waitFor(10, TimeUnit.SECONDS)).isTrue();
        assertThat(group).doesNotExist();
        assertThat(Usage.of(group)).isEmpty();
        assertThat(Usage.ranOutOfMemory(group)).isFalse();
    }

    @Test
    void group_of_no_folder_goes_with_all_that_is_in_it() throws Exception {
        if (maker().isEmpty()) {
            return;
        }
        Path group = cgroups.plainMaker().make("sb-1");
        Process process = inhabit(group);

        cgroups.sweep(name -> false);

        assertThat(process.waitFor(10, TimeUnit.SECONDS)).isTrue();
        assertThat(group).doesNotExist();
    }

    /** What was not removed with a sandbox that was paused, say, before it is resumed under its name. */
    @Test
    void group_that_is_left_of_an_earlier_one_makes_way() throws Exception {
        if (maker().isEmpty()) {
            return;
        }
        Cgroups.Maker maker = cgroups.plainMaker();
        Process left = inhabit(maker.make("sb-1"));

        Path group = maker.make("sb-1");

        assertThat(left.waitFor(10, TimeUnit.SECONDS)).isTrue();
        assertThat(group.resolve("cgroup.procs")).hasContent("");
    }

    /** Root's are seen from a user's part of the tree, and are called the same. */
    @Test
    void groups_in_a_part_that_is_another_users_are_left_alone() throws IOException {
        Path mount = Files.createDirectory(directory.resolve("mount"));
        Path part = Files.createDirectories(mount.resolve("user.slice/ours"));
        for (String file : List.of("cgroup.procs", "cgroup.subtree_control", "cgroup.controllers")) {
            Files.createFile(part.resolve(file));
        }
        Path theirs = Files.createDirectories(mount.resolve("forkd/sb-1"));
        Path ours = Files.createDirectories(part.resolve("forkd/sb-1"));
        tree("41 31 0:38 / " + mount + " rw - cgroup2 cgroup2 rw\n", "0::/user.slice/ours\n");

        new Cgroups(directory.resolve("proc"), "forkd", List.of()).sweep(name -> false);

        assertThat(ours).doesNotExist();
        assertThat(theirs).exists();
    }

    private interface Condition {
        boolean holds() throws IOException;
    }

    private static void await(Condition condition) throws Exception {
        for (int i = 0; i < 1000 && !condition.holds(); i++) {
            Thread.sleep(10);
        }
        assertThat(condition.holds()).isTrue();
    }

    @Test
    void nothing_is_made_for_nothing() {
        assertThat(cgroups.maker(Limits.NONE)).isEmpty();
        assertThat(cgroups.maker(new Limits(Map.of(Limit.DISK, 1L, Limit.CPUS, 0L, Limit.IO_BYTES, 0L))))
                .isEmpty();
    }

    @ParameterizedTest
    @EnumSource(Controller.class)
    void what_can_be_had_is_put_in_place_and_what_cannot_is_refused(Controller controller) throws IOException {
        Limits limits =
                Limits.of(limit -> Controller.of(new Limits(Map.of(limit, 7L))).equals(EnumSet.of(controller))
                        ? ALL.get(limit)
                        : OptionalLong.empty());
        assertThat(Controller.of(limits)).containsExactly(controller);
        if (cgroups.status().missing().contains(controller)) {
            assertThatThrownBy(() -> cgroups.maker(limits)).isInstanceOfSatisfying(ForkdException.class, e -> {
                assertThat(e.sentence())
                        .contains(limits.values().keySet().stream()
                                .filter(limits::bounds)
                                .findFirst()
                                .orElseThrow()
                                .field())
                        .contains("cannot be put in place")
                        .contains("cgroup");
                assertThat(e.remedy().toString()).isNotEmpty();
            });
            return;
        }
        Path group = cgroups.maker(limits).orElseThrow().make("sb-1");
        switch (controller) {
            case MEMORY -> {
                assertThat(group.resolve("memory.max")).hasContent(Long.toString((65L + 32) << 20));
                assertThat(group.resolve("memory.oom.group")).hasContent("1");
                cgroups.maker(limits).orElseThrow().make(Cgroups.name("server", "sb-1"));
                Cgroups.allowBranches(group, limits);
                assertThat(group.resolve("memory.max")).hasContent(Long.toString((65L + 32) << 21));
                cgroups.sweep(name -> name.equals("sb-1"));
                Cgroups.settleBranches(group, limits);
                assertThat(group.resolve("memory.max")).hasContent(Long.toString((65L + 32) << 20));
            }
            case CPU -> assertThat(group.resolve("cpu.max")).hasContent("150000 100000");
            case PIDS -> assertThat(group.resolve("pids.max")).hasContent("20");
            case IO -> assertThat(group.resolve("io.max")).exists();
        }
    }

    @Test
    void a_limit_of_io_needs_a_disk_that_is_known() throws IOException {
        // In memory, so on none.
        assertThat(Devices.of(List.of(Path.of("/dev/shm/no/such")), "io_bps")).isEmpty();
        assertThatThrownBy(() -> Devices.of(List.of(Path.of("/proc")), "io_bps"))
                .isInstanceOf(ForkdException.class)
                .hasMessageContaining("io_bps cannot be put in place: the device that /proc is on");
    }

    private Tree tree(String mountinfo, String cgroup) throws IOException {
        Path self = Files.createDirectories(directory.resolve("proc/self"));
        Files.writeString(self.resolve("mountinfo"), mountinfo);
        Files.writeString(self.resolve("cgroup"), cgroup);
        return new Tree(directory.resolve("proc"));
    }

    @Test
    void the_tree_is_found_where_it_is_mounted() throws IOException {
        Tree tree = tree(
                "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n"
                        + "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
                        + "41 31 0:38 /lxc/a /sys/fs/cgroup/uni\\040fied rw shared:9 - cgroup2 cgroup2 rw\n",
                "4:memory:/other\n0::/lxc/a/user.slice/x.scope\n");
        Tree.Mount mount = tree.mount().orElseThrow();
        assertThat(mount).isEqualTo(new Tree.Mount(Path.of("/sys/fs/cgroup/uni fied"), "/lxc/a"));
        assertThat(tree.groupOf("self")).hasValue("/lxc/a/user.slice/x.scope");
        assertThat(mount.resolve("/lxc/a/user.slice/x.scope"))
                .isEqualTo(Path.of("/sys/fs/cgroup/uni fied/user.slice/x.scope"));
        assertThat(mount.resolve("/lxc/a")).isEqualTo(Path.of("/sys/fs/cgroup/uni fied"));
        assertThat(mount.resolve("/lxc/ab")).isEqualTo(Path.of("/sys/fs/cgroup/uni fied"));
        assertThat(new Tree.Mount(Path.of("/c"), "/").resolve("/a/b")).isEqualTo(Path.of("/c/a/b"));
    }

    @Test
    void without_a_tree_a_limit_is_refused() throws IOException {
        tree("31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n", "4:memory:/\n");
        Cgroups none = new Cgroups(directory.resolve("proc"), "forkd", List.of());
        assertThatThrownBy(() -> none.maker(ALL))
                .hasMessageContaining("memory_limit_mib, cpus, pids_limit, io_bps cannot be put in place:"
                        + " no cgroup file system of version 2 is mounted")
                .hasMessageContaining("mount -t cgroup2");
        assertThat(none.total()).isEmpty();
        none.sweep(name -> false);
        assertThat(none.status().usable()).isEmpty();
    }

    /** Nothing but folders, as it was taken for one. */
    @Test
    void what_is_not_the_kernels_is_not_written_to() throws IOException {
        Path mount = Files.createDirectory(directory.resolve("mount"));
        for (String file : List.of("cgroup.procs", "cgroup.subtree_control")) {
            Files.createFile(mount.resolve(file));
        }
        Files.writeString(mount.resolve("cgroup.controllers"), "memory\n");
        tree("41 31 0:38 / " + mount + " rw - cgroup2 cgroup2 rw\n", "0::/\n");
        Cgroups wrong = new Cgroups(directory.resolve("proc"), "forkd", List.of());
        Limits limits = new Limits(Map.of(Limit.MEMORY, 64L));
        assertThatThrownBy(() -> wrong.maker(limits).orElseThrow().make("sb-1")).isInstanceOf(ForkdException.class);
        assertThat(mount.resolve("forkd/sb-1/memory.max")).doesNotExist();
    }
}
