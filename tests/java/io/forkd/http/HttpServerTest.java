package io.forkd.http;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.Json;
import io.forkd.http.Wire.Answer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.net.SocketException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.Random;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.JsonNodeFactory;

/** A real server and raw bytes. */
class HttpServerTest {
    private static final InetSocketAddress ANY_PORT = HttpOptions.address("127.0.0.1:0");
    private static final Duration LONG = Duration.ofSeconds(60);
    private static final int PIECE = 1000;
    private static final Limits GENEROUS =
            new Limits(8, 8, 2 << 20, 16 << 20, 32 << 20, LONG, LONG, LONG, 12_000, Duration.ofSeconds(10));

    @TempDir
    Path scratch;

    private final Metrics metrics = new Metrics();
    private final CountDownLatch release = new CountDownLatch(1);
    private final LinkedBlockingQueue<String> events = new LinkedBlockingQueue<>();
    private Optional<HttpServer> running = Optional.empty();

    private final Routes routes = new Routes()
            .get("/v1/things", call -> Response.json(200, JsonNodeFactory.instance.arrayNode()))
            .get("/v1/things/:id", call -> text(call.parameter("id")))
            .delete("/v1/things/:id", call -> Response.empty(204))
            .post("/v1/things/:id/ping", call -> text("pong"))
            .postJson("/v1/things", call -> text(call.body().text("name")))
            .get("/caller", call -> text(call.caller().text()))
            .get("/flag", call -> text(String.valueOf(call.queryFlag("force"))))
            .get("/number", call -> text(String.valueOf(call.queryNumber("n", 1, 9))))
            .get("/wait", call -> {
                events.add("started");
                release.await();
                return text("done");
            })
            .get("/until-cancelled", call -> {
                CountDownLatch cancelled = new CountDownLatch(1);
                call.onCancel(() -> {
                    events.add("cancelled");
                    cancelled.countDown();
                });
                events.add("started");
                cancelled.await();
                return text("cancelled");
            })
            .get("/missing", call -> {
                throw new ForkdException(Kind.NOT_FOUND, "sandbox sb-1 not found");
            })
            .get("/fault", call -> {
                throw new IllegalStateException("a secret of the inside");
            })
            .get(
                    "/stream",
                    call -> Response.stream(200, "application/x-ndjson", out -> {
                        out.write("1\n".getBytes(StandardCharsets.UTF_8));
                        out.flush();
                        try {
                            release.await();
                        } catch (InterruptedException e) {
                            throw new IOException(e);
                        }
                        out.write("2\n".getBytes(StandardCharsets.UTF_8));
                    }))
            .get(
                    "/stream-until-cancelled",
                    call -> Response.stream(200, "text/plain", out -> {
                        CountDownLatch cancelled = new CountDownLatch(1);
                        call.onCancel(cancelled::countDown);
                        out.write('a');
                        out.flush();
                        try {
                            cancelled.await();
                        } catch (InterruptedException e) {
                            throw new IOException(e);
                        }
                        events.add("cancelled");
                    }))
            .get("/remote", call -> text(call.remote()))
            .get("/slowly/:name", call -> {
                Thread.sleep(1);
                return text(call.parameter("name"));
            })
            .get("/answered", call -> {
                call.onCancel(() -> events.add("cancelled"));
                return text("answered");
            })
            .get(
                    "/torn-stream",
                    call -> Response.stream(200, "text/plain", out -> {
                        out.write(new byte[100_000]);
                        throw new IOException("torn");
                    }))
            .get(
                    "/endless",
                    call -> Response.stream(200, "text/plain", out -> {
                        try {
                            while (true) {
                                out.write(new byte[65536]);
                            }
                        } finally {
                            events.add("ended");
                        }
                    }))
            .get("/large", call -> {
                events.add("large");
                return Response.bytes(200, "text/plain", new byte[16 << 20]);
            })
            .get(
                    "/pieces/:count",
                    call -> Response.pieces(200, "text/plain", pieces(Integer.parseInt(call.parameter("count")))))
            .get("/metrics", call -> metrics.response());

    private static Response text(String text) {
        return Response.text(200, "text/plain", text);
    }

    private HttpOptions options(Limits limits) {
        return new HttpOptions(
                Optional.of(ANY_PORT), Optional.empty(), Optional.empty(), Optional.empty(), Optional.empty(), limits);
    }

    private HttpServer start(HttpOptions options) {
        HttpServer server = HttpServer.start(
                options,
                routes,
                metrics,
                failure -> new HttpFailure(failure.kind() == Kind.NOT_FOUND ? 404 : 500, failure.sentence()));
        running = Optional.of(server);
        return server;
    }

    private Wire connect() throws IOException {
        return Wire.to(running.orElseThrow().tcp().orElseThrow());
    }

    private static String error(Answer answer) {
        assertThat(answer.headers()).containsEntry("content-type", "application/json");
        return Json.parse(answer.body().getBytes(StandardCharsets.UTF_8))
                .get("error")
                .stringValue();
    }

    private void awaitEvent(String event) throws InterruptedException {
        assertThat(events.poll(30, TimeUnit.SECONDS)).isEqualTo(event);
    }

    @AfterEach
    void stop() {
        release.countDown();
        running.ifPresent(HttpServer::stop);
    }

