package io.forkd.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.forkd.Json;
import io.forkd.agent.FileOptions;
import io.forkd.agent.GuestFileReader;
import io.forkd.agent.GuestFileWriter;
import io.forkd.agent.GuestPath;
import io.forkd.agent.GuestProcessEntry;
import io.forkd.agent.GuestStreams;
import io.forkd.engine.AgentSandbox;
import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.io.PrintStream;
import java.io.UncheckedIOException;
import java.net.ConnectException;
import java.net.InetAddress;
import java.net.Socket;
import java.nio.ByteBuffer;
import java.nio.channels.Channels;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.OptionalLong;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import tools.jackson.databind.JsonNode;

/** Terminals, files and ports of a guest, as somebody at a terminal and scripts use them. */
@Timeout(value = 3, unit = TimeUnit.MINUTES)
class StreamsTest {
    static AgentSandbox sandbox;
    private static GuestStreams guest;

    @TempDir
    Path directory;

    private final ByteArrayOutputStream out = new ByteArrayOutputStream();
    private final ByteArrayOutputStream err = new ByteArrayOutputStream();
    private final List<Process> processes = new ArrayList<>();

    @BeforeAll
    static void start() throws Exception {
        sandbox = new AgentSandbox();
        guest = new GuestStreams(sandbox.socket());
    }

    @AfterAll
    static void end() throws Exception {
        sandbox.close();
    }

    @BeforeEach
    void clean() {
        guest.files().remove(GuestPath.of("/tmp"), true);
        guest.files().makeDirectory(GuestPath.of("/tmp"), FileOptions.DEFAULT);
    }

    @AfterEach
    void stop() {
        processes.forEach(Process::destroyForcibly);
    }

    /** What says where the sandbox is. */
    Map<String, String> environment() {
        return sandbox.environment();
    }

    private int run(String... arguments) {
        out.reset();
        err.reset();
        Shell shell = Shell.of(
                new PrintStream(out, true, StandardCharsets.UTF_8),
                new PrintStream(err, true, StandardCharsets.UTF_8),
                false,
                environment());
        return Main.run(shell, arguments);
    }

    private String printed() {
        return out.toString(StandardCharsets.UTF_8);
    }

    private void assertRuns(String... arguments) {
        assertThat(run(arguments)).as(err.toString(StandardCharsets.UTF_8)).isZero();
    }

    private void assertFails(int status, String message, String... arguments) {
        assertThat(run(arguments)).isEqualTo(status);
        assertThat(err.toString(StandardCharsets.UTF_8)).contains(message);
    }

    private Pty.Result atTerminal(List<String> steps, String... arguments) throws Exception {
        return Pty.run(environment(), steps, arguments);
    }

    private static GuestProcessEntry process(String name) {
        return guest.processes().stream()
                .filter(one -> one.tag().filter(name::equals).isPresent())
                .findFirst()
                .orElseThrow();
    }

    // --- exec ---

    @Test
    void a_command_has_our_stdin_and_its_output_comes_as_it_is_written() throws Exception {
        Process process = start(ProcessBuilder.Redirect.PIPE, "exec", "-i", "--child", sandbox.id(), "--", "cat");
        try (OutputStream in = process.getOutputStream()) {
            BufferedReader lines = process.inputReader();
            for (String word : List.of("one", "two")) {
                in.write((word + "\n").getBytes(StandardCharsets.UTF_8));
                in.flush();
                assertThat(lines.readLine()).isEqualTo(word);
            }
        }
        assertThat(process.waitFor(60, TimeUnit.SECONDS)).isTrue();
        assertThat(process.exitValue()).isZero();
    }

    @Test
    void a_command_ends_with_a_status_as_in_a_shell() throws Exception {
        assertThat(run("exec", "--child", sandbox.id(), "--", "sh", "-c", "exit 7"))
                .isEqualTo(7);
        assertFails(127, "could not run", "exec", "--child", sandbox.id(), "--", "nope");
        assertFails(124, "took longer", "exec", "--timeout-secs", "1", "--child", sandbox.id(), "--", "slow", "100");
    }

