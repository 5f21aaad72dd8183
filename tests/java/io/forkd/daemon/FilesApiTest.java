package io.forkd.daemon;

import static org.assertj.core.api.Assertions.assertThat;

import io.forkd.Json;
import io.forkd.daemon.Api.Answer;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.Socket;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublisher;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import tools.jackson.databind.JsonNode;

/** Files of a guest over HTTP. What the guest of the tests has is in {@code tests/native/guests/agent/streams.h}. */
@Timeout(value = 3, unit = TimeUnit.MINUTES)
class FilesApiTest {
    private static final String PATTERN = "0123456789abcdefghijklmnopqrstuv";
    private static final HttpClient HTTP = HttpClient.newHttpClient();

    @RegisterExtension
    static final Service service = new Service();

    private static String at(String id, String what) {
        return "/v1/sandboxes/" + id + "/files" + what;
    }

    private static Answer put(String id, String query, BodyPublisher body) {
        return service.api().ask("PUT", at(id, "?" + query), body);
    }

    private static HttpResponse<InputStream> get(String id, String query, String... headers) throws Exception {
        HttpRequest.Builder request = HttpRequest.newBuilder(
                URI.create("http://127.0.0.1:" + service.address().getPort() + at(id, "?" + query)));
        if (headers.length > 0) {
            request.headers(headers);
        }
        return HTTP.send(request.build(), BodyHandlers.ofInputStream());
    }

    private static byte[] read(String id, String query) throws Exception {
        HttpResponse<InputStream> response = get(id, query);
        assertThat(response.statusCode()).isEqualTo(200);
        return response.body().readAllBytes();
    }

    @Test
    void file_is_written_looked_at_read_and_removed() throws Exception {
        String id = service.sandbox();
        byte[] bytes = new byte[60_000];
        new Random(5).nextBytes(bytes);
        Answer written = put(
                id, "path=/tmp/a%20b&mode=750&uid=5&gid=6&mtime_ms=1600000000123", BodyPublishers.ofByteArray(bytes));
        assertThat(written.status()).as(written.text()).isEqualTo(200);
        JsonNode entry = service.api().get(at(id, "/stat?path=/tmp/a%20b")).json();
        assertThat(entry).isEqualTo(written.json());
        assertThat(entry.path("name").stringValue()).isEqualTo("a b");
        assertThat(entry.path("type").stringValue()).isEqualTo("file");
        assertThat(entry.path("size").longValue()).isEqualTo(60_000);
        assertThat(entry.path("mode").stringValue()).isEqualTo("0750");
        assertThat(entry.path("uid").intValue()).isEqualTo(5);
        assertThat(entry.path("mtime_ms").longValue()).isEqualTo(1_600_000_000_123L);
        HttpResponse<InputStream> response = get(id, "path=/tmp/a%20b");
        assertThat(response.headers().firstValue("Content-Length")).contains("60000");
        assertThat(response.headers().firstValue("Content-Type")).contains("application/octet-stream");
        assertThat(response.body().readAllBytes()).isEqualTo(bytes);
        assertThat(service.api().delete(at(id, "?path=/tmp/a%20b")).status()).isEqualTo(204);
        assertThat(service.api().get(at(id, "/stat?path=/tmp/a%20b")).status()).isEqualTo(404);
    }

    @Test
    void parts_of_a_file_are_sent() throws Exception {
        String id = service.sandbox();
        String query = "path=/pattern";
        HttpResponse<InputStream> middle = get(id, query, "Range", "bytes=34-38");
        assertThat(middle.statusCode()).isEqualTo(206);
        assertThat(middle.headers().firstValue("Content-Range")).contains("bytes 34-38/1073741824");
        assertThat(middle.body().readAllBytes()).isEqualTo("23456".getBytes(StandardCharsets.US_ASCII));
        assertThat(get(id, query, "Range", "bytes=-3").body().readAllBytes())
                .isEqualTo("tuv".getBytes(StandardCharsets.US_ASCII));
        assertThat(get(id, query, "Range", "bytes=1073741823-").body().readAllBytes())
                .isEqualTo("v".getBytes(StandardCharsets.US_ASCII));
        assertThat(get(id, query, "Range", "bytes=1073741824-").statusCode()).isEqualTo(416);
    }

    @Test
    void file_that_is_larger_than_the_heap_may_be_goes_through() throws Exception {
        String id = service.sandbox();
        HttpResponse<InputStream> large = get(id, "path=/pattern");
        assertThat(large.headers().firstValue("Content-Length")).contains("1073741824");
        try (InputStream body = large.body()) {
            byte[] begin = body.readNBytes(64 << 20);
            assertThat(new String(begin, (32 << 20) + 32 - 32, 32, StandardCharsets.US_ASCII))
                    .isEqualTo(PATTERN);
        }
        byte[] piece = new byte[1 << 20];
        BodyPublisher chunked = BodyPublishers.ofInputStream(() -> new java.io.SequenceInputStream(
                java.util.Collections.enumeration(java.util.stream.IntStream.range(0, 64)
                        .<InputStream>mapToObj(i -> new java.io.ByteArrayInputStream(piece))
                        .toList())));
        Answer sunk = put(id, "path=/sink", chunked);
        assertThat(sunk.status()).as(sunk.text()).isEqualTo(200);
        assertThat(sunk.json().path("size").longValue()).isEqualTo(64L << 20);
    }

