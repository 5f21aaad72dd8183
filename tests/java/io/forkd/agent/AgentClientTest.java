package io.forkd.agent;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.forkd.ForkdException;
import io.forkd.agent.AgentClient.Evaluation;
import io.forkd.agent.AgentClient.Output;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.channels.Channels;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Random;
import java.util.concurrent.CompletableFuture;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Against a small real server on TCP and on a Unix socket. */
class AgentClientTest {
    @TempDir
    Path directory;

    /** Answers one request, after it has seen the client close its side; over vsock takes the connection when not busy. */
    private static CompletableFuture<String> serve(
            ServerSocketChannel server, boolean vsock, Duration busy, String reply) {
        return CompletableFuture.supplyAsync(() -> {
            try (SocketChannel client = server.accept()) {
                InputStream in = Channels.newInputStream(client);
                if (vsock) {
                    byte[] connect = in.readNBytes("CONNECT 8888\n".length());
                    assertThat(new String(connect, StandardCharsets.UTF_8)).isEqualTo("CONNECT 8888\n");
                    Thread.sleep(busy.toMillis());
                    Channels.newOutputStream(client).write("OK 1024\n".getBytes(StandardCharsets.UTF_8));
                }
                String request = new String(in.readAllBytes(), StandardCharsets.UTF_8);
                Channels.newOutputStream(client).write(reply.getBytes(StandardCharsets.UTF_8));
                return request;
            } catch (IOException | InterruptedException e) {
                throw new IllegalStateException(e);
            }
        });
    }

    private static final Output NOWHERE = Output.into(new ByteArrayOutputStream(), new ByteArrayOutputStream());

    private interface Use {
        void with(AgentClient client) throws Exception;
    }