    @Test
    void a_command_ends_with_us() throws Exception {
        Process process = start(ProcessBuilder.Redirect.PIPE, "exec", "-i", "--child", sandbox.id(), "--", "cat");
        OutputStream in = process.getOutputStream();
        in.write("begun\n".getBytes(StandardCharsets.UTF_8));
        in.flush();
        assertThat(process.inputReader().readLine()).isEqualTo("begun");
        process.toHandle().destroy();
        assertThat(process.waitFor(60, TimeUnit.SECONDS)).isTrue();
        assertThat(process.exitValue()).isEqualTo(143);
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(60);
        while (guest.processes().stream()
                .anyMatch(one ->
                        one.argv().equals(List.of("cat")) && one.exitCode().isEmpty())) {
            assertThat(System.nanoTime()).isLessThan(end);
            Thread.sleep(50);
        }
    }

    // --- exec -t, attach ---

    @Test
    void what_is_listed_does_nothing_to_the_terminal() throws Exception {
        Path images = Files.createDirectories(directory.resolve("cache/images"));
        Files.createFile(images.resolve("x.ext4"));
        Files.writeString(
                images.resolve("x.json"),
                "{\"reference\":\"a\\u001b[31mb\\u009bc\",\"image\":\"sha256:" + "0".repeat(64) + "\"}");
        Pty.Result result = atTerminal(
                List.of(), "cache", "ls", "--cache", directory.resolve("cache").toString());
        assertThat(result.status()).as(result.screen()).isZero();
        assertThat(result.screen()).contains("a?[31mb?c").doesNotContain("\u001b[31m", "\u009b");
    }

    @Test
    void a_terminal_is_the_guests_until_the_program_ends() throws Exception {
        Pty.Result result = atTerminal(
                List.of("expect:$ ", "send:echo hi\r", "expect:echo hi\r\nhi\r\n$ ", "send:exit 5\r"),
                "exec",
                "-it",
                "--child",
                sandbox.id(),
                "--",
                "sh");
        assertThat(result.status()).as(result.screen()).isEqualTo(5);
    }

    @Test
    void its_size_and_its_keys_reach_the_guest() throws Exception {
        Pty.Result result = atTerminal(
                List.of("expect:24 80\r\n", "size:50x132", "expect:50 132\r\n", "send:\u0003"),
                "exec",
                "-it",
                "--child",
                sandbox.id(),
                "--",
                "winch");
        assertThat(result.status()).as(result.screen()).isEqualTo(130);
        assertThat(result.screen()).endsWith("^C");
    }

    @Test
    void its_user_may_leave_and_another_come_back() throws Exception {
        Pty.Result left = atTerminal(
                List.of(
                        "expect:$ ",
                        "send:echo one\r",
                        "expect:one\r\n$ ",
                        "send:\u0010x",
                        "expect:\u0010x",
                        "send:\u0010\u0011"),
                "exec",
                "-it",
                "--name",
                "left",
                "--child",
                sandbox.id(),
                "--",
                "sh");
        assertThat(left.status()).as(left.screen()).isZero();
        assertThat(left.screen()).contains("which goes on");
        assertRuns("attach", "--child", sandbox.id());
        assertThat(printed()).containsPattern("(?m)^\\d+  left  running  sh$");
        Pty.Result back = atTerminal(
                List.of("expect:echo one\r\none\r\n$ \u0010x", "send:\r", "expect:not found", "send:exit 3\r"),
                "attach",
                "--child",
                sandbox.id(),
                "left");
        assertThat(back.status()).as(back.screen()).isEqualTo(3);
    }

