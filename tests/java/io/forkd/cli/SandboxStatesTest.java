package io.forkd.cli;

import static org.assertj.core.api.Assertions.assertThat;

import io.forkd.Json;
import io.forkd.Limits;
import io.forkd.engine.Engine;
import io.forkd.files.FileLock;
import io.forkd.sandbox.Lifetime;
import io.forkd.sandbox.Naming;
import io.forkd.sandbox.Origin;
import io.forkd.sandbox.ProcessId;
import io.forkd.sandbox.RunningServer;
import io.forkd.sandbox.RuntimeDirectory;
import io.forkd.sandbox.Sandbox;
import io.forkd.snapshot.Manifest;
import io.forkd.snapshot.Manifest.Machine;
import io.forkd.snapshot.Manifest.ManifestDisk;
import io.forkd.vmm.NativeVmm;
import io.forkd.vmm.TestVms;
import io.forkd.vmm.VmStatus;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import tools.jackson.databind.node.JsonNodeFactory;

/** Sandboxes that are not as they should be: VM processes on this machine's /dev/kvm, and others in their place. */
class SandboxStatesTest {
    @TempDir
    Path scratch;

    private final ByteArrayOutputStream out = new ByteArrayOutputStream();
    private final ByteArrayOutputStream err = new ByteArrayOutputStream();
    private final List<ProcessHandle> started = new ArrayList<>();
    private TestVms vms;

    @BeforeEach
    void snapshot() throws Exception {
        vms = new TestVms(Files.createDirectory(scratch.resolve("snapshot")));
    }

    @AfterEach
    void end() {
        started.forEach(ProcessHandle::destroyForcibly);
        vms.close();
    }

    private int run(String... arguments) {
        out.reset();
        err.reset();
        Shell shell = Shell.of(
                new PrintStream(out, true, StandardCharsets.UTF_8),
                new PrintStream(err, true, StandardCharsets.UTF_8),
                false,
                Map.of("XDG_DATA_HOME", scratch.toString(), "XDG_RUNTIME_DIR", scratch.toString()));
        return Main.run(shell, arguments);
    }

    private String printed() {
        return out.toString(StandardCharsets.UTF_8);
    }

    private Path folder(String id) {
        return RuntimeDirectory.of(Map.of("XDG_RUNTIME_DIR", scratch.toString()))
                .sandboxes()
                .resolve(id);
    }

    private Sandbox write(String id, int pid, OptionalLong startTime) {
        Origin origin = new Origin("py", Instant.EPOCH);
        Sandbox sandbox = new Sandbox(
                id,
                folder(id),
                origin,
                origin,
                pid,
                startTime,
                Optional.empty(),
                Optional.empty(),
                Optional.empty(),
                Limits.NONE,
                List.of(),
                Instant.EPOCH,
                0,
                Optional.empty(),
                Lifetime.ENDLESS,
                Naming.NONE,
                Optional.empty());
        sandbox.write();
        return sandbox;
    }

    private Sandbox sandbox(String id) throws IOException {
        VmStatus status = vms.detached(RuntimeDirectory.control(folder(id)));
        started.add(ProcessHandle.of(status.pid()).orElseThrow());
        return write(id, status.pid(), OptionalLong.of(status.startTime()));
    }

    /** Something else that listens at the control socket, says this to everybody, and notes how many ask at once. */
    private Sandbox stranger(String id, String says, OptionalLong startTime) throws IOException {
        Path folder = Files.createDirectories(folder(id));
        Process process = new ProcessBuilder(
                        "python3",
                        "-c",
                        "import os, socket, sys\n"
                                + "s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n"
                                + "s.bind(sys.argv[1]); s.listen(100); print(flush=True)\n"
                                + "asked = sys.argv[3] + '/' + str(os.getpid())\n"
                                + "while True:\n"
                                + "    c = s.accept()[0]\n"
                                + "    open(asked, 'w').close()\n"
                                + "    open(sys.argv[3] + '-together', 'a')"
                                + ".write('x' * len(os.listdir(sys.argv[3])) + '\\n')\n"
                                + "    if sys.argv[2]: c.send(sys.argv[2].encode())\n"
                                + "    try:\n"
                                + "        while c.recv(1): pass\n"
                                + "    except ConnectionResetError: pass\n"
                                + "    os.unlink(asked)\n",
                        RuntimeDirectory.control(folder).toString(),
                        says,
                        Files.createDirectories(scratch.resolve("asked")).toString())
                .start();
        started.add(process.toHandle());
        assertThat(process.getInputStream().read()).isEqualTo('\n');
        return write(
                id,
                (int) process.pid(),
                startTime.isPresent()
                        ? startTime
                        : OptionalLong.of(
                                ProcessId.of((int) process.pid()).orElseThrow().startTime()));
    }