    @Test
    void one_connection_serves_one_request_after_the_other() throws Exception {
        start(options(GENEROUS));
        try (Wire wire = connect()) {
            assertThat(wire.get("/healthz").body()).isEqualTo("{\"ok\":true}");
            assertThat(wire.get("/v1/things").body()).isEqualTo("[]");
            assertThat(wire.get("/v1/things/a%20b%2Fc").body()).isEqualTo("a b/c");
            Answer deleted = wire.ask("DELETE", "/v1/things/a", "Content-Type: application/json\nContent-Length: 0\n");
            assertThat(deleted.status()).isEqualTo(204);
            assertThat(deleted.body()).isEmpty();
            assertThat(wire.postJson("/v1/things", "{\"name\":\"n\",\"more\":[1]}")
                            .body())
                    .isEqualTo("n");
            assertThat(wire.get("/v1/things/../things").status()).isEqualTo(404);
        }
    }

    @Test
    void head_is_answered_as_get_without_the_body() throws Exception {
        start(options(GENEROUS));
        try (Wire wire = connect()) {
            Answer head = wire.ask("HEAD", "/v1/things/four", "");
            assertThat(head.status()).isEqualTo(200);
            assertThat(head.headers()).containsEntry("content-length", "4").containsEntry("content-type", "text/plain");
            assertThat(wire.ask("HEAD", "/stream", "").status()).isEqualTo(200);
            assertThat(wire.ask("HEAD", "/nowhere", "").status()).isEqualTo(404);
            assertThat(wire.get("/v1/things/four").body()).isEqualTo("four");
        }
    }

    @Test
    void requests_that_are_sent_ahead_are_answered_in_order() throws Exception {
        start(options(GENEROUS));
        try (Wire wire = connect()) {
            StringBuilder requests = new StringBuilder();
            for (int i = 0; i < 1000; i++) {
                requests.append("GET /v1/things/")
                        .append(i)
                        .append(" HTTP/1.1\nHost: forkd\n")
                        .append(i % 3 == 0 ? "Content-Length: 3\n\nabc" : "\n");
            }
            wire.send(requests.toString());
            for (int i = 0; i < 1000; i++) {
                assertThat(wire.answer().body()).isEqualTo(String.valueOf(i));
            }
        }
    }

    @Test
    void what_is_sent_during_a_call_is_answered_after_it() throws Exception {
        start(options(GENEROUS));
        try (Wire wire = connect()) {
            wire.send("GET /wait HTTP/1.1\nHost: forkd\n\n");
            awaitEvent("started");
            wire.send("GET /v1/things/next HTTP/1.1\nHost: forkd\n\nPOST /v1/things HTTP/1.1\nHost: forkd\n"
                    + "Content-Type: application/json\nContent-Length: 14\n\n{\"name\":");
            release.countDown();
            assertThat(wire.answer().body()).isEqualTo("done");
            assertThat(wire.answer().body()).isEqualTo("next");
            assertThat(wire.send("\"last\"}").answer().status()).isEqualTo(400);
        }
    }

    @ParameterizedTest
    @CsvSource({
        "GET, /nowhere, 404",
        "GET, /v1/things/, 404",
        "GET, /v1/things/a/, 404",
        "GET, //v1/things, 404",
        "GET, /v1/things;x, 404",
        "GET, /, 404",
        "PUT, /v1/things, 405",
        "OPTIONS, /v1/things, 405",
        "BREW, /v1/things/a, 405",
        "POST, /healthz, 405",
        "GET, /v1/things/%ff, 400",
        "GET, /flag?force=yes, 400",
        "GET, /flag?force, 400",
        "GET, /flag?force=true&force=true, 400",
        "GET, /number?n=10, 400",
        "GET, /number?n=1e0, 400",
        "POST, /v1/things, 415",
        "GET, /missing, 404",
    })
    void errors_are_json(String method, String target, int status) throws Exception {
        start(options(GENEROUS));
        try (Wire wire = connect()) {
            Answer answer = wire.ask(method, target, "");
            assertThat(answer.status()).isEqualTo(status);
            assertThat(error(answer)).isNotEmpty();
            assertThat(wire.get("/healthz").status()).isEqualTo(200);
        }
    }