    @Test
    void a_terminal_that_goes_away_ends_the_program() throws Exception {
        Pty.Result result = atTerminal(
                List.of("expect:24 80\r\n", "hangup"),
                "exec",
                "-it",
                "--name",
                "hung-up",
                "--child",
                sandbox.id(),
                "--",
                "winch");
        assertThat(result.status()).isEqualTo(129);
        assertThat(process("hung-up").exitCode()).hasValue(-1);
    }

    @Test
    void a_terminal_alone_gives_no_input() {
        assertRuns("exec", "-t", "--child", sandbox.id(), "--", "echo", "hi");
        assertThat(printed()).isEqualTo("hi\r\n");
        assertFails(127, "(ENOENT)", "exec", "-t", "--child", sandbox.id(), "--", "nothing");
        assertFails(
                124,
                "longer than it may",
                "exec",
                "-t",
                "--timeout-secs",
                "1",
                "--child",
                sandbox.id(),
                "--",
                "sleep",
                "100");
        assertFails(2, "--json is not for -t", "exec", "-t", "--json", "--child", sandbox.id(), "--", "true");
        assertFails(2, "needs --child NAME", "exec", "-t", "--target", "127.0.0.1:1", "--", "true");
    }

    @Test
    void a_terminal_needs_one_on_this_side() throws Exception {
        Process process = start("exec", "-it", "--child", sandbox.id(), "--", "sh");
        assertThat(process.waitFor(60, TimeUnit.SECONDS)).isTrue();
        assertThat(process.exitValue()).isEqualTo(2);
    }

    @Test
    void a_program_that_nobody_waits_for_is_attached_to() {
        assertRuns("exec", "-d", "--name", "later", "--child", sandbox.id(), "--", "sh", "-c", "echo hi; exit 4");
        String pid = printed().strip();
        assertThat(pid).matches("\\d+");
        assertThat(run("attach", "--child", sandbox.id(), pid)).isEqualTo(4);
        assertThat(printed()).isEqualTo("hi\n");
        assertRuns("exec", "-d", "--json", "--child", sandbox.id(), "--", "true");
        assertThat(Json.parse(out.toByteArray()).path("pid").isIntegralNumber()).isTrue();
        assertRuns("attach", "--json", "--child", sandbox.id());
        assertThat(Json.parse(out.toByteArray()).isArray()).isTrue();
        assertFails(1, "No such process", "attach", "--child", sandbox.id(), "nobody");
    }

    // --- cp ---

    private static void put(String path, String text) {
        try (GuestFileWriter file = guest.files().write(GuestPath.of(path), FileOptions.DEFAULT.withParents())) {
            file.write(ByteBuffer.wrap(text.getBytes(StandardCharsets.UTF_8)));
            file.finish();
        }
    }

    private static String get(String path) throws IOException {
        try (GuestFileReader file = guest.files().read(GuestPath.of(path), 0, OptionalLong.empty())) {
            return new String(Channels.newInputStream(file).readAllBytes(), StandardCharsets.UTF_8);
        }
    }

    private String in(String path) {
        return sandbox.id() + ":" + path;
    }

    private String here(String path) {
        return directory.resolve(path).toString();
    }

    private void write(String path, String text) throws IOException {
        Files.createDirectories(directory.resolve(path).getParent());
        Files.writeString(directory.resolve(path), text);
    }

    @Test
    void a_file_goes_to_a_guest_and_comes_back() throws Exception {
        write("a", "first");
        Files.setPosixFilePermissions(directory.resolve("a"), PosixFilePermissions.fromString("rwxr-x---"));
        Files.setLastModifiedTime(
                directory.resolve("a"), java.nio.file.attribute.FileTime.from(Instant.ofEpochSecond(1_500_000_000)));
        assertRuns("cp", here("a"), in("/tmp/b"));
        assertThat(get("/tmp/b")).isEqualTo("first");
        assertThat(guest.files().stat(GuestPath.of("/tmp/b"), true).mode()).isEqualTo(0750);
        assertThat(guest.files().stat(GuestPath.of("/tmp/b"), true).modified())
                .isEqualTo(Instant.ofEpochSecond(1_500_000_000));
        assertRuns("cp", here("a"), in("tmp")); // into the directory
        assertThat(get("/tmp/a")).isEqualTo("first");
        assertRuns("cp", in("/tmp/b"), here("c"));
        assertThat(directory.resolve("c")).hasContent("first");
        assertThat(PosixFilePermissions.toString(Files.getPosixFilePermissions(directory.resolve("c"))))
                .isEqualTo("rwxr-x---");
        put("/tmp/b", "second");
        assertRuns("cp", in("/tmp/b"), here("c"));
        assertThat(directory.resolve("c")).hasContent("second");
        assertRuns("cp", in("/tmp/b"), directory.toString());
        assertThat(directory.resolve("b")).hasContent("second");
    }

