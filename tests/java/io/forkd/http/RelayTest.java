package io.forkd.http;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.nio.channels.Channels;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Between a client and a server, both of them bytes that this test writes. */
@Timeout(value = 2, unit = TimeUnit.MINUTES)
class RelayTest {
    private final ExecutorService others = Executors.newCachedThreadPool();
    private ServerSocketChannel behind;
    private HttpServer daemon;
    private volatile Duration patience = Duration.ofMinutes(5);

    @BeforeEach
    void start() throws IOException {
        behind = ServerSocketChannel.open().bind(new InetSocketAddress("127.0.0.1", 0));
        Routes routes = new Routes()
                .any(
                        "/to/:path*",
                        call -> Response.later(new Relay(
                                call,
                                new Relay.Rules(
                                        "/target?q=1",
                                        "/to",
                                        Set.of("authorization"),
                                        List.of(new Header("X-Told", "so")),
                                        List.of(new Header("X-Added", "yes")),
                                        patience),
                                SocketChannel.open(behind.getLocalAddress()))));
        daemon = HttpServer.start(
                new HttpOptions(
                        Optional.of(HttpOptions.address("127.0.0.1:0")),
                        Optional.empty(),
                        Optional.empty(),
                        Optional.empty(),
                        Optional.empty(),
                        Limits.STANDARD),
                routes,
                new Metrics(),
                e -> new HttpFailure(500, e.sentence()));
    }

    @AfterEach
    void stop() throws IOException {
        behind.close();
        daemon.stop();
        others.shutdownNow();
    }

    private interface Server {
        void serve(InputStream in, OutputStream out) throws IOException;
    }

    /** Answers the next connection. */
    private void serve(Server server) {
        var unused = others.submit(() -> {
            try (SocketChannel channel = behind.accept()) {
                server.serve(Channels.newInputStream(channel), Channels.newOutputStream(channel));
            }
            return null;
        });
    }

    private Socket client(String request) throws IOException {
        Socket socket = new Socket("127.0.0.1", daemon.tcp().orElseThrow().getPort());
        socket.getOutputStream().write(bytes(request));
        return socket;
    }

    private static byte[] bytes(String text) {
        return text.replace("\n", "\r\n").getBytes(StandardCharsets.ISO_8859_1);
    }

    private static String head(InputStream in) throws IOException {
        return until(in, "\r\n\r\n");
    }

    private static String until(InputStream in, String end) throws IOException {
        StringBuilder text = new StringBuilder();
        while (!text.toString().endsWith(end)) {
            int next = in.read();
            if (next < 0) {
                throw new IOException("ended after " + text);
            }
            text.append((char) next);
        }
        return text.toString();
    }

    private static String all(Socket client) throws IOException {
        return new String(client.getInputStream().readAllBytes(), StandardCharsets.ISO_8859_1);
    }

    private String ask(String request) throws IOException {
        try (Socket client = client(request)) {
            return all(client);
        }
    }

    @Test
    void what_concerns_a_connection_stays_on_it() throws Exception {
        StringBuilder seen = new StringBuilder();
        serve((in, out) -> {
            seen.append(head(in));
            out.write(bytes("HTTP/1.1 418 Teapot\nSet-Cookie: a=1\nSet-Cookie: b=2\nKeep-Alive: timeout=5\n"
                    + "Connection: close, X-Own\nX-Own: 1\nContent-Length: 3\n\nabc"));
        });
        String answer = ask(
                "GET /to/x HTTP/1.1\nHost: app.example.localhost\nAuthorization: Bearer secret\nCookie: c=1\n"
                        + "Connection: close, X-Mine\nX-Mine: 1\nTE: trailers\nX-Forwarded-For: 6.6.6.6\nForwarded: for=6.6.6.6\n\n");
        assertThat(seen.toString())
                .startsWith("GET /target?q=1 HTTP/1.1\r\n")
                .contains(
                        "Host: app.example.localhost\r\n",
                        "Cookie: c=1\r\n",
                        "X-Forwarded-For: 127.0.0.1\r\n",
                        "X-Told: so\r\n")
                .contains("X-Forwarded-Host: app.example.localhost\r\n", "X-Forwarded-Proto: http\r\n")
                .contains("X-Forwarded-Prefix: /to\r\n", "Connection: close\r\n")
                .doesNotContain("secret", "X-Mine", "TE:", "6.6.6.6");
        assertThat(answer)
                .startsWith("HTTP/1.1 418 ")
                .contains("Set-Cookie: a=1\r\n", "Set-Cookie: b=2\r\n", "X-Added: yes\r\n")
                .doesNotContain("Keep-Alive", "X-Own")
                .endsWith("\r\n\r\nabc");
    }

