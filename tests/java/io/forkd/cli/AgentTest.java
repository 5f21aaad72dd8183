package io.forkd.cli;

import static org.assertj.core.api.Assertions.assertThat;

import io.forkd.Json;
import io.forkd.agent.AgentAddress;
import io.forkd.engine.AgentSnapshot;
import io.forkd.engine.Engine;
import io.forkd.image.OciImage;
import io.forkd.image.OciImage.Members;
import io.forkd.image.OciImage.Packing;
import io.forkd.vmm.NetworkNamespace;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.PrintStream;
import java.io.UncheckedIOException;
import java.net.InetSocketAddress;
import java.net.UnixDomainSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.Channels;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import tools.jackson.databind.JsonNode;

/** The verbs of children that answer, from the snapshot on, on this machine's /dev/kvm. */
class AgentTest {
    @TempDir
    static Path scratch;

    private final ByteArrayOutputStream out = new ByteArrayOutputStream();
    private final ByteArrayOutputStream err = new ByteArrayOutputStream();

    private static Map<String, String> environment() {
        return Map.of("XDG_DATA_HOME", scratch.toString(), "XDG_RUNTIME_DIR", scratch.toString());
    }

    @BeforeAll
    static void snapshot() throws Exception {
        AgentSnapshot.make(Engine.of(environment()), scratch, "py");
    }

    @AfterEach
    void end() {
        run("kill", "--all");
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

    private String printed(String... arguments) {
        int status = run(arguments);
        assertThat(status).as("%s: %s", Arrays.toString(arguments), err).isZero();
        return out.toString(StandardCharsets.UTF_8).strip();
    }

    private List<String> spawn(int count) {
        JsonNode made = Json.parse(printed("spawn", "--tag", "py", "-n", Integer.toString(count), "--json")
                .getBytes(StandardCharsets.UTF_8));
        return made.valueStream().map(each -> each.path("id").stringValue()).toList();
    }

    @Test
    void sandboxes_answer_each_for_itself() {
        List<String> ids = spawn(3);
        assertThat(ids).hasSize(3);
        for (String id : ids) {
            assertThat(printed("exec", "--child", id, "--", "echo", "hello", id))
                    .isEqualTo("hello " + id);
            assertThat(printed("eval", "--child", id, "count")).isEqualTo("1");
        }
        assertThat(printed("eval", "--child", ids.get(1), "count")).isEqualTo("2");
        assertThat(printed("eval", "--child", ids.get(2), "count")).isEqualTo("2");
        assertThat(printed("ping", "--child", ids.get(0))).contains("\"pong\" : true");
        assertThat(printed("kill", ids.get(0))).contains(ids.get(0));
        assertThat(printed("ls")).doesNotContain(ids.get(0)).contains(ids.get(1), ids.get(2));
    }

    @Test
    void branch_begins_with_what_its_source_had() {
        String id = spawn(1).get(0);
        printed("eval", "--child", id, "count");
        printed("exec", "--child", id, "--", "set", "colour", "red");
        printed("snapshot", "--from-sandbox", id, "--tag", "later");
        assertThat(printed("eval", "--child", id, "count")).isEqualTo("2");
        assertThat(printed("fork", "--tag", "later", "-n", "2", "--eval", "count"))
                .contains("later-1: 2", "later-2: 2", "2 / 2 children alive");
        assertThat(printed("fork", "--tag", "later", "-n", "1", "--", "get", "colour"))
                .contains("later-1: red");
    }

    @Test
    void layer_has_what_its_command_did() {
        printed("snapshot-diff", "--from", "py", "--tag", "with", "--exec", "set colour red");
        assertThat(printed("fork", "--tag", "with", "-n", "1", "--", "get", "colour"))
                .contains("with-1: red");
        assertThat(printed("snapshot-info", "with")).contains("parent_tag:  py");
        assertThat(run("exec", "--child", spawn(1).get(0), "--", "get", "colour"))
                .isEqualTo(1);
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "sh -c 'exit 7'                           | 7",
                "nope                                     | 127",
                "crash                                    | 1",
                "halt                                     | 1",
            })
    void command_has_its_status(String command, int status) {
        String id = spawn(1).get(0);
        assertThat(run(exec(id, command))).isEqualTo(status);
    }