    @Test
    void another_method_is_told_which_there_are() throws Exception {
        start(options(GENEROUS));
        try (Wire wire = connect()) {
            assertThat(wire.ask("PUT", "/v1/things/a", "").headers()).containsEntry("allow", "DELETE, GET, HEAD");
        }
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "nonsense\n\n",
                "GET\n\n",
                "GET / HTTP/1.1\n\n",
                "GET /v1/things/%zz HTTP/1.1\nHost: a\n\n",
                "GET / HTTP/1.1\nHost: a\nHost: b\n\n",
                "GET / HTTP/9.9\nHost: a\n\n",
                "GET /\u0001 HTTP/1.1\nHost: a\n\n",
                "GET / HTTP/1.1\nHost: a\nContent-Length: -1\n\n",
                "GET / HTTP/1.1\nHost: a\nContent-Length: 1\nContent-Length: 2\n\n",
                "POST /v1/things HTTP/1.1\nHost: a\nContent-Length: 1\nTransfer-Encoding: chunked\n\n",
                "POST /v1/things HTTP/1.1\nHost: a\nContent-Type: application/json\nTransfer-Encoding: chunked\n\nxyz\n",
                "GET / HTTP/1.1\nHost: a\nExpect: a-miracle\n\n",
            })
    void what_is_no_request_is_told_so_in_json(String bytes) throws Exception {
        start(options(GENEROUS));
        try (Wire wire = connect()) {
            Answer answer = wire.send(bytes).answer();
            assertThat(answer.status()).isBetween(400, 505);
            assertThat(error(answer)).isNotEmpty();
            assertThat(wire.ends()).isTrue();
        }
    }

    @Test
    void too_long_a_head_is_refused() throws Exception {
        start(options(GENEROUS));
        try (Wire wire = connect()) {
            Answer answer = wire.ask("GET", "/healthz", "X: " + "x".repeat(20_000) + "\n");
            assertThat(answer.status()).isEqualTo(431);
            assertThat(error(answer)).isNotEmpty();
        }
        try (Wire wire = connect()) {
            Answer answer = wire.ask("GET", "/" + "x".repeat(20_000), "");
            assertThat(answer.status()).isEqualTo(414);
            assertThat(error(answer)).isNotEmpty();
        }
    }

    @ParameterizedTest
    @ValueSource(
            strings = {"", "{", "{\"name\":\"a\"} x", "nul", "{\"name\":\"\u0001\"}", "{'name':'a'}", "{\"name\":NaN}"})
    void what_is_no_json_is_refused(String body) throws Exception {
        start(options(GENEROUS));
        try (Wire wire = connect()) {
            Answer answer = wire.postJson("/v1/things", body);
            assertThat(answer.status()).isEqualTo(400);
            assertThat(error(answer)).startsWith("the body is not JSON");
        }
    }

    @Test
    void json_that_is_nested_too_deep_or_not_utf8_is_refused() throws Exception {
        start(options(GENEROUS));
        try (Wire wire = connect()) {
            String deep = "{\"name\":" + "[".repeat(500_000);
            assertThat(wire.postJson("/v1/things", deep).status()).isEqualTo(400);
            byte[] latin = "{\"name\":\"\u00e9\"}".getBytes(StandardCharsets.ISO_8859_1);
            assertThat(error(wire.postJson("/v1/things", latin))).isEqualTo("the body is not UTF-8");
            byte[] wide = "{\"name\":\"a\"}".getBytes(StandardCharsets.UTF_16BE);
            assertThat(wire.postJson("/v1/things", wide).status()).isEqualTo(400);
            assertThat(wire.postJson("/v1/things", "{\"name\":\"\u00e9\"}").body())
                    .isEqualTo("\u00e9");
        }
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "Content-Length: 3145728\n",
                "Content-Length: 3145728\nExpect: 100-continue\n",
                "Content-Length: 3145728\nAuthorization: Bearer ignored\n",
            })
    void too_long_a_body_is_refused_and_its_sender_hears_of_it(String headers) throws Exception {
        start(options(GENEROUS));
        try (Wire wire = connect()) {
            wire.send("POST /v1/things HTTP/1.1\nHost: a\nContent-Type: application/json\n" + headers + "\n");
            if (!headers.contains("Expect")) {
                wire.sendRaw(new byte[3 << 20]);
            }
            Answer answer = wire.answer();
            assertThat(answer.status()).isEqualTo(413);
            assertThat(error(answer)).contains("2097152");
        }
    }

    @Test
    void too_long_a_body_of_unknown_length_is_refused() throws Exception {
        start(options(GENEROUS));
        try (Wire wire = connect()) {
            wire.send("POST /v1/things HTTP/1.1\nHost: a\nContent-Type: application/json\n"
                    + "Transfer-Encoding: chunked\n\n");
            for (int i = 0; i < 40; i++) {
                wire.send("10000\n").sendRaw(new byte[0x10000]).send("\n");
            }
            assertThat(wire.send("0\n\n").answer().status()).isEqualTo(413);
        }
    }

    @Test
    void endless_body_is_refused_and_its_sender_is_not_cut_off_before_it_hears_of_it() throws Exception {
        start(options(GENEROUS));
        try (Socket socket = new Socket()) {
            socket.connect(running.orElseThrow().tcp().orElseThrow());
            Wire wire = Wire.of(socket);
            wire.send("POST /v1/things HTTP/1.1\nHost: a\nContent-Type: application/json\n"
                    + "Transfer-Encoding: chunked\n\n");
            // It looks for an answer only when it has sent some more, long after that is there.
            for (int i = 0; i < 1600; i++) {
                wire.send("10000\n").sendRaw(new byte[0x10000]).send("\n");
            }
            Answer answer = wire.answer();
            assertThat(answer.status()).isEqualTo(413);
            assertThat(answer.headers()).containsEntry("connection", "close");
            // And nothing more is said.
            assertThat(wire.ends()).isTrue();
            socket.shutdownOutput();
        }
    }

    @Test
    void the_longest_body_is_taken_in_pieces_and_after_leave() throws Exception {
        start(options(GENEROUS));
        byte[] body = ("{\"name\":\"" + "x".repeat((2 << 20) - 11) + "\"}").getBytes(StandardCharsets.UTF_8);
        try (Wire wire = connect()) {
            assertThat(wire.postJson("/v1/things", body).body()).hasSize((2 << 20) - 11);
            wire.send("POST /v1/things HTTP/1.1\nHost: a\nContent-Type: application/json; charset=utf-8\n"
                    + "Expect: 100-continue\nContent-Length: " + body.length + "\n\n");
            assertThat(wire.line()).isEqualTo("HTTP/1.1 100 Continue");
            assertThat(wire.line()).isEmpty();
            assertThat(wire.sendRaw(body).answer().status()).isEqualTo(200);
        }
    }

    @Test
    void a_body_that_a_route_does_not_take_is_ignored() throws Exception {
        start(options(GENEROUS));
        try (Wire wire = connect()) {
            for (String type : List.of("", "Content-Type: application/json\n", "Content-Type: nonsense\n")) {
                wire.send("POST /v1/things/a/ping HTTP/1.1\nHost: a\n" + type + "Content-Length: 4\n\n{{{{");
                assertThat(wire.answer().body()).isEqualTo("pong");
                assertThat(wire.ask("GET", "/v1/things", type).status()).isEqualTo(200);
            }
        }
    }

    @Test
    void a_body_that_is_cut_off_is_refused() throws Exception {
        start(options(GENEROUS));
        try (Socket socket = new Socket()) {
            socket.connect(running.orElseThrow().tcp().orElseThrow());
            Wire wire = Wire.of(socket);
            wire.send("POST /v1/things HTTP/1.1\nHost: a\nContent-Type: application/json\nContent-Length: 9\n\n{\"n");
            socket.shutdownOutput();
            Answer answer = wire.answer();
            assertThat(answer.status()).isEqualTo(400);
            assertThat(error(answer)).contains("cut off");
        }
    }

    @Test
    void a_connection_that_is_kept_may_be_silent_for_longer_than_a_head_may_take() throws Exception {
        Duration brief = Duration.ofMillis(1500);
        start(options(new Limits(8, 8, 2 << 20, 16 << 20, 32 << 20, LONG, brief, LONG, 12_000, brief)));
        try (Wire wire = connect()) {
            assertThat(wire.get("/v1/things").status()).isEqualTo(200);
            Thread.sleep(2 * brief.toMillis() + 1000); // the server looks once a second
            assertThat(wire.get("/v1/things").status()).isEqualTo(200);
        }
    }

    @Test
    void slow_clients_are_dropped_and_hold_no_thread() throws Exception {
        Duration brief = Duration.ofMillis(1500);
        start(options(new Limits(1, 1000, 1 << 20, 16 << 20, 32 << 20, brief, brief, LONG, 12_000, brief)));
        List<Wire> slow = new ArrayList<>();
        try (Wire quick = connect();
                Wire head = connect()) {
            for (int i = 0; i < 200; i++) {
                slow.add(connect()
                        .send("POST /v1/things HTTP/1.1\nHost: a\nContent-Type: application/json\n"
                                + "Content-Length: 100\n\n{"));
            }
            head.send("GET /healthz HTTP/1.1\nHo");
            assertThat(quick.get("/v1/things").status()).isEqualTo(200);
            Answer late = head.answer();
            assertThat(late.status()).isEqualTo(408);
            assertThat(error(late)).isNotEmpty();
            assertThat(head.ends()).isTrue();
            for (Wire wire : slow) {
                Answer answer = wire.answer();
                assertThat(answer.status()).isEqualTo(408);
                assertThat(error(answer)).isNotEmpty();
                assertThat(wire.ends()).isTrue();
            }
        } finally {
            for (Wire wire : slow) {
                wire.close();
            }
        }
    }

    @Test
    void a_connection_that_never_asks_is_closed() throws Exception {
        Duration brief = Duration.ofMillis(500);
        start(options(new Limits(1, 1, 1 << 20, 16 << 20, 32 << 20, LONG, LONG, brief, 12_000, brief)));
        try (Wire wire = connect()) {
            assertThat(wire.ends()).isTrue();
        }
    }

    @Test
    void a_handler_may_be_silent_for_longer_than_a_connection() throws Exception {
        Duration brief = Duration.ofMillis(300);
        start(options(new Limits(1, 1, 1 << 20, 16 << 20, 32 << 20, LONG, LONG, brief, 12_000, LONG)));
        try (Wire wire = connect()) {
            wire.send("GET /wait HTTP/1.1\nHost: a\n\n");
            awaitEvent("started");
            Thread.sleep(1000);
            release.countDown();
            assertThat(wire.answer().body()).isEqualTo("done");
        }
    }

    @Test
    void thousands_of_idle_connections_do_not_matter() throws Exception {
        start(options(GENEROUS));
        List<Wire> idle = new ArrayList<>();
        try {
            for (int i = 0; i < 2000; i++) {
                idle.add(connect());
            }
            try (Wire wire = connect()) {
                assertThat(wire.get("/v1/things").status()).isEqualTo(200);
            }
            assertThat(idle.get(1999).get("/v1/things").status()).isEqualTo(200);
        } finally {
            for (Wire wire : idle) {
                wire.close();
            }
        }
    }

    @Test
    void a_client_that_does_not_read_is_dropped() throws Exception {
        Duration brief = Duration.ofMillis(500);
        start(options(new Limits(4, 4, 1 << 20, 16 << 20, 32 << 20, LONG, LONG, brief, 12_000, LONG)));
        try (Wire wire = connect()) {
            wire.send("GET /endless HTTP/1.1\nHost: a\n\n");
            awaitEvent("ended");
        }
        try (Wire wire = connect()) {
            assertThat(wire.get("/v1/things").status()).isEqualTo(200);
        }
    }

    @Test
    void answers_that_nobody_reads_are_bounded_together() throws Exception {
        start(options(new Limits(4, 4, 1 << 20, 16 << 20, 20 << 20, LONG, LONG, LONG, 12_000, LONG)));
        try (Wire deaf = connect()) {
            deaf.send("GET /large HTTP/1.1\nHost: a\n\n");
            awaitEvent("large"); // Its answer counts a moment later.
            assertThat(largeUntil(503)).contains("have not read");
            try (Wire wire = connect()) {
                assertThat(wire.get("/v1/things").status()).isEqualTo(200);
            }
        }
        largeUntil(200);
    }

    /** Asks until it is answered so. */
    private String largeUntil(int status) throws Exception {
        Wire.Answer answer;
        long end = System.nanoTime() + LONG.toNanos();
        do {
            try (Wire wire = connect()) {
                answer = wire.get("/large");
            }
        } while (answer.status() != status && System.nanoTime() < end);
        assertThat(answer.status()).isEqualTo(status);
        return answer.body();
    }

    @Test
    void pieces_are_asked_for_as_they_are_read_and_closed_whatever_happens() throws Exception {
        start(options(GENEROUS));
        try (Wire wire = connect()) {
            assertThat(wire.get("/pieces/1000").body()).hasSize(1000 * PIECE);
            awaitEvent("closed");
            assertThat(wire.get("/v1/things").status()).isEqualTo(200);
            wire.send("GET /pieces/1000000 HTTP/1.1\nHost: a\n\n");
            awaitEvent("first");
        }
        awaitEvent("closed");
    }

    /** So many pieces. */
    private Response.Pieces pieces(int count) {
        return new Response.Pieces() {
            private int given;

            @Override
            public boolean hasNext() {
                return given < count;
            }

            @Override
            public byte[] next() {
                if (given == 0 && count > 1000) {
                    events.add("first");
                }
                given++;
                return new byte[PIECE];
            }

            @Override
            public void close() {
                events.add("closed");
            }
        };
    }

    @Test
    void calls_beyond_the_bound_wait_and_then_are_refused() throws Exception {
        start(options(new Limits(2, 1, 1 << 20, 16 << 20, 32 << 20, LONG, LONG, LONG, 12_000, LONG)));
        try (Wire first = connect();
                Wire second = connect();
                Wire third = connect();
                Wire fourth = connect()) {
            first.send("GET /wait HTTP/1.1\nHost: a\n\n");
            second.send("GET /wait HTTP/1.1\nHost: a\n\n");
            awaitEvent("started");
            awaitEvent("started");
            third.send("POST /v1/things HTTP/1.1\nHost: a\nContent-Type: application/json\nContent-Length: 12\n"
                    + "Expect: 100-continue\n\n");
            assertThat(third.line()).isEqualTo("HTTP/1.1 100 Continue");
            Answer refused = fourth.get("/v1/things");
            assertThat(refused.status()).isEqualTo(503);
            assertThat(refused.headers()).containsEntry("retry-after", "1");
            assertThat(error(refused)).isNotEmpty();
            assertThat(fourth.get("/healthz").status()).isEqualTo(200);
            third.line();
            third.send("{\"name\":\"n\"}");
            release.countDown();
            assertThat(first.answer().body()).isEqualTo("done");
            assertThat(second.answer().body()).isEqualTo("done");
            assertThat(third.answer().body()).isEqualTo("n");
            assertThat(fourth.get("/v1/things").status()).isEqualTo(200);
        }
    }

    @Test
    void a_call_is_cancelled_when_its_client_goes_away() throws Exception {
        start(options(GENEROUS));
        for (String body : List.of("\n", "Content-Length: 3\n\nabc")) {
            try (Wire wire = connect()) {
                assertThat(wire.get("/v1/things").status()).isEqualTo(200);
                wire.send("GET /until-cancelled HTTP/1.1\nHost: a\n" + body);
                awaitEvent("started");
            }
            awaitEvent("cancelled");
        }
    }

    @Test
    void a_stream_is_cancelled_when_its_client_goes_away() throws Exception {
        start(options(GENEROUS));
        try (Wire wire = connect()) {
            wire.send("GET /stream-until-cancelled HTTP/1.1\nHost: a\n\n");
            assertThat(wire.line()).isEqualTo("HTTP/1.1 200 OK");
        }
        awaitEvent("cancelled");
    }

    @Test
    void nothing_is_cancelled_once_it_is_answered() throws Exception {
        start(options(GENEROUS));
        try (Wire wire = connect()) {
            assertThat(wire.get("/answered").body()).isEqualTo("answered");
        }
        try (Wire wire = connect()) {
            assertThat(wire.get("/v1/things").status()).isEqualTo(200);
        }
        running.orElseThrow().stop();
        running = Optional.empty();
        assertThat(events).isEmpty();
    }

    /** Requests in pieces, ahead of their time and cut off, many at once: each that is sent whole is answered, in order. */
    @Test
    void clients_of_all_sorts_get_their_own_answers() throws Exception {
        start(options(new Limits(32, 1000, 1 << 20, 64 << 20, 32 << 20, LONG, LONG, LONG, 12_000, LONG)));
        long seed = System.nanoTime();
        List<Future<?>> clients = new ArrayList<>();
        ExecutorService threads = Executors.newFixedThreadPool(16);
        for (int i = 0; i < 16; i++) {
            Random random = new Random(seed + i);
            clients.add(threads.submit(() -> {
                for (int round = 0; round < 100; round++) {
                    converse(random);
                }
                return null;
            }));
        }
        threads.shutdown();
        for (Future<?> client : clients) {
            assertThat(client).as("seed " + seed).succeedsWithin(Duration.ofSeconds(120));
        }
        // A call that nobody has ended would hold the stop up for a minute.
        running.orElseThrow().stop();
        running = Optional.empty();
        assertThat(metrics.text()).contains("route=\"/v1/things\",status=\"2xx\"");
    }

    private void converse(Random random) throws IOException, InterruptedException {
        StringBuilder requests = new StringBuilder();
        List<String> expected = new ArrayList<>();
        for (int i = random.nextInt(5); i >= 0; i--) {
            String name = "n".repeat(1 + random.nextInt(random.nextInt(10) == 0 ? 20_000 : 20));
            expected.add(name);
            if (name.length() < 20 && random.nextBoolean()) {
                requests.append("GET /slowly/").append(name).append(" HTTP/1.1\nHost: a\n\n");
            } else if (random.nextBoolean()) {
                String body = "{\"name\":\"" + name + "\"}";
                requests.append("POST /v1/things HTTP/1.1\nHost: a\nContent-Type: application/json\nContent-Length: ")
                        .append(body.length())
                        .append("\n\n")
                        .append(body);
            } else {
                requests.append("POST /v1/things HTTP/1.1\nHost: a\nContent-Type: application/json\n")
                        .append("Transfer-Encoding: chunked\n\n9\n{\"name\":\"\n")
                        .append(Integer.toHexString(name.length()))
                        .append('\n')
                        .append(name)
                        .append("\n2\n\"}\n0\n\n");
            }
        }
        byte[] bytes = requests.toString().replace("\n", "\r\n").getBytes(StandardCharsets.UTF_8);
        boolean cut = random.nextInt(3) == 0;
        int end = cut ? random.nextInt(bytes.length) : bytes.length;
        try (Wire wire = connect()) {
            for (int at = 0; at < end; ) {
                int piece = Math.min(end - at, 1 + random.nextInt(random.nextBoolean() ? 50 : 30_000));
                wire.sendRaw(Arrays.copyOfRange(bytes, at, at + piece));
                at += piece;
                if (random.nextInt(4) == 0) {
                    Thread.sleep(random.nextInt(2));
                }
            }
            if (!cut) {
                for (String name : expected) {
                    assertThat(wire.answer().body()).isEqualTo(name);
                }
            }
        }
    }

    @Test
    void all_bodies_together_are_bounded() throws Exception {
        HttpServer server =
                start(options(new Limits(8, 8, 1 << 20, 1 << 20, 32 << 20, LONG, LONG, LONG, 12_000, LONG)));
        byte[] body = ("{\"name\":\"n\"," + " ".repeat(700_000) + "\"x\":1}").getBytes(StandardCharsets.UTF_8);
        try (Wire first = connect();
                Wire second = connect()) {
            first.send("POST /v1/things HTTP/1.1\nHost: a\nContent-Type: application/json\nContent-Length: "
                    + body.length + "\n\n");
            first.sendRaw(Arrays.copyOf(body, 650_000));
            while (server.bodyBytes() < 650_000) {
                Thread.sleep(1);
            }
            Answer answer = second.postJson("/v1/things", body);
            assertThat(answer.status()).isEqualTo(503);
            first.sendRaw(Arrays.copyOfRange(body, 650_000, body.length));
            assertThat(first.answer().body()).isEqualTo("n");
            for (int i = 0; i < 5; i++) {
                assertThat(second.postJson("/v1/things", body).status()).isEqualTo(200);
            }
            assertThat(server.bodyBytes()).isZero();
        }
    }

    @Test
    void a_stop_waits_for_calls_and_takes_no_more() throws Exception {
        HttpServer server = start(options(GENEROUS));
        InetSocketAddress address = server.tcp().orElseThrow();
        try (Wire busy = connect();
                Wire kept = connect()) {
            assertThat(kept.get("/v1/things").status()).isEqualTo(200);
            busy.send("GET /wait HTTP/1.1\nHost: a\n\n");
            awaitEvent("started");
            Thread stopping = new Thread(server::stop);
            stopping.start();
            while (true) {
                try (Wire probe = Wire.to(address)) {
                    Thread.sleep(1);
                } catch (SocketException e) {
                    break;
                }
            }
            Answer refused = kept.get("/v1/things");
            assertThat(refused.status()).isEqualTo(503);
            assertThat(error(refused)).contains("stopping");
            release.countDown();
            Answer answer = busy.answer();
            assertThat(answer.body()).isEqualTo("done");
            assertThat(busy.ends()).isTrue();
            stopping.join();
        }
        running = Optional.empty();
    }

    @Test
    void a_stop_cancels_what_takes_too_long() throws Exception {
        HttpServer server = start(options(
                new Limits(4, 4, 1 << 20, 16 << 20, 32 << 20, LONG, LONG, LONG, 12_000, Duration.ofMillis(200))));
        try (Wire wire = connect()) {
            wire.send("GET /until-cancelled HTTP/1.1\nHost: a\n\n");
            awaitEvent("started");
            server.stop();
            running = Optional.empty();
            assertThat(wire.answer().body()).isEqualTo("cancelled");
        }
    }

    @Test
    void a_fault_tells_the_client_a_number_only() throws Exception {
        start(options(GENEROUS));
        try (Wire wire = connect()) {
            Answer answer = wire.get("/fault");
            assertThat(answer.status()).isEqualTo(500);
            assertThat(error(answer)).matches("a fault of the daemon; its log has it under [0-9a-f]{8}");
            assertThat(error(wire.get("/missing"))).isEqualTo("sandbox sb-1 not found");
        }
    }

    @Test
    void a_stream_is_sent_as_it_comes() throws Exception {
        start(options(GENEROUS));
        try (Wire wire = connect()) {
            wire.send("GET /stream HTTP/1.1\nHost: a\n\n");
            assertThat(wire.line()).isEqualTo("HTTP/1.1 200 OK");
            while (!wire.line().isEmpty()) {}
            assertThat(List.of(wire.line(), wire.line())).containsExactly("2", "1");
            release.countDown();
            wire.line();
            assertThat(List.of(wire.line(), wire.line(), wire.line(), wire.line()))
                    .containsExactly("2", "2", "", "0");
            wire.line();
            assertThat(wire.get("/v1/things").status()).isEqualTo(200);
        }
    }

    @Test
    void half_a_stream_is_not_taken_for_a_whole_one() throws Exception {
        start(options(GENEROUS));
        try (Wire wire = connect()) {
            assertThatThrownBy(() -> wire.get("/torn-stream")).isInstanceOf(IOException.class);
        }
    }

    @Test
    void pages_of_other_sites_are_not_answered_without_a_token() throws Exception {
        start(options(GENEROUS));
        try (Wire wire = connect()) {
            for (String site : List.of("cross-site", "same-site")) {
                assertThat(wire.ask("GET", "/v1/things", "Sec-Fetch-Site: " + site + "\n")
                                .status())
                        .isEqualTo(403);
            }
            for (String site : List.of("same-origin", "none")) {
                assertThat(wire.ask("GET", "/v1/things", "Sec-Fetch-Site: " + site + "\n")
                                .status())
                        .isNotEqualTo(403);
            }
            String origin = "Origin: http://127.0.0.1:8889\n"; // which a browser that says no more sends to any site
            assertThat(wire.ask("GET", "/v1/things", origin).status()).isEqualTo(403);
            assertThat(wire.ask("GET", "/v1/things", "Sec-Fetch-Site: same-origin\n" + origin)
                            .status())
                    .isNotEqualTo(403);
            for (String host : List.of("evil.example", "evil.example:8889", "127.0.0.1.evil.example")) {
                wire.send("GET /v1/things HTTP/1.1\nHost: " + host + "\n\n");
                assertThat(wire.answer().status()).as(host).isEqualTo(403);
            }
            for (String host : List.of("localhost:8889", "127.0.0.1", "[::1]:1", "me", "a.localhost")) {
                wire.send("GET /v1/things HTTP/1.1\nHost: " + host + "\n\n");
                assertThat(wire.answer().status()).as(host).isNotEqualTo(403);
            }
        }
    }

    @Test
    void the_token_is_asked_for_everywhere_but_at_healthz() throws Exception {
        Path token = Files.writeString(scratch.resolve("token"), " 0123456789abcdef\n");
        Path audit = scratch.resolve("logs/audit.log");
        HttpServer server = start(new HttpOptions(
                Optional.of(ANY_PORT),
                Optional.empty(),
                Optional.empty(),
                Optional.of(token),
                Optional.of(audit),
                GENEROUS));
        try (Wire wire = connect()) {
            String right = "Authorization: Bearer  0123456789abcdef \nUser-Agent: a\"b\u0007\n".replace("\u0007", "");
            Answer missing = wire.get("/v1/things");
            Answer wrong = wire.ask("GET", "/v1/things", "Authorization: Bearer 0123456789abcdeF\n");
            assertThat(missing.status()).isEqualTo(401);
            assertThat(wrong.status()).isEqualTo(401);
            assertThat(error(missing)).isNotEqualTo(error(wrong));
            assertThat(missing.headers()).doesNotContainKey("www-authenticate");
            assertThat(error(wire.ask("GET", "/caller", "Authorization: bearer 0123456789abcdef\n")))
                    .isEqualTo(error(missing));
            assertThat(error(wire.ask("GET", "/caller", "Authorization: Bearer \n")))
                    .isEqualTo(error(missing));
            for (String path : List.of("/nowhere", "/metrics", "/healthz;", "/Healthz", "/%68ealthz", "/healthz//")) {
                assertThat(wire.get(path).status()).isEqualTo(401);
            }
            assertThat(wire.get("/healthz").status()).isEqualTo(200);
            assertThat(wire.get("/healthz/?a").status()).isEqualTo(200);
            assertThat(wire.ask("GET", "/caller?secret", right).body()).isEqualTo("token");
            assertThat(wire.ask("GET", "/caller", "Authorization: Bearer 0123456789ABCDEF\n")
                            .status())
                    .isEqualTo(401);
            wire.send("POST /v1/things HTTP/1.1\nHost: a\nContent-Length: 300000\n\n")
                    .sendRaw(new byte[300_000]);
            assertThat(wire.answer().status()).isEqualTo(401);
        }
        server.stop();
        running = Optional.empty();
        List<JsonNode> lines = Files.readAllLines(audit).stream()
                .map(line -> Json.parse(line.getBytes(StandardCharsets.UTF_8)))
                .toList();
        assertThat(lines).hasSize(15);
        JsonNode last = lines.get(12);
        assertThat(last.get("ts").stringValue()).matches("\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\dZ");
        assertThat(last.get("path").stringValue()).isEqualTo("/caller");
        assertThat(last.get("ua").stringValue()).isEqualTo("a\"b");
        assertThat(last.get("caller").stringValue()).isEqualTo("token");
        assertThat(last.get("remote").stringValue()).startsWith("127.0.0.1:");
        assertThat(Files.readString(audit)).contains("\"status\":401,").doesNotContain("secret", "0123456789");
    }

    @Test
    void the_audit_log_goes_on_in_a_new_file_and_new_tokens_are_used() throws Exception {
        Path token = Files.writeString(scratch.resolve("token"), "0123456789abcdef");
        Path audit = scratch.resolve("audit.log");
        HttpServer server = start(new HttpOptions(
                Optional.of(ANY_PORT),
                Optional.empty(),
                Optional.empty(),
                Optional.of(token),
                Optional.of(audit),
                GENEROUS));
        try (Wire wire = connect()) {
            String before = "Authorization: Bearer 0123456789abcdef\n";
            String after = "Authorization: Bearer fedcba9876543210\n";
            assertThat(wire.ask("GET", "/caller", before).status()).isEqualTo(200);
            Files.writeString(token, "short");
            assertThat(server.reload()).hasSize(1);
            assertThat(wire.ask("GET", "/caller", before).status()).isEqualTo(200);
            Files.writeString(token, "fedcba9876543210");
            Files.move(audit, scratch.resolve("audit.log.1"));
            assertThat(server.reload()).isEmpty();
            assertThat(wire.ask("GET", "/caller", before).status()).isEqualTo(401);
            assertThat(wire.ask("GET", "/caller", after).status()).isEqualTo(200);
        }
        server.stop();
        running = Optional.empty();
        assertThat(Files.readAllLines(scratch.resolve("audit.log.1"))).hasSize(2);
        assertThat(Files.readAllLines(audit)).hasSize(2);
    }

    @Test
    void an_address_for_other_machines_needs_a_token() {
        HttpOptions open = new HttpOptions(
                Optional.of(HttpOptions.address("0.0.0.0:0")),
                Optional.empty(),
                Optional.empty(),
                Optional.empty(),
                Optional.empty(),
                GENEROUS);
        assertThatThrownBy(() -> start(open)).isInstanceOf(ForkdException.class).hasMessageContaining("loopback");
    }

    @Test
    void a_client_with_an_ipv6_address_is_told_by_it() throws Exception {
        start(new HttpOptions(
                Optional.of(HttpOptions.address("[::1]:0")),
                Optional.empty(),
                Optional.empty(),
                Optional.empty(),
                Optional.empty(),
                GENEROUS));
        try (Wire wire = connect()) {
            assertThat(wire.get("/remote").body()).matches("\\[0:0:0:0:0:0:0:1\\]:[0-9]+");
        }
    }

    @Test
    void an_address_that_is_taken_is_named() throws Exception {
        HttpServer first = start(options(GENEROUS));
        HttpOptions same = new HttpOptions(
                first.tcp(), Optional.empty(), Optional.empty(), Optional.empty(), Optional.empty(), GENEROUS);
        assertThatThrownBy(() -> HttpServer.start(same, routes, new Metrics(), failure -> new HttpFailure(500, "")))
                .isInstanceOf(ForkdException.class)
                .hasMessageContaining(String.valueOf(first.tcp().orElseThrow().getPort()));
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "",
                "127.0.0.1",
                "127.0.0.1:",
                "127.0.0.1:65536",
                "localhost:1",
                "1.2.3:1",
                "1.2.3.256:1",
                ":1",
                "::1:1",
                "[abc]:1"
            })
    void what_is_no_address_is_refused(String text) {
        assertThatThrownBy(() -> HttpOptions.address(text))
                .isInstanceOfSatisfying(
                        ForkdException.class, e -> assertThat(e.kind()).isEqualTo(Kind.USAGE));
    }

    @Test
    void times_are_counted_by_route_and_gauges_are_whole_numbers() throws Exception {
        metrics.gauge("forkd_sandboxes_active", "Sandboxes that live.", () -> 0);
        metrics.gauge("forkd_snapshots_total", "Snapshots that there are.", () -> 3);
        metrics.info("forkd_build_info", "This build.", "version", "0.1.0");
        start(options(GENEROUS));
        try (Wire wire = connect()) {
            wire.get("/v1/things/a");
            wire.get("/v1/things/b");
            wire.ask("BREW", "/nowhere", "");
            Answer answer = wire.get("/metrics");
            assertThat(answer.headers().get("content-type")).startsWith("text/plain; version=0.0.4");
            assertThat(answer.body().lines())
                    .contains(
                            "forkd_sandboxes_active 0",
                            "# TYPE forkd_snapshots_total gauge",
                            "forkd_snapshots_total 3",
                            "forkd_build_info{version=\"0.1.0\"} 1",
                            "forkd_http_request_seconds_count{method=\"GET\",route=\"/v1/things/:id\",status=\"2xx\"} 2",
                            "forkd_http_request_seconds_count{method=\"other\",route=\"none\",status=\"4xx\"} 1");
        }
    }
}