    @Test
    void body_keeps_its_length_whatever_connection_names() throws Exception {
        StringBuilder seen = new StringBuilder();
        serve((in, out) -> {
            seen.append(head(in));
            out.write(bytes("HTTP/1.1 204 None\n\n"));
        });
        ask("POST /to/x HTTP/1.1\nHost: app.localhost\nConnection: close, Content-Length, host\nContent-Length: 18\n\n"
                + "GET / HTTP/1.1\n\n");
        assertThat(seen.toString()).contains("Content-Length: 18\r\n", "Host: app.localhost\r\n");
    }

    @ParameterizedTest
    @ValueSource(strings = {"DELETE", "PATCH", "OPTIONS", "PROPFIND"})
    void every_method_is_passed_on(String method) throws Exception {
        serve((in, out) -> {
            String line = head(in).split("\r\n", 2)[0];
            out.write(bytes("HTTP/1.1 200 OK\n\n" + line));
        });
        assertThat(ask(method + " /to HTTP/1.1\nHost: localhost\nConnection: close\n\n"))
                .contains(method + " /target?q=1 HTTP/1.1");
    }

    @Test
    void trace_is_not_passed_on() throws Exception {
        serve((in, out) -> out.write(bytes("HTTP/1.1 200 OK\n\n" + head(in))));
        assertThat(ask("TRACE /to HTTP/1.1\nHost: localhost\nConnection: close\n\n"))
                .startsWith("HTTP/1.1 405 ");
    }

    @Test
    void bodies_go_both_ways_while_neither_has_ended() throws Exception {
        serve((in, out) -> {
            assertThat(head(in)).contains("Transfer-Encoding: chunked\r\n");
            out.write(bytes("HTTP/1.1 100 Continue\n\nHTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n"));
            for (int i = 0; i < 3; i++) {
                String chunk = until(in, "\r\n") + until(in, "\r\n");
                out.write(bytes("5\n" + chunk.split("\r\n", -1)[1] + "\n"));
            }
            assertThat(until(in, "0\r\n\r\n")).isEqualTo("0\r\n\r\n");
            out.write(bytes("0\n\n"));
        });
        try (Socket client = client("POST /to/x HTTP/1.1\nHost: localhost\nTransfer-Encoding: chunked\n\n")) {
            InputStream in = client.getInputStream();
            for (String word : List.of("first", "other", "third")) {
                client.getOutputStream().write(bytes("5\n" + word + "\n"));
                until(in, word);
            }
            client.getOutputStream().write(bytes("0\n\n"));
            until(in, "0\r\n\r\n");
        }
    }

    @Test
    void large_body_with_a_length_arrives_whole() throws Exception {
        int length = 20_000_000;
        serve((in, out) -> {
            assertThat(head(in)).contains("Content-Length: " + length + "\r\n");
            in.skipNBytes(length);
            out.write(bytes("HTTP/1.1 200 OK\nContent-Length: " + length + "\n\n"));
            out.write(new byte[length]);
        });
        try (Socket client =
                client("PUT /to/x HTTP/1.1\nHost: localhost\nConnection: close\nContent-Length: " + length + "\n\n")) {
            client.getOutputStream().write(new byte[length]);
            head(client.getInputStream());
            assertThat(client.getInputStream().readAllBytes()).hasSize(length);
        }
    }

