package io.forkd.daemon;

import static org.assertj.core.api.Assertions.assertThat;

import java.net.Socket;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.WebSocket;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.HexFormat;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Somebody who talks to a program of a guest. */
@Timeout(value = 3, unit = TimeUnit.MINUTES)
class ExecSocketApiTest {
    @RegisterExtension
    static final Service service = new Service();

    /** A client, and what it was told: texts as they are, bytes behind what they are of. */
    private static final class Client implements WebSocket.Listener {
        private final BlockingQueue<String> told = new LinkedBlockingQueue<>();
        private final StringBuilder text = new StringBuilder();
        private final WebSocket socket;

        Client(String id, String query) {
            socket = HttpClient.newHttpClient()
                    .newWebSocketBuilder()
                    .buildAsync(
                            URI.create("ws://127.0.0.1:" + service.address().getPort() + "/v1/sandboxes/" + id
                                    + "/exec?" + query),
                            this)
                    .join();
        }

        @Override
        public CompletionStage<?> onText(WebSocket from, CharSequence data, boolean last) {
            text.append(data);
            if (last) {
                told.add(text.toString());
                text.setLength(0);
            }
            from.request(1);
            return null;
        }

        @Override
        public CompletionStage<?> onBinary(WebSocket from, ByteBuffer data, boolean last) {
            byte stream = data.get();
            told.add(stream + ":" + StandardCharsets.UTF_8.decode(data));
            from.request(1);
            return null;
        }

        @Override
        public CompletionStage<?> onClose(WebSocket from, int code, String reason) {
            told.add("closed " + code);
            return null;
        }

        void type(String input) {
            socket.sendBinary(ByteBuffer.wrap(("\0" + input).getBytes(StandardCharsets.UTF_8)), true)
                    .join();
        }

        void say(String json) {
            socket.sendText(json.replace('\'', '"'), true).join();
        }

        /** Waits until it was told that. */
        String await(String end) throws InterruptedException {
            StringBuilder all = new StringBuilder();
            while (!all.toString().endsWith(end)) {
                all.append(told.take().replaceFirst("^1:", ""));
            }
            return all.toString();
        }
    }

    @Test
    void program_is_given_input_and_tells_how_it_ended() throws Exception {
        Client client = new Client(service.sandbox(), "arg=sh&arg=-c&arg=cat;+stderr+$A;+exit+3&env=A=b&stdin=true");
        client.await("}");
        client.type("hello");
        client.await("hello");
        client.say("{'end':true}");
        assertThat(client.await("closed 1000")).isEqualTo("2:b\n{\"exit_code\":3}closed 1000");
    }

    @Test
    void terminal_has_a_size_and_keys_and_outlives_its_client() throws Exception {
        String id = service.sandbox();
        Client client = new Client(id, "arg=winch&rows=24&columns=80&tag=mine");
        client.await("24 80\r\n");
        client.say("{'rows':50,'columns':132}");
        client.await("50 132\r\n");
        client.socket.sendClose(1000, "").join();
        Client second = new Client(id, "attach=mine");
        second.await("50 132\r\n");
        second.type("\u0003");
        assertThat(second.await("closed 1000")).contains("{\"exit_code\":-2}");
    }

    @Test
    void signals_are_passed_on_and_what_is_no_message_is_said() throws Exception {
        Client client = new Client(service.sandbox(), "arg=trap");
        client.await("}");
        client.say("{'signal':1}");
        client.await("signal 1\n");
        client.say("{'signal':9,'group':true}");
        assertThat(client.await("closed 1000")).contains("{\"exit_code\":-9}");
        for (String wrong : new String[] {"nonsense", "{}", "{'rows':0,'columns':1}", "{'end':true}"}) {
            Client other = new Client(service.sandbox(), "arg=trap");
            other.await("}");
            other.say(wrong);
            assertThat(other.await("closed 1000")).contains("the message is not one");
        }
    }

    @Test
    void connection_stays_until_its_client_has_answered_the_goodbye() throws Exception {
        String id = service.sandbox();
        try (Socket socket = new Socket("127.0.0.1", service.address().getPort())) {
            socket.getOutputStream()
                    .write(("GET /v1/sandboxes/" + id + "/exec?arg=true&stdin=true HTTP/1.1\r\nHost: localhost\r\n"
                                    + "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                                    + "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
                            .getBytes(StandardCharsets.US_ASCII));
            StringBuilder said = new StringBuilder();
            while (!said.toString().endsWith("\u0088\u0002\u0003\u00e8")) {
                int next = socket.getInputStream().read();
                assertThat(next).as(said.toString()).isNotNegative();
                said.append((char) next);
            }
            assertThat(said.toString()).contains("{\"exit_code\":0}");
            assertThat(socket.getInputStream().read()).isNegative();
            // Input that comes too late, and the answer: a reset would tell by the next.
            for (int i = 0; i < 20; i++) {
                socket.getOutputStream().write(HexFormat.of().parseHex("828200000000" + "0061"));
                Thread.sleep(10);
            }
            socket.getOutputStream().write(HexFormat.of().parseHex("888000000000"));
        }
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', textBlock = """
                    arg=true                 | 426
                    arg=true&x=ws            | 400
                    """)
    void what_asks_for_no_websocket_is_refused(String query, int status) throws Exception {
        String id = service.sandbox();
        try (Socket socket = new Socket("127.0.0.1", service.address().getPort())) {
            socket.getOutputStream()
                    .write(("GET /v1/sandboxes/" + id + "/exec?" + query + " HTTP/1.1\r\nHost: localhost\r\n"
                                    + (status == 400
                                            ? "Upgrade: websocket\r\nConnection: Upgrade, close\r\n"
                                            : "Connection: close\r\n")
                                    + "\r\n")
                            .getBytes(StandardCharsets.US_ASCII));
            assertThat(new String(socket.getInputStream().readAllBytes(), StandardCharsets.UTF_8))
                    .startsWith("HTTP/1.1 " + status);
        }
    }
}
