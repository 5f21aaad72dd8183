package io.forkd.daemon;

import static org.assertj.core.api.Assertions.assertThat;

import io.forkd.Json;
import io.forkd.daemon.Api.Answer;
import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import tools.jackson.databind.JsonNode;

/** Programs of guests that are listened to while they run, or that go on without that. */
@Timeout(value = 3, unit = TimeUnit.MINUTES)
class ProcessesApiTest {
    @RegisterExtension
    static final Service service = new Service();

    private static String at(String id, String what) {
        return "/v1/sandboxes/" + id + "/" + what;
    }

    private static Answer exec(String id, String body) {
        return service.api().post(at(id, "exec"), body);
    }

    private static List<JsonNode> lines(Answer answer) {
        assertThat(answer.status()).as(answer.text()).isEqualTo(200);
        assertThat(answer.response().headers().firstValue("Content-Type")).contains("application/x-ndjson");
        return answer.text().lines().map(ProcessesApiTest::json).toList();
    }

    private static JsonNode json(String line) {
        return Json.parse(line.getBytes(StandardCharsets.UTF_8));
    }

    private static byte[] written(List<JsonNode> lines, String stream) {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        for (JsonNode line : lines) {
            if (line.path("stream").asString("").equals(stream)) {
                bytes.writeBytes(
                        Base64.getDecoder().decode(line.path("data_base64").stringValue()));
            }
        }
        return bytes.toByteArray();
    }

    private static String text(List<JsonNode> lines, String stream) {
        return new String(written(lines, stream), StandardCharsets.UTF_8);
    }

    private static JsonNode last(List<JsonNode> lines) {
        return lines.get(lines.size() - 1);
    }

    private static long start(String id, String body) {
        Answer started = exec(id, body);
        assertThat(started.status()).as(started.text()).isEqualTo(202);
        return started.json().path("pid").longValue();
    }

    @Test
    void guest_says_what_it_takes_when_it_is_asked() {
        String id = service.sandbox();
        assertThat(service.api().get(at(id, "metrics")).json().path("guest").isNull())
                .isTrue();
        JsonNode figures = service.api().get(at(id, "metrics?guest=true")).json();
        assertThat(figures.path("guest"))
                .isEqualTo(json("{\"cpus\":1,\"cpu_usec\":1000,\"memory_bytes\":67108864,"
                        + "\"memory_used_bytes\":33554432,\"memory_cache_bytes\":1048576,\"disk_bytes\":1048576,"
                        + "\"disk_used_bytes\":65536,\"processes\":3,\"uptime_ms\":5000}"));
        assertThat(figures.path("own_bytes").longValue()).isPositive();
        assertThat(service.api().get(at(id, "metrics?guest=yes")).status()).isEqualTo(400);
        assertThat(service.api().post(at(id, "pause")).status()).isEqualTo(200);
        assertThat(service.api().get(at(id, "metrics")).status()).isEqualTo(200);
        assertThat(service.api().get(at(id, "metrics?guest=true")).status()).isEqualTo(409);
    }

    @Test
    void output_comes_as_lines_and_the_exit_code_last() {
        String id = service.sandbox();
        List<JsonNode> lines = lines(exec(
                id,
                "{'args':['sh','-c','echo $A; pwd; whoami; stderr err; cat; exit 3'],'env':{'A':'ä'},'cwd':'/tmp',"
                        + "'user':'app:29','stdin':'in','stream':true}"));
        assertThat(lines.get(0).path("pid").longValue()).isPositive();
        assertThat(text(lines, "stdout")).isEqualTo("ä\n/tmp\napp:29\nin");
        assertThat(text(lines, "stderr")).isEqualTo("err\n");
        assertThat(last(lines)).isEqualTo(json("{\"exit_code\":3}"));
    }

    @Test
    void lines_are_asked_for_by_their_type_too() {
        Answer answer = service.api()
                .ask(
                        "POST",
                        at(service.sandbox(), "exec"),
                        java.net.http.HttpRequest.BodyPublishers.ofString(
                                "{\"args\":[\"echo\",\"x\"],\"stdin_base64\":\"/w==\"}"),
                        "Content-Type",
                        "application/json",
                        "Accept",
                        "application/x-ndjson");
        assertThat(text(lines(answer), "stdout")).isEqualTo("x\n");
    }