    @Test
    void a_directory_goes_to_a_guest_and_comes_back() throws Exception {
        write("tree/a", "A");
        write("tree/sub/b", "B");
        Files.createSymbolicLink(directory.resolve("tree/link"), Path.of("sub/b"));
        assertRuns("cp", here("tree"), in("/tmp/new")); // is made
        assertThat(get("/tmp/new/sub/b")).isEqualTo("B");
        assertRuns("cp", here("tree"), in("/tmp/new")); // is put into it
        assertThat(get("/tmp/new/tree/a")).isEqualTo("A");
        write("tree/a", "A2");
        assertRuns("cp", here("tree/."), in("/tmp/new")); // its content is
        assertThat(get("/tmp/new/a")).isEqualTo("A2");
        assertThat(guest.files().stat(GuestPath.of("/tmp/new/link"), false).target())
                .contains(GuestPath.of("sub/b"));

        assertRuns("cp", in("/tmp/new/tree"), here("back"));
        assertThat(directory.resolve("back/sub/b")).hasContent("B");
        assertThat(Files.readSymbolicLink(directory.resolve("back/link"))).isEqualTo(Path.of("sub/b"));
        assertRuns("cp", in("/tmp/new/tree/."), here("back"));
        assertRuns("cp", in("/tmp/new/tree"), here("back"));
        assertThat(directory.resolve("back/tree/a")).hasContent("A");
    }

    @Test
    void what_docker_refuses_is_refused() throws Exception {
        write("dir/a", "A");
        put("/tmp/file", "F");
        assertFails(1, "there is no directory", "cp", here("dir/a"), in("/tmp/none/"));
        assertFails(1, "ENOENT", "cp", here("dir/a"), in("/tmp/none/b"));
        assertFails(1, "cannot copy the directory", "cp", here("dir"), in("/tmp/file"));
        assertFails(1, "there is no directory", "cp", in("/tmp/file"), here("none") + "/");
        assertFails(1, "there is no directory", "cp", in("/tmp/file"), here("none/b"));
        assertFails(1, "cannot copy the directory", "cp", in("/tmp"), here("dir/a"));
        assertFails(1, "ENOENT", "cp", in("/tmp/nothing"), here("b"));
        assertFails(1, "there is no", "cp", here("nothing"), in("/tmp/b"));
        assertFails(2, "neither is in a guest", "cp", here("dir"), here("b"));
        assertFails(2, "both are in guests", "cp", in("/tmp/file"), in("/tmp/b"));
        assertFails(1, "sb-nothing", "cp", "sb-nothing:/tmp/a", here("b"));
    }

    @Test
    void an_archive_goes_to_a_guest_and_comes_back() throws Exception {
        write("t/ä/a", "A");
        write("t/" + "long".repeat(30) + "/b", "B");
        Process in = shell("tar -C " + directory + " -c t | FORKD cp - " + in("/tmp"));
        assertThat(in.waitFor(60, TimeUnit.SECONDS)).isTrue();
        assertThat(in.exitValue()).as(text(in.getErrorStream())).isZero();
        assertThat(get("/tmp/t/ä/a")).isEqualTo("A");
        Files.createDirectory(directory.resolve("x"));
        Process back = shell("FORKD cp " + in("/tmp/t") + " - | tar -C " + directory + "/x -xv");
        assertThat(back.waitFor(60, TimeUnit.SECONDS)).isTrue();
        assertThat(back.exitValue()).as(text(back.getErrorStream())).isZero();
        assertThat(directory.resolve("x/t/" + "long".repeat(30) + "/b")).hasContent("B");
        assertThat(directory.resolve("x/t/ä/a")).hasContent("A");
    }