    /** Answers every request to the agent of a sandbox with this line, and writes the requests to a file. */
    private Path agent(Sandbox sandbox, String answer) throws IOException {
        Path asked = scratch.resolve("asked");
        Process process = new ProcessBuilder(
                        "python3",
                        "-c",
                        "import os, socket, sys\n"
                                + "if os.path.exists(sys.argv[1]): os.unlink(sys.argv[1])\n"
                                + "s = socket.socket(socket.AF_UNIX)\n"
                                + "s.bind(sys.argv[1]); s.listen(100); print(flush=True)\n"
                                + "while True:\n"
                                + "    one = s.accept()[0]\n"
                                + "    lines = one.makefile('rw')\n"
                                + "    lines.readline(); lines.write('OK 1\\n'); lines.flush()\n"
                                + "    open(sys.argv[2], 'a').write(lines.readline())\n"
                                + "    lines.write(sys.argv[3] + '\\n'); lines.flush()\n"
                                + "    lines.close(); one.close()\n",
                        Sandbox.vsock(sandbox.directory()).toString(),
                        asked.toString(),
                        answer)
                .redirectError(ProcessBuilder.Redirect.INHERIT)
                .start();
        started.add(process.toHandle());
        assertThat(process.getInputStream().read()).isEqualTo('\n');
        return asked;
    }

    private static void stop(int pid) throws Exception {
        new ProcessBuilder("kill", "-STOP", Integer.toString(pid)).start().waitFor();
        ProcessId process = ProcessId.of(pid).orElseThrow();
        while (!process.isStopped()) {
            Thread.onSpinWait();
        }
    }

    private static void cutInHalf(Sandbox sandbox) throws IOException {
        Path file = Sandbox.file(sandbox.directory());
        String text = Files.readString(file, StandardCharsets.UTF_8);
        Files.writeString(file, text.substring(0, text.length() / 2), StandardCharsets.UTF_8);
    }

    private void assertListed(String id, String state) {
        assertThat(run("ls")).isZero();
        assertThat(printed().lines()).anyMatch(line -> line.startsWith(id) && line.endsWith("  " + state));
        assertThat(run("ls", "--json")).isZero();
        assertThat(printed()).contains("\"id\" : \"" + id + "\"").contains("\"state\" : \"" + state + "\"");
    }

    private void assertKilled(Sandbox sandbox) {
        assertThat(run("kill", sandbox.id()))
                .as(err.toString(StandardCharsets.UTF_8))
                .isZero();
        assertThat(printed()).isEqualTo("killed " + sandbox.id() + "\n");
        assertGone(sandbox);
        assertThat(run("kill", sandbox.id())).isEqualTo(1);
    }

    /** Init may take a moment to take the end of the process's life to its notice. */
    private static void assertGone(Sandbox sandbox) {
        try {
            assertThat(Files.readString(Path.of("/proc/" + sandbox.pid() + "/stat"), StandardCharsets.ISO_8859_1))
                    .containsPattern("\\) [ZX] ");
        } catch (IOException e) {
            // There is no such process.
        }
        assertThat(sandbox.directory()).doesNotExist();
    }

    @Test
    void running_one_is_listed_and_killed() throws Exception {
        Sandbox sandbox = sandbox("sb-00000001");
        assertListed(sandbox.id(), "running");
        assertKilled(sandbox);
    }

    @Test
    void all_are_killed_whatever_becomes_of_one_and_each_is_reported() throws Exception {
        Sandbox first = sandbox("sb-00000001");
        Sandbox second = sandbox("sb-00000002");
        stop(second.pid());
        assertThat(run("kill", "--json", first.id(), "sb-00000009", second.id(), first.id()))
                .isEqualTo(1);
        assertThat(Json.text(Json.parse(out.toByteArray())))
                .startsWith("[{\"id\":\"sb-00000001\",\"success\":true},{\"id\":\"sb-00000009\",\"success\":false,")
                .endsWith(",{\"id\":\"sb-00000002\",\"success\":true}]");
        assertGone(first);
        assertGone(second);
        Sandbox third = sandbox("sb-00000003");
        Sandbox fourth = sandbox("sb-00000004");
        assertThat(run("kill", "--all")).isZero();
        assertThat(printed().lines()).containsExactlyInAnyOrder("killed " + third.id(), "killed " + fourth.id());
        assertGone(third);
        assertGone(fourth);
    }