    @Test
    void answer_that_is_sent_whole_takes_input_too() {
        String id = service.sandbox();
        assertThat(exec(id, "{'args':['cat'],'stdin':'ä'}").text("stdout")).isEqualTo("ä");
        assertThat(exec(id, "{'args':['cat'],'stdin_base64':'aGk='}").text("stdout"))
                .isEqualTo("hi");
    }

    @Test
    void much_goes_in_and_comes_back() {
        byte[] bytes = new byte[1_000_003];
        new java.util.Random(3).nextBytes(bytes);
        List<JsonNode> lines = lines(exec(
                service.sandbox(),
                "{'args':['cat'],'stream':true,'stdin_base64':'"
                        + Base64.getEncoder().encodeToString(bytes) + "'}"));
        assertThat(written(lines, "stdout")).isEqualTo(bytes);
        assertThat(last(lines).path("exit_code").intValue()).isZero();
    }

    @Test
    void program_ends_for_its_time_and_that_is_said() {
        List<JsonNode> lines =
                lines(exec(service.sandbox(), "{'args':['sleep','1000'],'timeout_secs':1,'stream':true}"));
        assertThat(last(lines)).isEqualTo(json("{\"exit_code\":-9,\"timed_out\":true}"));
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', textBlock = """
                    {'args':['nothing'],'stream':true}                     | 404 | ENOENT
                    {'args':['nothing'],'detach':true}                     | 404 | ENOENT
                    {'args':['hostile','text'],'stream':true}              | 502 | broke the protocol
                    {'args':['hostile','close'],'stream':true}             | 502 | closed the connection
                    {'args':['true'],'tag':'x'}                            | 400 | a tag is for
                    {'args':['cat'],'stdin':'a','stdin_base64':'YQ=='}     | 400 | do not go together
                    {'args':['cat'],'stdin_base64':'?'}                    | 422 | base64
                    {'args':['cat'],'stream':1}                            | 422 | stream
                    """)
    void what_does_not_run_is_said_before_anything(String body, int status, String why) {
        Answer answer = exec(service.sandbox(), body);
        assertThat(answer.status()).as(answer.text()).isEqualTo(status);
        assertThat(answer.text()).contains(why);
    }

    @Test
    void guest_that_lies_later_ends_the_lines_with_an_error() {
        List<JsonNode> lines = lines(exec(service.sandbox(), "{'args':['hostile','exit-large'],'stream':true}"));
        assertThat(last(lines).path("error").stringValue()).contains("broke the protocol");
    }

    @Test
    void program_that_is_detached_goes_on_is_listed_heard_and_ended() {
        String id = service.sandbox();
        long pid = start(id, "{'args':['trap'],'detach':true,'tag':'worker'}");
        assertThat(exec(id, "{'args':['trap'],'detach':true,'tag':'worker'}").status())
                .isEqualTo(409);
        JsonNode listed = service.api().get(at(id, "processes")).json().get(0);
        assertThat(listed.path("pid").longValue()).isEqualTo(pid);
        assertThat(listed.path("tag").stringValue()).isEqualTo("worker");
        assertThat(listed.path("args").get(0).stringValue()).isEqualTo("trap");
        assertThat(listed.path("exit_code").isNull()).isTrue();
        assertThat(service.api()
                        .post(at(id, "processes/" + pid + "/signal"), "{'signal':1}")
                        .status())
                .isEqualTo(204);
        assertThat(service.api()
                        .post(at(id, "processes/worker/signal"), "{'signal':9,'group':true}")
                        .status())
                .isEqualTo(204);
        List<JsonNode> lines = lines(service.api().post(at(id, "processes/" + pid + "/attach")));
        assertThat(text(lines, "stdout")).isEqualTo("signal 1\n");
        assertThat(last(lines).path("exit_code").intValue()).isEqualTo(-9);
    }

    @Test
    void who_attaches_later_begins_where_it_says() {
        String id = service.sandbox();
        long pid = start(id, "{'args':['cat'],'detach':true,'stdin':'0123456789'}");
        long end = System.nanoTime() + TimeUnit.MINUTES.toNanos(1); // until it has written all that
        while (service.api()
                .get(at(id, "processes"))
                .json()
                .get(0)
                .path("exit_code")
                .isNull()) {
            assertThat(System.nanoTime()).isLessThan(end);
        }
        List<JsonNode> lines = lines(service.api().post(at(id, "processes/" + pid + "/attach?stdout=4")));
        assertThat(lines.get(0).path("from").get(0).longValue()).isEqualTo(4);
        assertThat(text(lines, "stdout")).isEqualTo("456789");
    }

    @Test
    void who_attaches_behind_what_was_written_is_told_how_much_that_is() {
        String id = service.sandbox();
        long pid = start(id, "{'args':['sleep','60'],'detach':true}");
        for (String where : List.of("stdout=1", "stderr=9000", "stdout=9007199254740992")) {
            Answer refused = service.api().post(at(id, "processes/" + pid + "/attach?" + where));
            assertThat(refused.status()).as(refused.text()).isEqualTo(400);
            assertThat(refused.error()).contains(where.split("=")[0] + " has 0 bytes");
        }
    }

    @Test
    void process_that_is_none_is_not_found() {
        String id = service.sandbox();
        assertThat(service.api()
                        .post(at(id, "processes/4711/signal"), "{'signal':1}")
                        .status())
                .isEqualTo(404);
        assertThat(service.api().post(at(id, "processes/nobody/attach")).status())
                .isEqualTo(404);
        assertThat(service.api()
                        .post(at(id, "processes/1/signal"), "{'signal':65}")
                        .status())
                .isEqualTo(422);
    }

    /** A client that reads line by line. */
    private static Socket ask(String id, String body) throws IOException {
        Socket socket = new Socket("127.0.0.1", service.address().getPort());
        OutputStream out = socket.getOutputStream();
        byte[] bytes = body.replace('\'', '"').getBytes(StandardCharsets.UTF_8);
        out.write(("POST " + at(id, "exec") + " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                        + "Content-Length: " + bytes.length + "\r\n\r\n")
                .getBytes(StandardCharsets.US_ASCII));
        out.write(bytes);
        return socket;
    }

    private static void awaitLine(Socket socket, String part) throws IOException {
        BufferedReader reader =
                new BufferedReader(new InputStreamReader(socket.getInputStream(), StandardCharsets.UTF_8));
        String line = reader.readLine();
        while (!line.contains(part)) {
            line = reader.readLine();
        }
    }

    @Test
    void output_is_there_before_the_end_and_the_program_outlives_its_client() throws Exception {
        String id = service.sandbox();
        try (Socket client = ask(id, "{'args':['sh','-c','echo a; sleep 1000'],'tag':'lives','stream':true}")) {
            awaitLine(client, "data_base64");
        }
        assertThat(service.api()
                        .post(at(id, "processes/lives/signal"), "{'signal':9,'group':true}")
                        .status())
                .isEqualTo(204);
        List<JsonNode> lines = lines(service.api().post(at(id, "processes/lives/attach")));
        assertThat(last(lines).path("exit_code").intValue()).isEqualTo(-9);
    }

    /** Attaches, and returns the first line of the answer. */
    private static String attach(List<Socket> clients, String id, long pid) throws IOException {
        Socket client = new Socket("127.0.0.1", service.address().getPort());
        clients.add(client);
        client.getOutputStream()
                .write(("POST " + at(id, "processes/" + pid + "/attach")
                                + " HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
                        .getBytes(StandardCharsets.US_ASCII));
        return new BufferedReader(new InputStreamReader(client.getInputStream(), StandardCharsets.UTF_8)).readLine();
    }

    @Test
    void streams_of_a_sandbox_are_bounded_and_are_given_back() throws Exception {
        // The guest of the tests has 64 connections: so many that there are fewer for one of two.
        int others = 30;
        int left = 54;
        String id = service.sandbox();
        String other = service.sandbox();
        long pid = start(id, "{'args':['trap'],'detach':true}");
        long pidOfOther = start(other, "{'args':['trap'],'detach':true}");
        List<Socket> clients = new ArrayList<>();
        try {
            for (int i = 0; i < others; i++) {
                assertThat(attach(clients, other, pidOfOther)).contains(" 200 ");
            }
            for (int i = 0; i < left; i++) {
                assertThat(attach(clients, id, pid)).contains(" 200 ");
            }
            Answer answer = service.api().post(at(id, "processes/" + pid + "/attach"));
            assertThat(answer.status()).isEqualTo(503);
            assertThat(answer.error()).contains("no more may be");
            // Short questions, and other sandboxes, have places of their own.
            assertThat(service.exec(id, "echo", "x")).isEqualTo("x");
            assertThat(lines(exec(service.sandbox(), "{'args':['true'],'stream':true}")))
                    .hasSize(2);
        } finally {
            for (Socket client : clients) {
                client.close();
            }
        }
        while (exec(id, "{'args':['true'],'stream':true}").status() == 503) {
            Thread.sleep(10);
        }
    }
}
