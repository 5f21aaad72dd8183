package io.forkd.daemon.e2b;

import static org.assertj.core.api.Assertions.assertThat;

import io.forkd.Json;
import io.forkd.daemon.Failures;
import io.forkd.daemon.FrontEnd;
import io.forkd.daemon.Guests;
import io.forkd.http.HttpOptions;
import io.forkd.http.HttpServer;
import io.forkd.http.Limits;
import io.forkd.http.Metrics;
import io.forkd.http.Routes;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.Socket;
import java.net.URI;
import java.net.URLEncoder;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublisher;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Random;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.zip.GZIPOutputStream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import tools.jackson.databind.JsonNode;

/** A sandbox's daemon over HTTP, before a guest of our own (tests/native/guests/agent). */
@Timeout(value = 3, unit = TimeUnit.MINUTES)
class EnvdTest {
    private static final String TOKEN = "secret";
    private static final HttpClient HTTP =
            HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();

    @RegisterExtension
    static final FrontEnd front = new FrontEnd();

    private static HttpServer server;
    private static volatile String sandbox = "";
    private static volatile Optional<String> token = Optional.empty();
    private static volatile Optional<String> directory = Optional.empty();

    @BeforeAll
    static void start() {
        Guests guests = front.guests();
        Envd envd = new Envd(guests, new Bodies());
        Routes routes = new Routes()
                .any(
                        "/:path*",
                        http -> envd.answer(
                                http,
                                guests.sandbox(http, sandbox),
                                new Profile(
                                        token,
                                        new Defaults(
                                                "user", directory, Map.of("OF_SANDBOX", "1", "BOTH", "sandbox")))));
        server = HttpServer.start(
                new HttpOptions(
                        Optional.of(HttpOptions.address("127.0.0.1:0")),
                        Optional.empty(),
                        Optional.empty(),
                        Optional.empty(),
                        Optional.empty(),
                        Limits.STANDARD),
                routes,
                new Metrics(),
                Failures::answer);
    }

    @AfterAll
    static void stop() {
        server.stop();
    }

    @BeforeEach
    void makeSandbox() throws Exception {
        sandbox = front.sandbox();
        token = Optional.empty();
        directory = Optional.empty();
        assertThat(upload(
                                "path=/etc/passwd&username=root",
                                "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\nbad\n")
                        .statusCode())
                .isEqualTo(200);
    }

    // --- clients ---

    private static URI uri(String target) {
        return URI.create("http://127.0.0.1:" + server.tcp().orElseThrow().getPort() + target);
    }

    private static <T> HttpResponse<T> send(
            String method, String target, BodyPublisher body, HttpResponse.BodyHandler<T> handler, String... headers)
            throws Exception {
        HttpRequest.Builder request = HttpRequest.newBuilder(uri(target)).method(method, body);
        if (headers.length > 0) {
            request.headers(headers);
        }
        return HTTP.send(request.build(), handler);
    }

    private static byte[] json(String text) {
        return text.replace('\'', '"').getBytes(StandardCharsets.UTF_8);
    }

    private static JsonNode parse(HttpResponse<byte[]> response) {
        return Json.parse(response.body());
    }

    private static String basic(String user) {
        return "Basic " + Base64.getEncoder().encodeToString((user + ":").getBytes(StandardCharsets.UTF_8));
    }

    private static HttpResponse<byte[]> ask(String method, String message, String... headers) throws Exception {
        List<String> all = new ArrayList<>(List.of("Content-Type", "application/json"));
        all.addAll(List.of(headers));
        return send(
                "POST",
                "/" + method,
                BodyPublishers.ofByteArray(json(message)),
                BodyHandlers.ofByteArray(),
                all.toArray(String[]::new));
    }

    /** What a call that succeeds answers. */
    private static JsonNode told(String method, String message, String... headers) throws Exception {
        HttpResponse<byte[]> response = ask(method, message, headers);
        assertThat(response.statusCode())
                .as(new String(response.body(), StandardCharsets.UTF_8))
                .isEqualTo(200);
        assertThat(response.headers().firstValue("Content-Type")).contains("application/json");
        return parse(response);
    }

    private static void assertRefused(HttpResponse<byte[]> response, int status, String code, String why) {
        String text = new String(response.body(), StandardCharsets.UTF_8);
        assertThat(response.statusCode()).as(text).isEqualTo(status);
        assertThat(parse(response).path("code").asString()).isEqualTo(code);
        assertThat(parse(response).path("message").stringValue()).contains(why);
    }

    private static byte[] frame(String message) {
        byte[] json = json(message);
        return ByteBuffer.allocate(5 + json.length)
                .put((byte) 0)
                .putInt(json.length)
                .put(json)
                .array();
    }

    /** Frames as they come; the last has flags 2. */
    private static final class Stream implements AutoCloseable {
        private final InputStream body;
        private final DataInputStream in;

