package io.forkd.http;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.io.InputStream;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Frames of a client, byte by byte, against a server that sends each message back. */
@Timeout(value = 2, unit = TimeUnit.MINUTES)
class WebSocketTest {
    private static final String KEY = "dGhlIHNhbXBsZSBub25jZQ==";

    private HttpServer server;

    private record Echo() implements WebSocket.Conversation {
        @Override
        public void hold(WebSocket socket) throws IOException {
            for (Optional<WebSocket.Message> next = socket.next(); next.isPresent(); next = socket.next()) {
                if (next.get() instanceof WebSocket.Message.Text text) {
                    socket.send(text.text());
                } else if (next.get() instanceof WebSocket.Message.Binary binary) {
                    socket.send(binary.bytes());
                }
            }
        }

        @Override
        public void close() {}
    }

    @BeforeEach
    void start() {
        server = HttpServer.start(
                new HttpOptions(
                        Optional.of(HttpOptions.address("127.0.0.1:0")),
                        Optional.empty(),
                        Optional.empty(),
                        Optional.empty(),
                        Optional.empty(),
                        Limits.STANDARD),
                new Routes().get("/echo", call -> {
                    WebSocket.require(call);
                    return WebSocket.answer(call, new Echo());
                }),
                new Metrics(),
                e -> new HttpFailure(500, e.sentence()));
    }

    @AfterEach
    void stop() {
        server.stop();
    }

    /** What is answered to those bytes, in hexadecimal digits, until the server closes. */
    private String answer(String hex) throws IOException {
        try (Socket socket = new Socket("127.0.0.1", server.tcp().orElseThrow().getPort())) {
            socket.getOutputStream()
                    .write(("GET /echo HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n"
                                    + "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + KEY + "\r\n\r\n")
                            .getBytes(StandardCharsets.US_ASCII));
            socket.getOutputStream().write(HexFormat.of().parseHex(hex.replace(" ", "")));
            InputStream in = socket.getInputStream();
            StringBuilder head = new StringBuilder();
            while (!head.toString().endsWith("\r\n\r\n")) {
                head.append((char) in.read());
            }
            assertThat(head.toString())
                    .startsWith("HTTP/1.1 101 ")
                    .contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n");
            return HexFormat.of().formatHex(in.readAllBytes());
        }
    }

    /** A mask of zeros, and then what closes: 88 80 00000000. */
    @ParameterizedTest
    @CsvSource(delimiter = '|', textBlock = """
                    81 82 01020304 696b 88 80 00000000                        | 81026869 8802 03e8
                    82 80 00000000 88 80 00000000                             | 8200 8802 03e8
                    01 81 00000000 61 89 81 00000000 70 80 81 00000000 62 88 80 00000000 | 8a0170 81026162 8802 03e8
                    8a 80 00000000 88 80 00000000                             | 8802 03e8
                    81 02 6869                                                | 8802 03ea
                    c1 80 00000000                                            | 8802 03ea
                    83 80 00000000                                            | 8802 03ea
                    80 80 00000000                                            | 8802 03ea
                    01 80 00000000 81 80 00000000                             | 8802 03ea
                    09 80 00000000                                            | 8802 03ea
                    89 fe 007e 00000000                                       | 8802 03f1
                    82 ff 0000000000100001 00000000                           | 8802 03f1
                    82 ff 8000000000000000 00000000                           | 8802 03f1
                    81 81 00000000 ff                                         | 8802 03ef
                    """)
    void frames_are_answered_as_they_should(String sent, String expected) throws IOException {
        // What was said once is said again when the conversation ends; the first goodbye counts.
        assertThat(answer(sent)).startsWith(expected.replace(" ", ""));
    }

    private Socket talk() throws IOException {
        Socket socket = new Socket("127.0.0.1", server.tcp().orElseThrow().getPort());
        socket.getOutputStream()
                .write(("GET /echo HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                                + "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + KEY + "\r\n\r\n")
                        .getBytes(StandardCharsets.US_ASCII));
        StringBuilder head = new StringBuilder();
        while (!head.toString().endsWith("\r\n\r\n")) {
            head.append((char) socket.getInputStream().read());
        }
        return socket;
    }

    @Test
    void messages_that_are_not_whole_have_so_much_room_together() throws Exception {
        byte[] announced = HexFormat.of().parseHex("82ff000000000010000000000000");
        List<Socket> sockets = new ArrayList<>();
        try {
            for (int i = 0; i < 48; i++) {
                Socket socket = talk();
                sockets.add(socket);
                socket.getOutputStream().write(announced);
            }
            // What is announced takes nothing.
            long_message_comes_back();
            for (Socket socket : sockets) {
                socket.getOutputStream().write(new byte[(1 << 20) - 1]);
            }
            long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(60);
            while (sockets.stream().noneMatch(WebSocketTest::isTurnedAway)) {
                assertThat(System.nanoTime()).isLessThan(end);
                Thread.sleep(20);
            }
            assertThat(sockets.stream().filter(WebSocketTest::isTurnedAway).count())
                    .isLessThan(30);
        } finally {
            for (Socket socket : sockets) {
                socket.close();
            }
        }
        while (true) { // Until the server has seen that they are gone.
            try {
                long_message_comes_back();
                return;
            } catch (AssertionError | IOException e) {
                Thread.sleep(100);
            }
        }
    }

    /** Whether it was told to try again later: 1013. */
    private static boolean isTurnedAway(Socket socket) {
        try {
            return socket.getInputStream().available() > 0;
        } catch (IOException e) {
            return true;
        }
    }

    @Test
    void long_message_comes_back() throws IOException {
        String payload = "61".repeat(70_000);
        assertThat(answer("82 ff 0000000000011170 00000000" + payload + "88 80 00000000"))
                .startsWith("827f0000000000011170" + payload);
    }
}