    @Test
    void an_archive_that_leads_out_is_refused() throws Exception {
        write("a", "A");
        Process in =
                shell("tar -C " + directory + " -P --transform 's,a,../../etc/a,' -c a | FORKD cp - " + in("/tmp"));
        assertThat(in.waitFor(60, TimeUnit.SECONDS)).isTrue();
        assertThat(in.exitValue()).isEqualTo(1);
        assertThat(text(in.getErrorStream())).contains("leads out of it");
    }

    @Test
    void a_guest_that_lies_writes_nothing_outside() throws Exception {
        for (String kind : List.of("up", "beside", "name")) {
            guest.files().makeDirectory(GuestPath.of("/tmp/l"), FileOptions.DEFAULT.withParents());
            Files.createDirectories(directory.resolve("safe"));
            assertThat(run("cp", in("/hostile/" + kind), here("safe/x"))).isEqualTo(1);
        }
        assertThat(directory.resolve("safe")).isEmptyDirectory();
    }

    /** What is there already is not followed, as a link that was copied before. */
    @Test
    void a_link_that_is_there_is_not_written_through() throws Exception {
        put("/tmp/d/sub/f", "F");
        Files.createDirectories(directory.resolve("into/d"));
        Files.createDirectories(directory.resolve("other"));
        Files.createSymbolicLink(directory.resolve("into/d/sub"), directory.resolve("other"));
        assertThat(run("cp", in("/tmp/d"), here("into"))).isEqualTo(1);
        assertThat(directory.resolve("other")).isEmptyDirectory();
    }

    // --- ports ---

    private Process start(String... arguments) throws IOException {
        return start(ProcessBuilder.Redirect.from(Path.of("/dev/null").toFile()), arguments);
    }

    private Process start(ProcessBuilder.Redirect input, String... arguments) throws IOException {
        ProcessBuilder builder = new ProcessBuilder(Pty.forkd(arguments)).redirectInput(input);
        builder.environment().putAll(environment());
        processes.add(builder.start());
        return processes.get(processes.size() - 1);
    }

    private Process shell(String script) throws IOException {
        List<String> command =
                new ArrayList<>(List.of("bash", "-o", "pipefail", "-c", script.replace("FORKD", "\"$@\""), "bash"));
        command.addAll(Pty.forkd());
        ProcessBuilder builder =
                new ProcessBuilder(command).redirectInput(Path.of("/dev/null").toFile());
        builder.environment().putAll(environment());
        processes.add(builder.start());
        return processes.get(processes.size() - 1);
    }

    private static String text(InputStream stream) throws IOException {
        return new String(stream.readAllBytes(), StandardCharsets.UTF_8);
    }