        private Stream(HttpResponse<InputStream> response) {
            assertThat(response.statusCode()).isEqualTo(200);
            assertThat(response.headers().firstValue("Content-Type")).contains("application/connect+json");
            body = response.body();
            in = new DataInputStream(body);
        }

        /** The content of the next event. */
        private JsonNode event() throws IOException {
            assertThat(in.readByte()).isZero();
            return Json.parse(in.readNBytes(in.readInt()));
        }

        private JsonNode end() throws IOException {
            assertThat(in.readByte()).isEqualTo((byte) 2);
            JsonNode end = Json.parse(in.readNBytes(in.readInt()));
            assertThat(in.read()).isNegative();
            return end;
        }

        /** Its number, which is told first. */
        private long pid() throws IOException {
            long pid = event().path("event").path("start").path("pid").longValue();
            assertThat(pid).isPositive();
            return pid;
        }

        /** What a program writes up to its end, and that: {@code out|err|end}. */
        private String rest() throws IOException {
            ByteArrayOutputStream out = new ByteArrayOutputStream();
            ByteArrayOutputStream err = new ByteArrayOutputStream();
            while (true) {
                JsonNode event = event().path("event");
                assertThat(event.size()).isEqualTo(1);
                if (event.has("end")) {
                    assertThat(end()).isEqualTo(Json.parse(json("{}")));
                    return out.toString(StandardCharsets.UTF_8) + "|" + err.toString(StandardCharsets.UTF_8) + "|"
                            + Json.text(event.path("end")).replace('"', '\'');
                }
                JsonNode data = event.path("data");
                out.writeBytes(Base64.getDecoder()
                        .decode(data.path("stdout").asString(data.path("pty").asString(""))));
                err.writeBytes(Base64.getDecoder().decode(data.path("stderr").asString("")));
            }
        }

        @Override
        public void close() throws IOException {
            body.close();
        }
    }

    private static Stream open(String method, String message, String... headers) throws Exception {
        List<String> all = new ArrayList<>(List.of("Content-Type", "application/connect+json"));
        all.addAll(List.of(headers));
        return new Stream(send(
                "POST",
                "/" + method,
                BodyPublishers.ofByteArray(frame(message)),
                BodyHandlers.ofInputStream(),
                all.toArray(String[]::new)));
    }

    private static Stream run(String process, String... headers) throws Exception {
        return open("process.Process/Start", "{'process':{" + process + "}}", headers);
    }

    private static HttpResponse<byte[]> upload(String query, String content, String... headers) throws Exception {
        List<String> all = new ArrayList<>(List.of("Content-Type", "application/octet-stream"));
        all.addAll(List.of(headers));
        return send(
                "POST",
                "/files?" + query,
                BodyPublishers.ofString(content),
                BodyHandlers.ofByteArray(),
                all.toArray(String[]::new));
    }

    private static HttpResponse<byte[]> download(String query, String... headers) throws Exception {
        return send("GET", "/files?" + query, BodyPublishers.noBody(), BodyHandlers.ofByteArray(), headers);
    }

    private static String content(String path) throws Exception {
        HttpResponse<byte[]> response = download("username=root&path=" + path);
        assertThat(response.statusCode()).isEqualTo(200);
        return new String(response.body(), StandardCharsets.UTF_8);
    }

    // --- processes ---

    @Test
    void program_tells_what_it_writes_and_how_it_ends() throws Exception {
        directory = Optional.of("/tmp");
        try (Stream stream = open(
                "process.Process/Start",
                "{'process':{'cmd':'/bin/bash','args':['-l','-c','echo $HOME $USER $LOGNAME $OF_SANDBOX $BOTH; whoami; pwd;"
                        + " stderr no; exit 3'],'envs':{'BOTH':'request'}},'stdin':false}")) {
            stream.pid();
            assertThat(stream.rest())
                    .isEqualTo("/home/user user user 1 request\nuser\n/tmp\n|no\n|"
                            + "{'exitCode':3,'exited':true,'status':'exit status 3','error':'exit status 3'}");
        }
    }

    @Test
    void program_is_in_the_home_of_its_user() throws Exception {
        try (Stream stream = run("'cmd':'pwd'", "Authorization", basic("root"))) {
            stream.pid();
            assertThat(stream.rest()).isEqualTo("/root\n||{'exitCode':0,'exited':true,'status':'exit status 0'}");
        }
        try (Stream stream = run("'cmd':'pwd','cwd':'~/x'")) {
            stream.pid();
            assertThat(stream.rest()).startsWith("/home/user/x\n|");
        }
        try (Stream stream = run("'cmd':'pwd','cwd':'x'")) {
            stream.pid();
            assertThat(stream.rest()).startsWith("/home/user/x\n|");
        }
    }