    @Test
    void head_has_no_body() throws Exception {
        serve((in, out) -> {
            head(in);
            out.write(bytes("HTTP/1.1 200 OK\nContent-Length: 5\n\n"));
        });
        assertThat(ask("HEAD /to/x HTTP/1.1\nHost: localhost\nConnection: close\n\n"))
                .contains("Content-Length: 5\r\n")
                .endsWith("\r\n\r\n");
    }

    @Test
    void websocket_is_passed_through_as_bytes() throws Exception {
        serve((in, out) -> {
            assertThat(head(in)).contains("Upgrade: websocket\r\n", "Sec-WebSocket-Key: k\r\n");
            out.write(bytes("HTTP/1.1 101 Switching Protocols\nUpgrade: websocket\nConnection: Upgrade\n"
                    + "Sec-WebSocket-Accept: a\n\n\u0001first"));
            assertThat(until(in, "ping")).isEqualTo("early\u0000ping");
            out.write(bytes("pong"));
        });
        try (Socket client = client("GET /to/x HTTP/1.1\nHost: localhost\nConnection: keep-alive, Upgrade\n"
                + "Upgrade: websocket\nSec-WebSocket-Key: k\n\nearly")) {
            InputStream in = client.getInputStream();
            assertThat(head(in)).startsWith("HTTP/1.1 101 ").contains("Sec-WebSocket-Accept: a\r\n");
            until(in, "\u0001first");
            client.getOutputStream().write(bytes("\u0000ping"));
            assertThat(all(client)).isEqualTo("pong");
        }
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "",
                "nonsense\n\n",
                "HTTP/1.1 20",
                "HTTP/1.1 200 OK\nA",
                "HTTP/1.1 200 OK\nContent-Length: x\n\n",
                "HTTP/1.1 200 OK\nContent-Length: 1\nContent-Length: 2\n\n",
                "HTTP/1.1 101 Switching Protocols\n\n",
                "SSH-2.0-OpenSSH_9.2\n"
            })
    void what_is_no_answer_is_a_bad_gateway(String said) throws Exception {
        serve((in, out) -> {
            head(in);
            out.write(bytes(said));
        });
        assertThat(ask("GET /to/x HTTP/1.1\nHost: localhost\nConnection: close\n\n"))
                .startsWith("HTTP/1.1 502 ")
                .contains("what listens there");
    }

    @ParameterizedTest
    @ValueSource(ints = {7_000, 15_000})
    void long_head_is_passed_on(int length) throws Exception {
        String value = "x".repeat(length);
        serve((in, out) -> {
            head(in);
            out.write(bytes("HTTP/1.1 200 OK\nContent-Security-Policy: " + value + "\nContent-Length: 2\n\nok"));
        });
        assertThat(ask("GET /to/x HTTP/1.1\nHost: localhost\nConnection: close\n\n"))
                .startsWith("HTTP/1.1 200 ")
                .contains("Content-Security-Policy: " + value + "\r\n")
                .endsWith("\r\n\r\nok");
    }

    @ParameterizedTest
    @ValueSource(ints = {15_500, 20_000, 60_000})
    void longer_head_is_a_bad_gateway(int length) throws Exception {
        serve((in, out) -> {
            head(in);
            out.write(bytes("HTTP/1.1 200 OK\nX-Long: " + "x".repeat(length) + "\nContent-Length: 2\n\nok"));
        });
        assertThat(ask("GET /to/x HTTP/1.1\nHost: localhost\nConnection: close\n\n"))
                .startsWith("HTTP/1.1 502 ")
                .contains("a head of more than 15 KiB");
    }

    @ParameterizedTest
    @ValueSource(strings = {"GET /to/x HTTP/1.1\n", "POST /to/x HTTP/1.1\nContent-Length: 0\n"})
    void server_that_does_not_begin_to_answer_is_given_up(String request) throws Exception {
        patience = Duration.ofMillis(300);
        var gone = new CompletableFuture<Integer>();
        serve((in, out) -> {
            head(in);
            gone.complete(in.read());
        });
        assertThat(ask(request + "Host: localhost\nConnection: close\n\n"))
                .startsWith("HTTP/1.1 504 ")
                .contains("what listens there has not begun to answer");
        assertThat(gone.get(60, TimeUnit.SECONDS)).isEqualTo(-1);
    }

    @Test
    void server_that_takes_no_more_of_a_body_is_given_up() throws Exception {
        patience = Duration.ofMillis(300);
        var over = new CompletableFuture<Boolean>();
        serve((in, out) -> {
            head(in);
            over.orTimeout(60, TimeUnit.SECONDS).join();
        });
        try (Socket client =
                client("PUT /to/x HTTP/1.1\nHost: localhost\nConnection: close\nContent-Length: 100000000\n\n")) {
            var unused = others.submit(() -> {
                client.getOutputStream().write(new byte[100_000_000]);
                return null;
            });
            assertThat(head(client.getInputStream())).startsWith("HTTP/1.1 504 ");
        } finally {
            over.complete(true);
        }
    }

    @Test
    void server_that_has_begun_may_be_silent_and_so_may_a_client() throws Exception {
        patience = Duration.ofMillis(300);
        serve((in, out) -> {
            assertThat(until(in, "end")).endsWith("end");
            out.write(bytes("HTTP/1.1 200 OK\n\nfirst"));
            pause();
            out.write(bytes("last"));
        });
        try (Socket client = client("PUT /to/x HTTP/1.1\nHost: localhost\nConnection: close\nContent-Length: 3\n\n")) {
            pause();
            client.getOutputStream().write(bytes("end"));
            assertThat(all(client)).startsWith("HTTP/1.1 200 ").contains("first", "last");
        }
    }

    /** Longer than the patience. */
    private static void pause() {
        try {
            Thread.sleep(1000);
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }

    @Test
    void endless_head_is_bounded() throws Exception {
        serve((in, out) -> {
            head(in);
            out.write(bytes("HTTP/1.1 200 OK\n"));
            while (true) {
                out.write(bytes("X-More: and more\n"));
            }
        });
        assertThat(ask("GET /to/x HTTP/1.1\nHost: localhost\nConnection: close\n\n"))
                .startsWith("HTTP/1.1 502 ");
    }

    @ParameterizedTest
    @ValueSource(strings = {"Content-Length: 10\n\nhalf", "Transfer-Encoding: chunked\n\n4\nhalf\n"})
    void answer_that_is_cut_is_no_whole_one(String said) throws Exception {
        serve((in, out) -> {
            head(in);
            out.write(bytes("HTTP/1.1 200 OK\n" + said));
        });
        String answer = ask("GET /to/x HTTP/1.1\nHost: localhost\n\n");
        assertThat(answer).doesNotEndWith("0\r\n\r\n");
        assertThat(answer.contains("Content-Length: 10") || answer.contains("chunked"))
                .isTrue();
    }

    @Test
    void cookie_is_for_the_host_alone() throws Exception {
        serve((in, out) -> {
            head(in);
            out.write(bytes("HTTP/1.1 200 OK\nSet-Cookie: domain=domain=x; DOMAIN = .example.org; Path=/;domain\n"
                    + "Content-Length: 0\n\n"));
        });
        assertThat(ask("GET /to/x HTTP/1.1\nHost: localhost\nConnection: close\n\n"))
                .contains("Set-Cookie: domain=domain=x; Path=/\r\n");
    }

    @Test
    void server_notices_that_its_client_has_gone() throws Exception {
        var asked = new CompletableFuture<String>();
        var gone = new CompletableFuture<Integer>();
        serve((in, out) -> {
            asked.complete(head(in));
            gone.complete(in.read());
        });
        try (Socket client = client("GET /to/x HTTP/1.1\nHost: localhost\n\n")) {
            asked.get(60, TimeUnit.SECONDS);
            assertThat(client.isConnected()).isTrue();
        }
        assertThat(gone.get(60, TimeUnit.SECONDS)).isEqualTo(-1);
    }
}
