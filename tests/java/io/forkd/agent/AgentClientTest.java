package io.forkd.agent;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.forkd.agent.AgentClient.Evaluation;
import io.forkd.agent.AgentClient.Output;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
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
import java.util.Base64;
import java.util.List;
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
    void eval_gives_the_value_of_python_and_of_node() throws Exception {
        overTcp(
                "{\"result\":\"[0.0]\",\"exit_code\":0}\n",
                client -> assertThat(client.eval("z")).isEqualTo(new Evaluation.Value("[0.0]")));
        overTcp(
                "{\"result_json\":\"{}\",\"exit_code\":0}\n",
                client -> assertThat(client.eval("z")).isEqualTo(new Evaluation.Value("{}")));
    }

    @Test
    void eval_that_raised_gives_error_and_trace() throws Exception {
        overTcp(
                "{\"error\":\"NameError\",\"traceback\":\"T\",\"exit_code\":1}\n",
                client -> assertThat(client.eval("z")).isEqualTo(new Evaluation.Failure("NameError", "T")));
    }

    @Test
    void empty_answer_and_wrong_answer_are_errors() throws Exception {
        overTcp("", client -> assertThatThrownBy(client::ping).hasMessageContaining("without an answer"));
        overTcp("HTTP/1.1 400\n", client -> assertThatThrownBy(client::ping).hasMessageContaining("is no agent"));
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
                client -> assertThat(client.eval("1")).isEqualTo(new Evaluation.Value("1")));
    }

    @Test
    void address_is_host_and_port_or_a_socket() {
        assertThat(AgentAddress.parse("[::1]:80")).isEqualTo(new AgentAddress.Tcp("::1", 80));
        for (String wrong : List.of("", "host", "host:", ":80", "host:0", "host:65536", "host:x")) {
            assertThatThrownBy(() -> AgentAddress.parse(wrong)).hasMessageContaining("is not a target");
        }
    }
}