    @Test
    void nobodys_program_is_roots_in_an_image_without_e2bs_user() throws Exception {
        assertThat(upload("path=/etc/passwd&username=root", "root:x:0:0::/root:/bin/sh\n")
                        .statusCode())
                .isEqualTo(200);
        try (Stream stream = run("'cmd':'/bin/bash','args':['-l','-c','echo $HOME $USER; whoami; pwd']")) {
            stream.pid();
            assertThat(stream.rest()).startsWith("/root root\nroot\n/root\n|");
        }
        try (Stream stream = run("'cmd':'true'", "Authorization", basic("user"))) {
            assertThat(stream.end().path("error").path("code").stringValue()).isEqualTo("unauthenticated");
        }
    }

    @Test
    void much_output_comes_in_pieces_and_whole_to_a_slow_reader() throws Exception {
        try (Stream stream = run("'cmd':'write','args':['3000000']")) {
            stream.pid();
            Thread.sleep(2000);
            long length = 0;
            for (JsonNode event = stream.event().path("event");
                    !event.has("end");
                    event = stream.event().path("event")) {
                int part = Base64.getDecoder()
                        .decode(event.path("data").path("stdout").stringValue())
                        .length;
                assertThat(part).isBetween(1, 32 << 10);
                length += part;
            }
            assertThat(length).isEqualTo(3_000_000);
        }
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', textBlock = """
                    {'process':{'cmd':'nothing'}}                              | invalid_argument | ENOENT
                    {'process':{'cmd':''}}                                     | invalid_argument | process.cmd
                    {'process':{}}                                             | invalid_argument | process.cmd
                    {}                                                         | invalid_argument | process is missing
                    {'process':{'cmd':'true','cwd':'~root'}}                   | invalid_argument | home
                    {'process':{'cmd':'true'},'pty':{}}                        | invalid_argument | pty.size
                    {'process':{'cmd':'true'},'pty':{'size':{'rows':1}}}       | invalid_argument | pty.size
                    {'process':{'cmd':'true','envs':{'A':1}}}                  | invalid_argument | process.envs
                    {'process':{'cmd':'hostile','args':['text']}}              | unavailable      | broke the protocol
                    """)
    void what_does_not_start_has_no_start(String message, String code, String why) throws Exception {
        try (Stream stream = open("process.Process/Start", message)) {
            JsonNode error = stream.end().path("error");
            assertThat(error.path("code").stringValue()).isEqualTo(code);
            if (!why.startsWith("E")) {
                assertThat(error.path("message").stringValue()).contains(why);
            }
        }
    }

    @Test
    void guest_that_lies_later_ends_the_stream() throws Exception {
        try (Stream stream = run("'cmd':'hostile','args':['exit-large']")) {
            stream.pid();
            assertThat(stream.end().path("error").path("message").stringValue()).contains("broke the protocol");
        }
    }

    @Test
    void program_ends_for_its_time() throws Exception {
        try (Stream stream = run("'cmd':'sleep','args':['1000']", "Connect-Timeout-Ms", "500")) {
            stream.pid();
            assertThat(stream.end().path("error").path("code").stringValue()).isEqualTo("deadline_exceeded");
        }
        long limit = System.nanoTime() + TimeUnit.SECONDS.toNanos(20);
        while (!told("process.Process/List", "{}").path("processes").isEmpty()) {
            assertThat(System.nanoTime()).isLessThan(limit);
        }
    }

    @Test
    void silence_is_broken_in_time() throws Exception {
        try (Stream stream = run("'cmd':'sleep','args':['1000']", "Keepalive-Ping-Interval", "1")) {
            stream.pid();
            long begun = System.nanoTime();
            for (int i = 0; i < 2; i++) {
                assertThat(stream.event().path("event").has("keepalive")).isTrue();
            }
            assertThat(System.nanoTime() - begun).isBetween(1_800_000_000L, 20_000_000_000L);
        }
    }

    @Test
    void interval_that_is_longer_than_any_call_is_taken() throws Exception {
        try (Stream stream = run("'cmd':'true'", "Keepalive-Ping-Interval", "9999999999")) {
            stream.pid();
            assertThat(stream.event().path("event").path("end").path("exited").booleanValue())
                    .isTrue();
        }
    }

    @Test
    void header_that_is_no_number_is_refused() throws Exception {
        try (Stream stream = run("'cmd':'true'", "Connect-Timeout-Ms", "soon")) {
            assertThat(stream.end().path("error").path("code").stringValue()).isEqualTo("invalid_argument");
        }
    }

    @Test
    void process_outlives_its_client_and_others_hear_it_from_then_on() throws Exception {
        long pid;
        try (Stream first =
                open("process.Process/Start", "{'process':{'cmd':'trap','args':[]},'tag':'worker','stdin':false}")) {
            pid = first.pid();
            told("process.Process/SendSignal", "{'process':{'pid':" + pid + "},'signal':'SIGNAL_SIGTERM'}");
            assertThat(new String(
                            Base64.getDecoder()
                                    .decode(first.event()
                                            .path("event")
                                            .path("data")
                                            .path("stdout")
                                            .stringValue()),
                            StandardCharsets.UTF_8))
                    .isEqualTo("signal 15\n");
        }
        JsonNode listed = told("process.Process/List", "{}").path("processes");
        assertThat(listed).hasSize(1);
        assertThat(listed.get(0).path("pid").longValue()).isEqualTo(pid);
        assertThat(listed.get(0).path("tag").stringValue()).isEqualTo("worker");
        assertThat(listed.get(0).path("config").path("cmd").stringValue()).isEqualTo("trap");
        try (Stream byPid = open("process.Process/Connect", "{'process':{'pid':" + pid + "}}");
                Stream byTag = open("process.Process/Connect", "{'process':{'tag':'worker'}}")) {
            assertThat(byPid.pid()).isEqualTo(pid);
            assertThat(byTag.pid()).isEqualTo(pid);
            told("process.Process/SendSignal", "{'process':{'tag':'worker'},'signal':'SIGNAL_SIGKILL'}");
            String killed = "||{'exitCode':-1,'exited':false,'status':'signal: killed','error':'signal: killed'}";
            assertThat(byPid.rest()).isEqualTo(killed);
            assertThat(byTag.rest()).isEqualTo(killed);
        }
        // The guest has forgotten it by now, or will.
        for (String name : List.of("'pid':" + pid, "'tag':'worker'")) {
            for (int i = 0; i < 2; i++) {
                try (Stream late = open("process.Process/Connect", "{'process':{" + name + "}}")) {
                    assertThat(late.pid()).isEqualTo(pid);
                    assertThat(late.rest()).contains("'exitCode':-1");
                }
            }
        }
    }

    @Test
    void end_that_nobody_heard_is_told_later() throws Exception {
        long pid;
        try (Stream stream = run("'cmd':'cat'")) {
            pid = stream.pid();
        }
        told("process.Process/SendInput", "{'process':{'pid':" + pid + "},'input':{'stdin':'aGk='}}");
        told("process.Process/CloseStdin", "{'process':{'pid':" + pid + "}}");
        try (Stream late = open("process.Process/Connect", "{'process':{'pid':" + pid + "}}")) {
            assertThat(late.pid()).isEqualTo(pid);
            assertThat(late.rest()).startsWith("hi||{'exitCode':0");
        }
    }

    @Test
    void process_that_is_none_is_not_found() throws Exception {
        for (String name : List.of("'pid':4711", "'pid':99999999999", "'tag':'nobody'")) {
            try (Stream stream = open("process.Process/Connect", "{'process':{" + name + "}}")) {
                assertThat(stream.end().path("error").path("code").stringValue())
                        .isEqualTo("not_found");
            }
            assertRefused(
                    ask("process.Process/SendInput", "{'process':{" + name + "},'input':{'stdin':'aGk='}}"),
                    404,
                    "not_found",
                    "");
            assertRefused(ask("process.Process/CloseStdin", "{'process':{" + name + "}}"), 404, "not_found", "");
            assertRefused(
                    ask("process.Process/SendSignal", "{'process':{" + name + "},'signal':'SIGNAL_SIGKILL'}"),
                    404,
                    "not_found",
                    "");
            assertRefused(
                    ask("process.Process/Update", "{'process':{" + name + "},'pty':{'size':{'rows':1,'cols':1}}}"),
                    404,
                    "not_found",
                    "");
        }
    }

    @Test
    void input_goes_in_piece_by_piece_until_it_is_closed() throws Exception {
        try (Stream stream = run("'cmd':'cat'")) {
            String process = "{'process':{'pid':" + stream.pid() + "}";
            told("process.Process/SendInput", process + ",'input':{'stdin':'YQ=='}}");
            told("process.Process/SendInput", process + ",'input':{'stdin':''}}");
            told("process.Process/SendInput", process + ",'input':{'stdin':'Yg=='}}");
            assertRefused(
                    ask("process.Process/SendInput", process + ",'input':{'pty':'Yg=='}}"), 500, "internal", "stdin");
            told("process.Process/CloseStdin", process + "}");
            assertThat(stream.rest()).startsWith("ab||{'exitCode':0");
        }
    }

    @Test
    void process_without_input_takes_none() throws Exception {
        try (Stream stream =
                open("process.Process/Start", "{'process':{'cmd':'sleep','args':['1000']},'stdin':false}")) {
            long pid = stream.pid();
            assertRefused(
                    ask("process.Process/SendInput", "{'process':{'pid':" + pid + "},'input':{'stdin':'YQ=='}}"),
                    500,
                    "internal",
                    "no input");
        }
    }

    @Test
    void closed_input_takes_no_more() throws Exception {
        try (Stream stream = run("'cmd':'trap'")) {
            String process = "{'process':{'pid':" + stream.pid() + "}";
            told("process.Process/CloseStdin", process + "}");
            assertRefused(
                    ask("process.Process/SendInput", process + ",'input':{'stdin':'YQ=='}}"),
                    500,
                    "internal",
                    "closed");
        }
    }

    private static void chunk(OutputStream out, byte[] bytes) throws IOException {
        out.write((Integer.toHexString(bytes.length) + "\r\n").getBytes(StandardCharsets.US_ASCII));
        out.write(bytes);
        out.write("\r\n".getBytes(StandardCharsets.US_ASCII));
    }

    @Test
    void input_is_streamed_and_each_piece_goes_in_at_once() throws Exception {
        try (Stream stream = run("'cmd':'cat'");
                Socket client =
                        new Socket("127.0.0.1", server.tcp().orElseThrow().getPort())) {
            String name = "'process':{'pid':" + stream.pid() + "}";
            OutputStream out = client.getOutputStream();
            out.write(("POST /process.Process/StreamInput HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                            + "Content-Type: application/connect+json\r\nTransfer-Encoding: chunked\r\n\r\n")
                    .getBytes(StandardCharsets.US_ASCII));
            chunk(out, frame("{'start':{" + name + "}}"));
            chunk(out, frame("{'keepalive':{}}"));
            for (String piece : List.of("YQ==", "Yg==")) {
                chunk(out, frame("{'data':{'input':{'stdin':'" + piece + "'}}}"));
                assertThat(stream.event()
                                .path("event")
                                .path("data")
                                .path("stdout")
                                .stringValue())
                        .isEqualTo(piece);
            }
            chunk(out, new byte[0]);
            String answer = new String(client.getInputStream().readAllBytes(), StandardCharsets.ISO_8859_1);
            assertThat(answer).startsWith("HTTP/1.1 200 ").contains("\0\0\0\0\2{}", "\2\0\0\0\2{}");
            told("process.Process/CloseStdin", "{" + name + "}");
            assertThat(stream.rest()).startsWith("||{'exitCode':0");
        }
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', textBlock = """
                    {'data':{'input':{'stdin':'YQ=='}}}  | invalid_argument | no start
                    {'start':{'process':{'pid':4711}}}   | not_found        | 4711
                    {'start':{'process':{}}}             | invalid_argument | neither pid nor tag
                    """)
    void input_stream_that_does_not_begin_is_refused(String message, String code, String why) throws Exception {
        try (Stream stream = open("process.Process/StreamInput", message)) {
            JsonNode error = stream.end().path("error");
            assertThat(error.path("code").stringValue()).isEqualTo(code);
            assertThat(error.path("message").stringValue()).contains(why);
        }
    }

    @Test
    void terminal_has_a_size_that_changes_and_takes_what_is_typed() throws Exception {
        try (Stream stream =
                open("process.Process/Start", "{'process':{'cmd':'winch'},'pty':{'size':{'rows':24,'cols':80}}}")) {
            String process = "{'process':{'pid':" + stream.pid() + "}";
            told("process.Process/Update", process + ",'pty':{'size':{'rows':50,'cols':132}}}");
            StringBuilder shown = new StringBuilder();
            while (shown.indexOf("132") < 0) {
                shown.append(new String(
                        Base64.getDecoder()
                                .decode(stream.event()
                                        .path("event")
                                        .path("data")
                                        .path("pty")
                                        .stringValue()),
                        StandardCharsets.UTF_8));
            }
            told("process.Process/SendInput", process + ",'input':{'pty':'YQ=='}}");
            assertRefused(
                    ask("process.Process/SendInput", process + ",'input':{'stdin':'YQ=='}}"), 500, "internal", "pty");
            assertRefused(ask("process.Process/CloseStdin", process + "}"), 500, "internal", "Ctrl-D");
        }
    }

    // --- calls that are wrong ---

    @Test
    void call_of_another_form_is_refused() throws Exception {
        assertThat(send(
                                "POST",
                                "/process.Process/List",
                                BodyPublishers.ofString("{}"),
                                BodyHandlers.ofByteArray(),
                                "Content-Type",
                                "application/proto")
                        .statusCode())
                .isEqualTo(415);
        assertThat(send(
                                "POST",
                                "/process.Process/Start",
                                BodyPublishers.ofString("{}"),
                                BodyHandlers.ofByteArray(),
                                "Content-Type",
                                "application/connect+proto")
                        .statusCode())
                .isEqualTo(415);
        assertThat(send("GET", "/process.Process/List", BodyPublishers.noBody(), BodyHandlers.ofByteArray())
                        .statusCode())
                .isEqualTo(405);
        assertThat(ask("process.Process/Nothing", "{}").statusCode()).isEqualTo(404);
        assertThat(ask("process.Process/List", "{}", "Content-Encoding", "identity")
                        .statusCode())
                .isEqualTo(200);
        assertRefused(
                ask("process.Process/List", "{}", "Content-Encoding", "gzip"), 501, "unimplemented", "compressed");
        assertRefused(ask("process.Process/List", "[]"), 400, "invalid_argument", "object");
        assertRefused(ask("process.Process/List", "{"), 400, "invalid_argument", "JSON");
        assertRefused(
                ask("process.Process/List", "{'a':'" + "x".repeat(5 << 20) + "'}"),
                429,
                "resource_exhausted",
                "longer");
    }

    @Test
    void client_that_dies_in_the_middle_holds_nobody_up() throws Exception {
        for (int i = 0; i < 300; i++) {
            try (Socket client =
                    new Socket("127.0.0.1", server.tcp().orElseThrow().getPort())) {
                OutputStream out = client.getOutputStream();
                out.write(
                        ("POST /process.Process/List HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                                        + "Content-Length: 100\r\n\r\n{")
                                .getBytes(StandardCharsets.US_ASCII));
            }
        }
        long limit = System.nanoTime() + TimeUnit.SECONDS.toNanos(30);
        while (ask("process.Process/List", "{}").statusCode() != 200) {
            assertThat(System.nanoTime()).isLessThan(limit);
        }
    }

    @Test
    void health_needs_no_token() throws Exception {
        token = Optional.of(TOKEN);
        assertThat(send("GET", "/health", BodyPublishers.noBody(), BodyHandlers.ofByteArray())
                        .statusCode())
                .isEqualTo(204);
    }

    @Test
    void token_is_needed_and_the_users_are_the_guests() throws Exception {
        token = Optional.of(TOKEN);
        assertRefused(ask("process.Process/List", "{}"), 401, "unauthenticated", "missing");
        assertRefused(ask("process.Process/List", "{}", "X-Access-Token", "secre"), 401, "unauthenticated", "not this");
        assertRefused(ask("process.Process/Start", "{}", "X-Access-Token", "no"), 401, "unauthenticated", "not this");
        told("process.Process/List", "{}", "X-Access-Token", TOKEN);
        assertRefused(
                ask(
                        "filesystem.Filesystem/Stat",
                        "{'path':'/tmp'}",
                        "X-Access-Token",
                        TOKEN,
                        "Authorization",
                        basic("eve")),
                401,
                "unauthenticated",
                "no user 'eve'");
        assertRefused(
                ask(
                        "filesystem.Filesystem/Stat",
                        "{'path':'/tmp'}",
                        "X-Access-Token",
                        TOKEN,
                        "Authorization",
                        "Basic ?"),
                401,
                "unauthenticated",
                "base64");
        try (Stream stream = run("'cmd':'true'", "X-Access-Token", TOKEN, "Authorization", basic("bad"))) {
            assertThat(stream.end().path("error").path("code").stringValue()).isEqualTo("unauthenticated");
        }
    }

    // --- files ---

    private static String encode(String text) {
        return URLEncoder.encode(text, StandardCharsets.UTF_8);
    }

    private static String signed(String path, String operation, String user, Optional<String> expiration) {
        return "path=" + encode(path) + (user.isEmpty() ? "" : "&username=" + user)
                + expiration.map(seconds -> "&signature_expiration=" + seconds).orElse("")
                + "&signature=" + encode(Signature.of(path, operation, user, TOKEN, expiration));
    }

    @Test
    void signature_is_as_the_clients_make_it() {
        // From e2b 2.63.0: get_signature("/a b", "read", "user", "secret").
        assertThat(Signature.of("/a b", "read", "user", TOKEN, Optional.empty()))
                .isEqualTo("v1_PEA/icv+z+JO9bsZ7QQJfW5MQV9ADdOES2Wk1FxeiFU");
        assertThat(Signature.of("x", "write", "", TOKEN, Optional.of("1900000000")))
                .isEqualTo("v1_MCwxfmfBTozqFi/gkCgsL9s6cJ0mTOQ98aksSUy9jOg");
    }

    @Test
    void signature_lets_in_for_what_it_says_alone() throws Exception {
        token = Optional.of(TOKEN);
        String later = Long.toString(Instant.now().getEpochSecond() + 60);
        assertThat(upload(signed("/tmp/s", "write", "", Optional.empty()), "x").statusCode())
                .isEqualTo(200);
        assertThat(download(signed("/tmp/s", "read", "root", Optional.of(later)))
                        .statusCode())
                .isEqualTo(200);
        String good = signed("/tmp/s", "read", "", Optional.of(later));
        assertThat(download(good).statusCode()).isEqualTo(200);
        List<String> wrong = List.of(
                "path=/tmp/s",
                good.replace("%2Fs", "%2Ft"),
                good + "&username=root",
                good.replace(later, later + "0"),
                signed("/tmp/s", "write", "", Optional.of(later)),
                signed("/tmp/s", "read", "", Optional.of("1")),
                signed("/tmp/s", "read", "", Optional.of("x")),
                good.substring(0, good.length() - 1));
        for (String query : wrong) {
            assertRefused(download(query), 401, "401", "signature");
        }
        assertThat(upload(good, "y").statusCode()).isEqualTo(401);
        assertThat(download(good, "X-Access-Token", "wrong").statusCode()).isEqualTo(401);
        assertThat(download("path=/tmp/s", "X-Access-Token", TOKEN).statusCode())
                .isEqualTo(200);
        // It does not become another's by a header that is not signed.
        assertThat(download(good, "Authorization", basic("eve")).statusCode()).isEqualTo(200);
    }

    @Test
    void file_is_written_and_read_whatever_it_has() throws Exception {
        byte[] bytes = new byte[60_000];
        new Random(5).nextBytes(bytes);
        HttpResponse<byte[]> written = send(
                "POST",
                "/files?path=a%20b",
                BodyPublishers.ofByteArray(bytes),
                BodyHandlers.ofByteArray(),
                "Content-Type",
                "application/octet-stream");
        assertThat(parse(written))
                .isEqualTo(Json.parse(json("[{'path':'/home/user/a b','name':'a b','type':'file'}]")));
        HttpResponse<byte[]> read = download("path=/home/user/../user/a%20b");
        assertThat(read.body()).isEqualTo(bytes);
        assertThat(read.headers().firstValue("Content-Length")).contains("60000");
        assertThat(read.headers().firstValue("Content-Type")).contains("application/octet-stream");
        ByteArrayOutputStream packed = new ByteArrayOutputStream();
        try (OutputStream out = new GZIPOutputStream(packed)) {
            out.write("unpacked".getBytes(StandardCharsets.UTF_8));
        }
        assertThat(send(
                                "POST",
                                "/files?path=/tmp/z",
                                BodyPublishers.ofByteArray(packed.toByteArray()),
                                BodyHandlers.ofByteArray(),
                                "Content-Type",
                                "application/octet-stream",
                                "Content-Encoding",
                                "gzip")
                        .statusCode())
                .isEqualTo(200);
        assertThat(content("/tmp/z")).isEqualTo("unpacked");
        assertThat(upload("path=/tmp/empty", "").statusCode()).isEqualTo(200);
        assertThat(content("/tmp/empty")).isEmpty();
    }

    private static String part(String fileName, String content) {
        return "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"" + fileName + "\"\r\n\r\n" + content
                + "\r\n";
    }

    @Test
    void form_has_files_with_their_whole_paths() throws Exception {
        String[] type = {"Content-Type", "multipart/form-data; boundary=b"};
        HttpResponse<byte[]> written = send(
                "POST",
                "/files",
                BodyPublishers.ofString(part("/tmp/x/one", "1") + part("two", "2") + "--b--\r\n"),
                BodyHandlers.ofByteArray(),
                type);
        assertThat(parse(written))
                .isEqualTo(Json.parse(json("[{'path':'/tmp/x/one','name':'one','type':'file'},"
                        + "{'path':'/home/user/two','name':'two','type':'file'}]")));
        assertThat(content("/tmp/x/one") + content("/home/user/two")).isEqualTo("12");
        assertThat(send(
                                "POST",
                                "/files?path=/tmp/three",
                                BodyPublishers.ofString(part("ignored", "3") + "--b--\r\n"),
                                BodyHandlers.ofByteArray(),
                                type)
                        .statusCode())
                .isEqualTo(200);
        assertThat(content("/tmp/three")).isEqualTo("3");
        HttpResponse<byte[]> cut = send(
                "POST",
                "/files?path=/tmp/three",
                BodyPublishers.ofString("--b\r\nContent-Disposition: form-data; name=file\r\n\r\nhalf"),
                BodyHandlers.ofByteArray(),
                type);
        assertRefused(cut, 400, "400", "ends before");
        assertThat(content("/tmp/three")).isEqualTo("3");
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', textBlock = """
                    GET  | path=/none              | 404
                    GET  | path=/tmp               | 400
                    GET  | path=~root/x            | 400
                    GET  | path=/tmp&username=eve  | 401
                    GET  | path=/a&path=/b         | 400
                    GET  | path=/hostile/mode      | 502
                    POST | path=/tmp               | 400
                    POST |                         | 400
                    POST | path=/hostile/full      | 507
                    POST | path=/tmp/x&username=e  | 401
                    PUT  | path=/tmp/x             | 405
                    """)
    void file_that_cannot_be_had_has_its_status(String method, String query, int status) throws Exception {
        HttpResponse<byte[]> response = send(
                method,
                "/files?" + (query == null ? "" : query),
                method.equals("GET") ? BodyPublishers.noBody() : BodyPublishers.ofByteArray(new byte[100_000]),
                BodyHandlers.ofByteArray(),
                "Content-Type",
                "application/octet-stream");
        assertThat(response.statusCode())
                .as(new String(response.body(), StandardCharsets.UTF_8))
                .isEqualTo(status);
        assertThat(parse(response).path("code").intValue()).isEqualTo(status);
        assertThat(parse(response).path("message").stringValue()).isNotEmpty();
    }

    @Test
    void metadata_that_cannot_be_kept_are_refused() throws Exception {
        assertThat(upload("path=/tmp/m", "x", "X-Metadata-Author", "me").statusCode())
                .isEqualTo(501);
    }

    @Test
    void directories_are_made_listed_and_removed() throws Exception {
        JsonNode made = told("filesystem.Filesystem/MakeDir", "{'path':'t/a'}").path("entry");
        assertThat(made.path("path").stringValue()).isEqualTo("/home/user/t/a");
        assertThat(made.path("type").stringValue()).isEqualTo("FILE_TYPE_DIRECTORY");
        assertThat(made.path("permissions").stringValue()).isEqualTo("drwxr-xr-x");
        assertRefused(ask("filesystem.Filesystem/MakeDir", "{'path':'~/t/a'}"), 409, "already_exists", "t/a");
        upload("path=t/f", "four");
        assertRefused(ask("filesystem.Filesystem/MakeDir", "{'path':'t/f'}"), 400, "invalid_argument", "t/f");
        JsonNode file = told("filesystem.Filesystem/Stat", "{'path':'t/f'}").path("entry");
        assertThat(file.path("type").stringValue()).isEqualTo("FILE_TYPE_FILE");
        assertThat(file.path("size").stringValue()).isEqualTo("4");
        assertThat(file.path("mode").intValue()).isEqualTo(0644);
        assertThat(file.path("permissions").stringValue()).isEqualTo("-rw-r--r--");
        assertThat(Instant.parse(file.path("modifiedTime").stringValue())).isNotNull();
        JsonNode list = told("filesystem.Filesystem/ListDir", "{'path':'/home/user/','depth':2}")
                .path("entries");
        assertThat(list.valueStream().map(entry -> entry.path("path").stringValue()))
                .containsExactlyInAnyOrder("/home/user/t", "/home/user/t/a", "/home/user/t/f");
        assertThat(told("filesystem.Filesystem/ListDir", "{'path':'~'}").path("entries"))
                .hasSize(1);
        assertRefused(ask("filesystem.Filesystem/ListDir", "{'path':'t/f'}"), 400, "invalid_argument", "t/f");
        assertRefused(ask("filesystem.Filesystem/ListDir", "{'path':'none'}"), 404, "not_found", "none");
        assertRefused(ask("filesystem.Filesystem/ListDir", "{'path':'/hostile/up'}"), 502, "unavailable", "protocol");
        for (int i = 0; i < 2; i++) {
            told("filesystem.Filesystem/Remove", "{'path':'t'}");
        }
        assertRefused(ask("filesystem.Filesystem/Stat", "{'path':'t/f'}"), 404, "not_found", "t/f");
    }

    @Test
    void lists_that_are_made_at_once_have_so_much_room_together() throws Exception {
        List<CompletableFuture<String>> lists = new ArrayList<>();
        for (int i = 0; i < 16; i++) {
            lists.add(CompletableFuture.supplyAsync(
                    () -> {
                        try {
                            byte[] answer = ask("filesystem.Filesystem/ListDir", "{'path':'/hostile/many'}")
                                    .body();
                            return new String(answer, StandardCharsets.UTF_8);
                        } catch (Exception e) {
                            throw new AssertionError(e);
                        }
                    },
                    task -> new Thread(task).start()));
        }
        List<String> answers = lists.stream().map(CompletableFuture::join).toList();
        assertThat(answers).anyMatch(answer -> answer.contains("too long together"));
        assertThat(answers)
                .allMatch(answer ->
                        answer.contains("too long together") || answer.contains("is longer than 8388608 bytes"));
        assertThat(told("filesystem.Filesystem/ListDir", "{'path':'/'}").path("entries"))
                .isNotEmpty();
        assertRefused(
                ask("filesystem.Filesystem/ListDir", "{'path':'/hostile/many'}"),
                429,
                "resource_exhausted",
                "is longer than 8388608 bytes");
    }

    @Test
    void source_that_is_not_there_makes_no_directory() throws Exception {
        assertRefused(
                ask("filesystem.Filesystem/Move", "{'source':'none','destination':'/tmp/n/x'}"),
                404,
                "not_found",
                "none");
        assertRefused(ask("filesystem.Filesystem/Stat", "{'path':'/tmp/n'}"), 404, "not_found", "/tmp/n");
    }

    // --- watchers, of which the guest has none ---

    @Test
    void watcher_that_is_none_is_not_found() throws Exception {
        assertRefused(ask("filesystem.Filesystem/GetWatcherEvents", "{'watcherId':'x'}"), 404, "not_found", "watcher");
        assertRefused(ask("filesystem.Filesystem/RemoveWatcher", "{}"), 404, "not_found", "watcher");
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', textBlock = """
                    /none        | 404 | not_found
                    /etc/passwd  | 400 | invalid_argument
                    /tmp         | 501 | unimplemented
                    """)
    void what_cannot_be_watched_is_refused(String path, int status, String code) throws Exception {
        assertRefused(ask("filesystem.Filesystem/CreateWatcher", "{'path':'" + path + "'}"), status, code, "");
        try (Stream stream = open("filesystem.Filesystem/WatchDir", "{'path':'" + path + "'}")) {
            assertThat(stream.end().path("error").path("code").stringValue()).isEqualTo(code);
        }
    }
}