    @Test
    void sandbox_is_known_by_the_socket_of_its_agent() {
        Shell shell = Shell.of(
                new PrintStream(out, true, StandardCharsets.UTF_8),
                new PrintStream(err, true, StandardCharsets.UTF_8),
                false,
                Map.of("XDG_DATA_HOME", scratch.toString(), "XDG_RUNTIME_DIR", scratch.toString()));
        Path socket = Sandbox.vsock(folder("sb-00000001"));
        assertThat(shell.engine().sandboxes().idAt(socket)).contains("sb-00000001");
        assertThat(shell.engine().sandboxes().idAt(scratch.resolve("agent.sock")))
                .isEmpty();
    }

    @Test
    void volumes_of_one_whose_branch_was_killed_are_mounted_again() throws Exception {
        Sandbox sandbox = sandbox("sb-00000001");
        Path away = Files.createFile(sandbox.directory().resolve("volumes.away"));
        agent(sandbox, "{\"error\":\"/data: no such device\"}");
        assertListed(sandbox.id(), "unmounted");
        assertThat(away).exists();

        Path asked = agent(sandbox, "{\"mounted\":true}");
        try (FileLock branches = FileLock.exclusive(sandbox.directory().resolve(".volumes"))) {
            Files.delete(asked);
            assertListed(sandbox.id(), "unmounted");
            assertThat(asked).doesNotExist();
        }
        assertListed(sandbox.id(), "running");
        assertThat(asked).content().contains("\"mount\"");
        assertThat(away).doesNotExist();
    }

    @Test
    void command_in_one_whose_branch_was_killed_finds_its_volumes() throws Exception {
        Sandbox sandbox = sandbox("sb-00000001");
        Path away = Files.createFile(sandbox.directory().resolve("volumes.away"));
        Path asked = agent(sandbox, "{\"pong\":true}");
        run("ping", "--child", sandbox.id());
        assertThat(Files.readAllLines(asked).get(0)).contains("\"mount\"");
        assertThat(away).doesNotExist();
    }

    @Test
    void image_of_one_whose_snapshot_was_removed_is_in_use() throws Exception {
        Sandbox sandbox = sandbox("sb-00000001");
        Path image = scratch.resolve("image.ext4");
        Manifest manifest = new Manifest(
                scratch.resolve("vmstate"),
                scratch.resolve("memory.bin"),
                4096,
                List.of(),
                image,
                Optional.empty(),
                List.of(new ManifestDisk(image, false, 512, OptionalLong.of(0), Optional.empty())),
                new Machine(1, Path.of("/k"), Optional.empty(), "", Optional.empty(), Limits.NONE, "0"),
                Optional.empty(),
                Instant.EPOCH,
                JsonNodeFactory.instance.objectNode());
        Files.write(Sandbox.manifest(sandbox.directory()), manifest.encode());
        Engine engine = new Engine(
                new NativeVmm(), Map.of("XDG_DATA_HOME", scratch.toString(), "XDG_RUNTIME_DIR", scratch.toString()));
        assertThat(engine.diskImagesInUse()).containsExactly(image);
        assertKilled(sandbox);
        assertThat(engine.diskImagesInUse()).isEmpty();
    }

    @Test
    void stopped_one_is_listed_and_killed() throws Exception {
        Sandbox sandbox = sandbox("sb-00000001");
        stop(sandbox.pid());
        assertListed(sandbox.id(), "stopped");
        assertThat(run("fork", "--tag", "none", "-n", "1")).isEqualTo(1);
        assertThat(err.toString(StandardCharsets.UTF_8)).contains("there is no snapshot 'none'");
        assertThat(run("snapshot", "--from-sandbox", sandbox.id())).isEqualTo(1);
        assertThat(err.toString(StandardCharsets.UTF_8)).contains("does not answer");
        assertKilled(sandbox);
    }