    @Test
    void directories_are_made_listed_and_removed() {
        String id = service.sandbox();
        assertThat(service.api()
                        .post(at(id, "/mkdir"), "{'path':'/tmp/t/a','parents':true}")
                        .status())
                .isEqualTo(201);
        assertThat(service.api()
                        .post(at(id, "/mkdir"), "{'path':'/tmp/t','parents':true}")
                        .json()
                        .path("created")
                        .booleanValue())
                .isFalse();
        put(id, "path_base64=L3RtcC90L/94", BodyPublishers.ofString("x")); // /tmp/t/ and a name that is no UTF-8
        Answer listed = service.api().get(at(id, "/list?path=/tmp/t&depth=2"));
        assertThat(listed.status()).as(listed.text()).isEqualTo(200);
        List<JsonNode> entries = listed.text()
                .lines()
                .map(line -> Json.parse(line.getBytes(StandardCharsets.UTF_8)))
                .toList();
        assertThat(entries)
                .extracting(entry -> entry.path("name").stringValue())
                .containsExactly("a", "\ufffdx");
        assertThat(entries.get(1).path("name_base64").stringValue()).isEqualTo("/3g=");
        assertThat(service.api().delete(at(id, "?path=/tmp/t")).status()).isEqualTo(409);
        assertThat(service.api().delete(at(id, "?path=/tmp/t&recursive=true")).status())
                .isEqualTo(204);
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', textBlock = """
                    GET    | ?path=/none                    | 404 | ENOENT
                    GET    | ?path=/tmp                     | 400 | EISDIR
                    GET    | ?path=tmp                      | 400 | EINVAL
                    GET    |                                | 400 | path is missing
                    GET    | ?path=/a&path=/b               | 400 | twice
                    GET    | ?path_base64=%3F               | 400 | base64
                    GET    | /list?path=/tmp&depth=65       | 400 | depth
                    GET    | /stat?path=/hostile/size       | 502 | broke the protocol
                    GET    | ?path=/hostile/mode            | 502 | broke the protocol
                    GET    | /list?path=/hostile/up         | 502 | broke the protocol
                    GET    | /watch?path=/tmp               | 501 | ENOSYS
                    PUT    | ?path=/hostile/full            | 507 | ENOSPC
                    PUT    | ?path=/hostile/early           | 502 | broke the protocol
                    PUT    | ?path=/tmp/x&mode=9            | 400 | mode must be octal
                    PUT    | ?path=/none/x                  | 404 | ENOENT
                    DELETE | ?path=/none                    | 404 | ENOENT
                    """)
    void what_goes_wrong_has_its_status(String method, String what, int status, String why) {
        Answer answer = service.api()
                .ask(
                        method,
                        at(service.sandbox(), what == null ? "" : what),
                        method.equals("PUT") ? BodyPublishers.ofByteArray(new byte[100_000]) : BodyPublishers.noBody());
        assertThat(answer.status()).as(answer.text()).isEqualTo(status);
        assertThat(answer.text()).contains(why);
        if (why.startsWith("E")) {
            assertThat(answer.text("code")).isEqualTo(why);
        }
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', textBlock = """
                    mkdir | {'path':'/tmp'}                 | 409 | EEXIST
                    mkdir | {'path':'/tmp','mode':'0800'}   | 400 | mode must be octal
                    mkdir | {'path':1}                      | 422 | path
                    move  | {'from':'/tmp/a','to':'/tmp/b'} | 501 | ENOSYS
                    move  | {'from':'/tmp/a'}               | 400 | to is missing
                    """)
    void changes_that_are_not_made_have_their_status(String what, String body, int status, String why) {
        Answer answer = service.api().post(at(service.sandbox(), "/" + what), body);
        assertThat(answer.status()).as(answer.text()).isEqualTo(status);
        assertThat(answer.text()).contains(why);
    }

    @Test
    void file_whose_client_breaks_off_is_as_it_was() throws Exception {
        String id = service.sandbox();
        put(id, "path=/tmp/kept", BodyPublishers.ofString("before"));
        for (String framing :
                List.of("Content-Length: 1000\r\n\r\nhalf", "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")) {
            try (Socket client = new Socket("127.0.0.1", service.address().getPort())) {
                OutputStream out = client.getOutputStream();
                out.write(("PUT " + at(id, "?path=/tmp/kept") + " HTTP/1.1\r\nHost: localhost\r\n" + framing)
                        .getBytes(StandardCharsets.US_ASCII));
                client.shutdownOutput();
                assertThat(new String(client.getInputStream().readAllBytes(), StandardCharsets.US_ASCII))
                        .doesNotContain(" 200 ");
            }
            assertThat(read(id, "path=/tmp/kept")).isEqualTo("before".getBytes(StandardCharsets.US_ASCII));
        }
    }

    @Test
    void head_tells_the_size_and_sends_nothing() throws Exception {
        String id = service.sandbox();
        HttpResponse<byte[]> response = HTTP.send(
                HttpRequest.newBuilder(URI.create(
                                "http://127.0.0.1:" + service.address().getPort() + at(id, "?path=/pattern")))
                        .method("HEAD", BodyPublishers.noBody())
                        .build(),
                BodyHandlers.ofByteArray());
        assertThat(response.statusCode()).isEqualTo(200);
        assertThat(response.headers().firstValue("Content-Length")).contains("1073741824");
        assertThat(response.body()).isEmpty();
    }
}