    private String overTcp(String reply, Use use) throws Exception {
        try (ServerSocketChannel server = ServerSocketChannel.open()) {
            server.bind(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0));
            CompletableFuture<String> request = serve(server, false, Duration.ZERO, reply);
            int port = ((InetSocketAddress) server.getLocalAddress()).getPort();
            use.with(new AgentClient(AgentAddress.parse("127.0.0.1:" + port)));
            return request.get();
        }
    }

    private String overVsock(String reply, Use use) throws Exception {
        return overVsock(Duration.ZERO, reply, use);
    }

    private String overVsock(Duration busy, String reply, Use use) throws Exception {
        Path socket = directory.resolve("s.vsock");
        try (ServerSocketChannel server = ServerSocketChannel.open(StandardProtocolFamily.UNIX)) {
            server.bind(UnixDomainSocketAddress.of(socket));
            CompletableFuture<String> request = serve(server, true, busy, reply);
            use.with(new AgentClient(AgentAddress.parse("unix:" + socket)));
            return request.get();
        }
    }

    @Test
    void ping_gives_the_agents_own_answer() throws Exception {
        String request = overTcp(
                "{\"pong\":true,\"extra\":1}\n",
                client -> assertThat(client.ping().toString()).isEqualTo("{\"pong\":true,\"extra\":1}"));
        assertThat(request).isEqualTo("{\"action\":\"ping\"}\n");
    }

    @Test
    void exec_streams_any_bytes_of_both_outputs_over_vsock() throws Exception {
        byte[] bytes = new byte[300_000];
        new Random(42).nextBytes(bytes);
        String chunk = Base64.getEncoder().encodeToString(bytes);
        String request = overVsock(
                "{\"stream\":\"stdout\",\"data_base64\":\"" + chunk + "\"}\n"
                        + "{\"stream\":\"stderr\",\"data_base64\":\"/w==\"}\n{\"exit_code\":7}\n",
                client -> {
                    ByteArrayOutputStream out = new ByteArrayOutputStream();
                    ByteArrayOutputStream err = new ByteArrayOutputStream();
                    assertThat(client.exec(List.of("cat", "ä"), Duration.ofSeconds(9), Output.into(out, err)))
                            .isEqualTo(7);
                    assertThat(out.toByteArray()).isEqualTo(bytes);
                    assertThat(err.toByteArray()).isEqualTo(new byte[] {(byte) 0xff});
                });
        assertThat(request).isEqualTo("{\"action\":\"exec\",\"args\":[\"cat\",\"ä\"],\"timeout\":9,\"stream\":true}\n");
    }

    @Test
    void exec_understands_agents_that_do_not_stream() throws Exception {
        overTcp("{\"stdout\":\"o\",\"stderr\":\"e\",\"exit_code\":-9}", client -> {
            ByteArrayOutputStream out = new ByteArrayOutputStream();
            ByteArrayOutputStream err = new ByteArrayOutputStream();
            assertThat(client.exec(List.of("x"), Duration.ofSeconds(1), Output.into(out, err)))
                    .isEqualTo(-9);
            assertThat(out).hasToString("o");
            assertThat(err).hasToString("e");
        });
    }

    @Test
    void exec_that_could_not_be_done_is_an_error() throws Exception {
        overTcp(
                "{\"error\":\"FileNotFoundError: x\",\"exit_code\":1}\n",
                client -> assertThatThrownBy(() -> client.exec(
                                List.of("x"),
                                Duration.ofSeconds(1),
                                Output.into(new ByteArrayOutputStream(), new ByteArrayOutputStream())))
                        .hasMessageContaining("FileNotFoundError: x"));
    }

    @Test
    void exec_asks_for_what_the_command_is_to_have_and_passes_input_on() throws Exception {
        byte[] input = new byte[1_000_000];
        Arrays.fill(input, (byte) 'i');
        GuestCommand command = new GuestCommand(
                List.of("cat"),
                Optional.empty(),
                Map.of("A", "1"),
                Optional.of("/tmp"),
                Optional.of("app:29"),
                Optional.of(new ByteArrayInputStream(input)));
        String request = overVsock(
                "{\"exit_code\":0}\n",
                client -> assertThat(client.exec(command, NOWHERE)).isZero());
        assertThat(request)
                .isEqualTo(
                        "{\"action\":\"exec\",\"args\":[\"cat\"],\"timeout\":null,\"stream\":true,\"env\":{\"A\":\"1\"},"
                                + "\"cwd\":\"/tmp\",\"user\":\"app:29\",\"stdin\":\"follows\"}\n"
                                + "i".repeat(input.length));
    }

    @Test
    void exec_that_failed_has_the_exit_status_of_a_shell() throws Exception {
        for (int status : List.of(124, 126, 127)) {
            overTcp(
                    "{\"exit_code\":1,\"error\":\"E\",\"code\":" + status + "}\n",
                    client -> assertThatThrownBy(() -> client.exec(List.of("x"), Duration.ofSeconds(1), NOWHERE))
                            .isInstanceOfSatisfying(
                                    CommandFailed.class,
                                    e -> assertThat(e.exitStatus()).isEqualTo(status))
                            .hasMessageContaining(status == 124 ? "longer than 1 s" : "could not run the command: E"));
        }
    }

    @Test
    void answers_that_say_no_exit_code_are_no_success() throws Exception {
        for (String wrong : List.of(
                "{}",
                "{\"exit_code\":256}",
                "{\"exit_code\":-128}",
                "{\"exit_code\":\"0\"}",
                "{\"exit_code\":0.5}",
                "{\"exit_code\":1e999999999}",
                "{\"exit_code\":99999999999999999999}",
                "{\"exit_code\":null}")) {
            overTcp(
                    wrong + "\n",
                    client -> assertThatThrownBy(() -> client.exec(List.of("x"), Duration.ofSeconds(1), NOWHERE))
                            .isInstanceOf(ForkdException.class)
                            .hasMessageContaining("did not say how the command ended"));
        }
    }

    @Test
    void output_that_is_not_base64_is_the_guests_fault() throws Exception {
        overTcp(
                "{\"stream\":\"stdout\",\"data_base64\":\"!\"}\n",
                client -> assertThatThrownBy(() -> client.exec(List.of("x"), Duration.ofSeconds(1), NOWHERE))
                        .isInstanceOf(ForkdException.class)
                        .hasMessageContaining("127.0.0.1")
                        .hasMessageContaining("not base64"));
    }

    @Test
    void a_busy_volume_is_named_by_a_string() throws Exception {
        overTcp(
                "{\"busy\":[7,\"/data\",{}]}\n",
                client -> assertThat(client.unmount()).containsExactly("/data"));
    }

    /** Sends so many bytes of a line that has no end to each that connects, and then nothing. */
    private static void flood(ServerSocketChannel server, long bytes) {
        CompletableFuture.runAsync(() -> {
            List<SocketChannel> clients = new ArrayList<>();
            byte[] part = "x".repeat(65536).getBytes(StandardCharsets.UTF_8);
            try {
                while (true) {
                    clients.add(server.accept());
                    OutputStream out = Channels.newOutputStream(clients.get(clients.size() - 1));
                    try {
                        for (long sent = 0; sent < bytes; sent += part.length) {
                            out.write(part);
                        }
                    } catch (IOException e) {
                        // It had enough.
                    }
                }
            } catch (IOException e) {
                // The test is over.
            }
        });
    }

    @Test
    void a_line_without_end_is_given_up() throws Exception {
        try (ServerSocketChannel server = ServerSocketChannel.open()) {
            server.bind(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0));
            flood(server, 2L << 30);
            int port = ((InetSocketAddress) server.getLocalAddress()).getPort();
            AgentClient client = new AgentClient(AgentAddress.parse("127.0.0.1:" + port));
            assertThatThrownBy(() -> client.exec(List.of("x"), Duration.ofSeconds(60), NOWHERE))
                    .isInstanceOf(ForkdException.class)
                    .hasMessageContaining("127.0.0.1:" + port)
                    .hasMessageContaining("more than 16 MiB");
            assertThatThrownBy(client::ping).hasMessageContaining("more than 16 MiB");
        }
    }

    @Test
    void long_lines_of_many_guests_are_bounded_together() throws Exception {
        try (ServerSocketChannel server = ServerSocketChannel.open()) {
            server.bind(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0));
            flood(server, 15L << 20);
            int port = ((InetSocketAddress) server.getLocalAddress()).getPort();
            List<CompletableFuture<String>> errors = new ArrayList<>();
            for (int i = 0; i < 4; i++) {
                AgentClient client = new AgentClient(AgentAddress.parse("127.0.0.1:" + port));
                errors.add(CompletableFuture.supplyAsync(
                        () -> {
                            try {
                                client.eval("x", Optional.of(Duration.ZERO)); // gives up after the agent's time
                                return "";
                            } catch (ForkdException e) {
                                return e.sentence();
                            }
                        },
                        task -> new Thread(task).start()));
            }
            assertThat(errors.stream().map(CompletableFuture::join))
                    .anyMatch(error -> error.contains("have more than 40 MiB together"))
                    .anyMatch(error -> error.contains("did not answer"));
            // What they took is free again.
            overTcp(
                    "{\"result\":\"" + "v".repeat(15 << 20) + "\"}\n",
                    client -> assertThat(client.eval("x", Optional.empty())).isInstanceOf(Evaluation.Value.class));
        }
    }

    @Test
    void eval_gives_the_value_of_python_and_of_node() throws Exception {
        overTcp(
                "{\"result\":\"[0.0]\",\"exit_code\":0}\n",
                client -> assertThat(client.eval("z", Optional.of(Duration.ofSeconds(5))))
                        .isEqualTo(new Evaluation.Value("[0.0]", false)));
        overTcp(
                "{\"result_json\":\"{}\",\"exit_code\":0}\n",
                client -> assertThat(client.eval("z", Optional.of(Duration.ofSeconds(5))))
                        .isEqualTo(new Evaluation.Value("{}", true)));
    }

    @Test
    void eval_that_raised_gives_error_and_trace() throws Exception {
        overTcp(
                "{\"error\":\"NameError\",\"traceback\":\"T\",\"exit_code\":1}\n",
                client -> assertThat(client.eval("z", Optional.of(Duration.ofSeconds(5))))
                        .isEqualTo(new Evaluation.Failure("NameError", "T", 1)));
    }

    @Test
    void empty_answer_and_wrong_answer_are_errors() throws Exception {
        overTcp("", client -> assertThatThrownBy(client::ping).hasMessageContaining("without an answer"));
        overTcp("HTTP/1.1 400\n", client -> assertThatThrownBy(client::ping).hasMessageContaining("is no agent"));
        // As a tree it would take a hundred times its size, which is bounded.
        overTcp(
                "{\"a\":[" + "{},".repeat(100_000) + "{}]}\n",
                client -> assertThatThrownBy(client::ping).hasMessageContaining("is no agent"));
        overTcp(
                "\u009b31m\n",
                client -> assertThatThrownBy(client::ping)
                        .hasMessageContaining("?31m")
                        .satisfies(e -> assertThat(e.getMessage()).doesNotContain("\u009b")));
    }

    @Test
    void nobody_there_is_an_error_that_names_the_address() {
        assertThatThrownBy(() -> new AgentClient(AgentAddress.parse("127.0.0.1:1")).ping())
                .hasMessageContaining("cannot reach the agent at 127.0.0.1:1");
        assertThatThrownBy(() -> new AgentClient(AgentAddress.parse("unix:" + directory.resolve("none"))).ping())
                .hasMessageContaining("cannot reach the agent at unix:");
    }

    @Test
    void silent_agent_is_given_up() throws Exception {
        try (ServerSocketChannel server = ServerSocketChannel.open()) {
            server.bind(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0));
            int port = ((InetSocketAddress) server.getLocalAddress()).getPort();
            assertThatThrownBy(() -> new AgentClient(AgentAddress.parse("127.0.0.1:" + port)).ping())
                    .hasMessageContaining("did not answer within 3 s");
        }
    }

    @Test
    void guest_that_takes_no_connection_is_given_up() throws Exception {
        Path socket = directory.resolve("silent.vsock");
        try (ServerSocketChannel server = ServerSocketChannel.open(StandardProtocolFamily.UNIX)) {
            server.bind(UnixDomainSocketAddress.of(socket));
            assertThatThrownBy(() -> new AgentClient(AgentAddress.parse("unix:" + socket)).ping())
                    .hasMessageContaining("cannot reach the agent at unix:")
                    .hasMessageContaining("did not take the connection within 3 s");
        }
    }

    @Test
    void guest_of_a_busy_host_has_time_to_take_the_connection() throws Exception {
        overVsock(
                Duration.ofSeconds(6),
                "{\"result\":\"1\"}\n",
                client -> assertThat(client.eval("1", Optional.empty())).isEqualTo(new Evaluation.Value("1", false)));
    }

    @Test
    void address_is_host_and_port_or_a_socket() {
        assertThat(AgentAddress.parse("[::1]:80")).isEqualTo(new AgentAddress.Tcp("::1", 80));
        for (String wrong : List.of("", "host", "host:", ":80", "host:0", "host:65536", "host:x")) {
            assertThatThrownBy(() -> AgentAddress.parse(wrong)).hasMessageContaining("is not a target");
        }
    }
}