    @Test
    void command_that_takes_too_long_is_ended() {
        String id = spawn(1).get(0);
        assertThat(run("exec", "--child", id, "--timeout-secs", "1", "--", "slow", "100"))
                .isEqualTo(124);
        assertThat(out.toString(StandardCharsets.UTF_8)).startsWith("....");
        assertThat(run("eval", "--child", id, "--timeout-secs", "1", "sleep 100"))
                .isEqualTo(124);
        assertThat(printed("exec", "--child", id, "--", "sh", "-c", "sleep 0.1; echo still here"))
                .isEqualTo("still here");
    }

    @Test
    void streams_are_told_apart_and_long_ones_arrive_whole() {
        String id = spawn(1).get(0);
        printed("exec", "--child", id, "--", "sh", "-c", "echo one; echo two >&2");
        assertThat(out.toString(StandardCharsets.UTF_8)).isEqualTo("one\n");
        assertThat(err.toString(StandardCharsets.UTF_8)).isEqualTo("two\n");
        assertThat(printed("exec", "--child", id, "--", "write", "8388608"))
                .hasSize(8 << 20)
                .startsWith("0123456789abcdefghijklmnopqrstuv0123")
                .endsWith("stuv");
    }

    @Test
    void input_comes_back() {
        byte[] input = "0123456789\n".repeat(20_000).getBytes(StandardCharsets.UTF_8);
        String id = spawn(1).get(0);
        InputStream before = System.in;
        System.setIn(new ByteArrayInputStream(input));
        try {
            printed("exec", "-i", "--child", id, "--", "cat");
        } finally {
            System.setIn(before);
        }
        assertThat(out.toByteArray()).isEqualTo(input);
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "endless | answered with a line of more than 16 MiB",
                "base64  | sent output that is not base64",
                "empty   | did not say how the command ended",
                "code    | did not say how the command ended",
                "text    | is no agent",
                "nested  | is no agent",
                "half    | is no agent",
                "close   | closed the connection without an answer",
            })
    void agent_that_answers_nonsense_is_an_error(String kind, String message) {
        String id = spawn(1).get(0);
        assertThat(run("exec", "--child", id, "--", "hostile", kind)).isEqualTo(1);
        assertThat(err.toString(StandardCharsets.UTF_8)).startsWith("Error: ").contains(message);
        assertThat(printed("eval", "--child", id, "6 * 7")).isEqualTo("42");
    }

    /** For a verb that boots an image: the guest of our own, and a small disk. */
    private static String[] booting(String verb, String image, String... more) {
        List<String> arguments = new ArrayList<>(List.of(verb, "--image", image));
        arguments.addAll(List.of("--cache", scratch.resolve("cache").toString(), "--size-mib", "64"));
        arguments.addAll(List.of("--kernel", scratch.resolve("agent.elf").toString()));
        arguments.addAll(List.of("--mem-size-mib", "64", "--vcpus", "1"));
        arguments.addAll(List.of(more));
        return arguments.toArray(String[]::new);
    }

    private static String image(String name) throws IOException {
        return new OciImage(Files.createDirectory(scratch.resolve(name)))
                .layer(Packing.GZIP, new Members().file("etc/name", name))
                .write();
    }

    @Test
    void run_takes_a_container_image_or_a_disk() throws Exception {
        String reference = image("small");
        for (String image :
                List.of(reference, reference, scratch.resolve("disk.ext4").toString())) {
            assertThat(printed(booting("run", image, "--", "echo", "hello"))).isEqualTo("hello");
        }
        assertThat(printed("images")).contains(RunCommand.tag(reference).value(), "run-disk");
        assertThat(printed("cache", "ls", "--cache", scratch.resolve("cache").toString()))
                .contains(reference);
    }

    @Test
    void quickstart_makes_its_snapshot_once_or_anew_when_told_to_and_forks() throws Exception {
        String reference = image("first");
        assertThat(printed(booting("quickstart", reference, "-n", "2"))).contains("2 / 2 children alive");
        assertThat(err.toString(StandardCharsets.UTF_8))
                .contains("tag:      quickstart")
                .contains("Go on: forkd fork --tag quickstart");
        assertThat(printed(booting("quickstart", "not/there", "-n", "1", "--json"))
                        .lines())
                .allMatch(line ->
                        Json.parse(line.getBytes(StandardCharsets.UTF_8)).has("event"));
        assertThat(err.toString(StandardCharsets.UTF_8)).contains("The snapshot 'quickstart' is there");

        String disk = scratch.resolve("disk.ext4").toString();
        assertThat(printed(booting("quickstart", disk, "-n", "2", "--force", "--eval", "6 * 7")))
                .contains("quickstart-1: 42", "quickstart-2: 42", "2 / 2 children alive");
        assertThat(err.toString(StandardCharsets.UTF_8))
                .contains("tag:      quickstart", "TAG ")
                .doesNotContain("is there, and is used");
    }

    /** A guest's agent, on the address that it has in a namespace: what comes there is passed on to a sandbox's. */
    private static final class InNamespace implements AutoCloseable {
        private final String name = "forkd-test-" + ProcessHandle.current().pid();
        private final ServerSocketChannel server;

        InNamespace(Path vsock) throws Exception {
            ip("netns", "add", name);
            ip("-n", name, "link", "set", "lo", "up");
            ip("-n", name, "addr", "add", "10.42.0.2/24", "dev", "lo");
            server = CompletableFuture.supplyAsync(this::listen, job -> new Thread(job).start())
                    .get();
            Thread thread = new Thread(() -> serve(vsock));
            thread.setDaemon(true);
            thread.start();
        }

        private ServerSocketChannel listen() {
            NetworkNamespace.enter(Path.of("/var/run/netns", name));
            try {
                return ServerSocketChannel.open().bind(new InetSocketAddress("10.42.0.2", AgentAddress.PORT));
            } catch (IOException e) {
                throw new UncheckedIOException(e);
            }
        }

        private void serve(Path vsock) {
            while (true) {
                try (SocketChannel client = server.accept();
                        SocketChannel agent = SocketChannel.open(UnixDomainSocketAddress.of(vsock))) {
                    agent.write(ByteBuffer.wrap("CONNECT 8888\n".getBytes(StandardCharsets.UTF_8)));
                    InputStream answers = Channels.newInputStream(agent);
                    while (answers.read() != '\n') {
                        // "OK ..."
                    }
                    Channels.newInputStream(client).transferTo(Channels.newOutputStream(agent));
                    agent.shutdownOutput();
                    answers.transferTo(Channels.newOutputStream(client));
                } catch (IOException e) {
                    return; // It was closed.
                }
            }
        }

        private static void ip(String... arguments) throws Exception {
            List<String> command = new ArrayList<>(List.of("ip"));
            command.addAll(List.of(arguments));
            Process process =
                    new ProcessBuilder(command).redirectErrorStream(true).start();
            String said = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
            assertThat(process.waitFor()).as(said).isZero();
        }

        @Override
        public void close() throws Exception {
            server.close();
            ip("netns", "del", name);
        }
    }

    @Test
    void child_may_be_the_guest_of_a_network_namespace() throws Exception {
        String id = spawn(1).get(0);
        Path vsock = scratch.resolve("forkd/sandboxes").resolve(id).resolve("agent.vsock");
        try (InNamespace namespace = new InNamespace(vsock)) {
            assertThat(printed("exec", "--child", namespace.name, "--", "echo", "from", "inside"))
                    .isEqualTo("from inside");
            assertThat(run("exec", "--child", namespace.name, "--", "sh", "-c", "exit 7"))
                    .isEqualTo(7);
            assertThat(printed("eval", "--child", namespace.name, "6 * 7")).isEqualTo("42");
            assertThat(printed("ping", "--child", namespace.name)).contains("\"pong\" : true");
        }
        assertThat(run("ping", "--child", "forkd-test-none")).isEqualTo(1);
        assertThat(err.toString(StandardCharsets.UTF_8)).contains("no running child or sandbox", "ip netns list");
        assertThat(run("ping", "--child", "../netns")).isEqualTo(1);
    }

    /** Words by white space, but for what is in quotes. */
    private static String[] exec(String id, String command) {
        String[] quoted = command.split("'");
        List<String> words = new ArrayList<>(List.of("exec", "--child", id, "--"));
        words.addAll(List.of(quoted[0].strip().split(" +")));
        if (quoted.length > 1) {
            words.add(quoted[1]);
        }
        return words.toArray(String[]::new);
    }
}