    @Test
    void damaged_one_is_listed_and_killed() throws Exception {
        Sandbox sandbox = sandbox("sb-00000001");
        cutInHalf(sandbox);
        assertListed(sandbox.id(), "damaged");
        assertThat(run("fork", "--tag", "none", "-n", "1")).isEqualTo(1);
        assertThat(err.toString(StandardCharsets.UTF_8)).contains("there is no snapshot 'none'");
        assertThat(run("rmi", "none")).isEqualTo(1);
        assertThat(err.toString(StandardCharsets.UTF_8)).contains("there is no snapshot 'none'");
        assertKilled(sandbox);
    }

    @Test
    void damaged_one_that_is_stopped_is_killed_by_who_listens() throws Exception {
        Sandbox sandbox = sandbox("sb-00000001");
        cutInHalf(sandbox);
        stop(sandbox.pid());
        assertKilled(sandbox);
    }

    @Test
    void cleanup_offers_what_is_damaged_and_ends_it() throws Exception {
        Sandbox whole = sandbox("sb-00000001");
        Sandbox damaged = sandbox("sb-00000002");
        cutInHalf(damaged);
        assertThat(run("cleanup")).isZero();
        assertThat(printed()).contains(damaged.directory().toString()).doesNotContain(whole.id());
        assertThat(run("cleanup", "--yes")).isZero();
        assertGone(damaged);
        assertListed(whole.id(), "running");
    }

    @Test
    void what_is_left_of_a_damaged_one_that_ended_is_removed() throws Exception {
        Sandbox sandbox = sandbox("sb-00000001");
        cutInHalf(sandbox);
        ProcessHandle.of(sandbox.pid()).ifPresent(ProcessHandle::destroyForcibly);
        while (ProcessId.of(sandbox.pid()).isPresent()) {
            Thread.sleep(10);
        }
        assertThat(run("ls")).isZero();
        assertThat(printed()).isEmpty();
        assertThat(sandbox.directory()).doesNotExist();
    }

    @Test
    void one_of_another_version_is_listed_and_killed() throws Exception {
        Sandbox sandbox = stranger("sb-00000001", "another language", OptionalLong.empty());
        assertListed(sandbox.id(), "other version");
        assertKilled(sandbox);
    }

    @Test
    void many_that_do_not_answer_are_asked_at_once_and_all_are_killed() throws Exception {
        List<Sandbox> all = new ArrayList<>(List.of(sandbox("sb-00000001")));
        stop(all.get(0).pid());
        for (int i = 10; i < 20; i++) {
            all.add(stranger("sb-000000" + i, "", OptionalLong.empty()));
        }
        assertThat(run("ls")).isZero();
        assertThat(printed().lines().filter(line -> line.endsWith("  stopped"))).hasSize(all.size());
        assertThat(scratch.resolve("asked-together"))
                .content()
                .as("how many at once")
                .contains("x".repeat(all.size() / 2));
        assertThat(run("kill", "--all")).isZero();
        assertThat(printed().lines()).hasSize(all.size()).allMatch(line -> line.startsWith("killed sb-"));
        all.forEach(SandboxStatesTest::assertGone);
    }

    @Test
    void server_that_does_not_answer_hinders_nobody() throws Exception {
        Path folder = Files.createDirectories(
                folder("x").getParent().resolveSibling("servers").resolve("0123456789abcdef"));
        int pid = vms.server(Optional.of(RuntimeDirectory.control(folder))).pid();
        started.add(ProcessHandle.of(pid).orElseThrow());
        Origin origin = new Origin("py", Instant.EPOCH);
        new RunningServer(folder, origin, origin, Instant.EPOCH, ProcessId.of(pid)).write();
        assertThat(run("where", "--servers")).isZero();
        assertThat(printed()).containsPattern("(?m)^py +" + pid + ".* kept$");
        stop(pid);
        assertThat(run("where", "--servers")).isZero();
        assertThat(printed()).containsPattern("(?m)^py +" + pid + ".* stopped$");
        Files.writeString(folder.resolve("server.json"), "{", StandardCharsets.UTF_8);
        assertThat(run("where", "--servers")).isZero();
        assertThat(printed()).containsPattern("(?m)^- +" + pid + ".* stopped$");
        assertThat(run("fork", "--tag", "none", "-n", "1")).isEqualTo(1);
        assertThat(err.toString(StandardCharsets.UTF_8)).contains("there is no snapshot 'none'");
        assertThat(folder).exists();
    }
}