    private static String read(InputStream stream) {
        try {
            return text(stream);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private static String fetch(int port) throws IOException {
        try (Socket socket = new Socket(InetAddress.getLoopbackAddress(), port)) {
            socket.getOutputStream().write("GET /p HTTP/1.1\r\nHost: x\r\n\r\n".getBytes(StandardCharsets.UTF_8));
            return text(socket.getInputStream());
        }
    }

    private static void awaitRefused(int port) throws Exception {
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(60);
        while (System.nanoTime() < end) {
            try {
                fetch(port);
            } catch (ConnectException e) {
                return;
            } catch (IOException e) {
                // It is ending.
            }
            Thread.sleep(50);
        }
        throw new AssertionError("port " + port + " is still there");
    }

    @Test
    void a_port_is_forwarded_until_that_is_ended() throws Exception {
        Process process = start("port-forward", sandbox.id(), ":80", "127.0.0.1:0:7");
        BufferedReader lines = process.inputReader();
        String first = lines.readLine();
        String second = lines.readLine();
        assertThat(first).matches("127\\.0\\.0\\.1:\\d+  ->  " + sandbox.id() + " port 80");
        int web = Integer.parseInt(first.replaceAll("^127.0.0.1:(\\d+) .*", "$1"));
        int echo = Integer.parseInt(second.replaceAll("^127.0.0.1:(\\d+) .*", "$1"));
        for (int i = 0; i < 20; i++) {
            assertThat(fetch(web)).endsWith("hello from the guest: GET /p HTTP/1.1");
        }
        try (Socket socket = new Socket(InetAddress.getLoopbackAddress(), echo)) {
            socket.getOutputStream().write("ping".getBytes(StandardCharsets.UTF_8));
            socket.shutdownOutput();
            assertThat(text(socket.getInputStream())).isEqualTo("ping");
        }
        process.toHandle().destroy();
        assertThat(process.waitFor(60, TimeUnit.SECONDS)).isTrue();
        assertThat(process.exitValue()).isEqualTo(143);
        awaitRefused(web);
    }

    @Test
    void a_port_where_nothing_listens_is_hung_up_on() throws Exception {
        Process process = start("port-forward", "--json", sandbox.id(), ":9");
        StringBuilder json = new StringBuilder();
        BufferedReader lines = process.inputReader();
        while (!json.toString().endsWith("]")) {
            String line = lines.readLine();
            assertThat(line).as(() -> read(process.getErrorStream())).isNotNull();
            json.append(line);
        }
        JsonNode port =
                Json.parse(json.toString().getBytes(StandardCharsets.UTF_8)).get(0);
        assertThat(port.path("guest_port").intValue()).isEqualTo(9);
        assertThatThrownBy(() -> fetch(port.path("port").intValue())).isInstanceOf(IOException.class);
    }

    @Test
    void wrong_ports_are_wrong_usage() {
        for (String port : List.of("80", "70000:80", "1:0", "1:70000", "x:y", "1.2.3.4.5:1:2:3")) {
            assertFails(2, "is no [HOST:]PORT:GUESTPORT", "port-forward", sandbox.id(), port);
        }
        assertFails(2, "is for one child", "spawn", "--tag", "py", "-n", "2", "-p", "8080:80");
    }

    @Test
    void a_sandbox_has_its_port_as_long_as_it_lives() throws Exception {
        Process spawned = start("spawn", "--json", "--tag", "py", "-p", ":80");
        JsonNode made = Json.parse(spawned.getInputStream().readAllBytes()).get(0);
        assertThat(spawned.waitFor(60, TimeUnit.SECONDS)).isTrue();
        assertThat(spawned.exitValue()).as(text(spawned.getErrorStream())).isZero();
        int port = made.path("ports").get(0).path("port").intValue();
        assertThat(fetch(port)).endsWith("hello from the guest: GET /p HTTP/1.1");
        assertRuns("kill", made.path("id").stringValue());
        awaitRefused(port);
    }

    @Test
    void a_child_has_its_port_as_long_as_it_lives() throws Exception {
        Process fork = start("fork", "--tag", "py", "-n", "1", "-p", ":80", "--settle-secs", "1000");
        String line = "";
        BufferedReader lines = fork.inputReader();
        while (!line.endsWith("->80")) {
            line = lines.readLine();
            assertThat(line).isNotNull();
        }
        int port = Integer.parseInt(line.replaceAll("^.*:(\\d+)->80$", "$1"));
        assertThat(fetch(port)).endsWith("hello from the guest: GET /p HTTP/1.1");
        fork.toHandle().destroy();
        assertThat(fork.waitFor(60, TimeUnit.SECONDS)).isTrue();
        awaitRefused(port);
    }
}
