package io.forkd.daemon;

import static org.assertj.core.api.Assertions.assertThat;

import io.forkd.daemon.Api.Answer;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;

/** {@code /v1/sandboxes/:id/logs}: read, followed, cut. */
class LogsApiTest {
    @RegisterExtension
    static final Service service = new Service();

    private static Answer logs(String id, String query) {
        return service.api().get("/v1/sandboxes/" + id + "/logs" + query);
    }

    private static InputStream follow(String id, String query) throws IOException, InterruptedException {
        HttpResponse<InputStream> answer = HttpClient.newHttpClient()
                .send(
                        HttpRequest.newBuilder(URI.create("http://127.0.0.1:"
                                        + service.address().getPort() + "/v1/sandboxes/" + id + "/logs?follow=true"
                                        + query))
                                .build(),
                        BodyHandlers.ofInputStream());
        assertThat(answer.statusCode()).isEqualTo(200);
        return answer.body();
    }

    private static BufferedReader lines(InputStream log) {
        return new BufferedReader(new InputStreamReader(log, StandardCharsets.UTF_8));
    }

    @Test
    void log_is_read_whole_or_its_last_lines() {
        String id = service.sandbox();
        assertThat(logs(id, "").text()).isEmpty();
        service.exec(id, "console", "one");
        service.exec(id, "console", "two", "words");
        service.exec(id, "console", "three");
        assertThat(logs(id, "").text()).isEqualTo("one\ntwo words\nthree\n");
        assertThat(logs(id, "?tail=all").text()).isEqualTo("one\ntwo words\nthree\n");
        assertThat(logs(id, "?tail=2").text()).isEqualTo("two words\nthree\n");
        assertThat(logs(id, "?tail=0").text()).isEmpty();
        assertThat(logs(id, "?tail=2").response().headers().firstValue("Content-Type"))
                .hasValue("text/plain; charset=utf-8");
        for (String wrong : List.of("?tail=-1", "?tail=x", "?tail=", "?follow=x", "?tail=1&tail=2")) {
            assertThat(logs(id, wrong).status()).as(wrong).isEqualTo(400);
        }
        assertThat(logs("sb-00000000-00000000", "").status()).isEqualTo(404);
    }

    @Test
    void log_is_a_sandboxs_own() {
        String source = service.sandbox();
        service.exec(source, "console", "mine");
        Answer forked = service.api().post("/v1/sandboxes/" + source + "/fork", "{'n':1}");
        assertThat(forked.status()).as(forked.text()).isEqualTo(201);
        String fork = forked.json().get(0).path("id").stringValue();
        service.exec(fork, "console", "its", "own");
        service.exec(source, "console", "again");
        assertThat(logs(source, "").text()).isEqualTo("mine\nagain\n");
        assertThat(logs(fork, "").text()).isEqualTo("its own\n");
    }

    @Test
    void log_begins_anew_when_a_sandbox_is_resumed() throws IOException, InterruptedException {
        String id = service.sandbox();
        service.exec(id, "console", "before");
        try (InputStream followed = follow(id, "")) {
            assertThat(service.api().post("/v1/sandboxes/" + id + "/pause").status())
                    .isEqualTo(200);
            assertThat(new String(followed.readAllBytes(), StandardCharsets.UTF_8))
                    .isEqualTo("before\n");
        }
        Answer paused = logs(id, "");
        assertThat(paused.status()).isEqualTo(409);
        assertThat(paused.error()).contains("paused");
        assertThat(service.api().post("/v1/sandboxes/" + id + "/resume").status())
                .isEqualTo(200);
        service.exec(id, "console", "after");
        assertThat(logs(id, "").text()).isEqualTo("after\n");
    }

    @Test
    void log_is_followed_until_the_sandbox_ends() throws IOException, InterruptedException {
        String id = service.sandbox();
        service.exec(id, "console", "first");
        service.exec(id, "console", "second");
        try (BufferedReader followed = lines(follow(id, "&tail=1"))) {
            assertThat(followed.readLine()).isEqualTo("second");
            service.exec(id, "console", "third");
            assertThat(followed.readLine()).isEqualTo("third");
            service.exec(id, "console", "last");
            assertThat(service.api().delete("/v1/sandboxes/" + id).status()).isEqualTo(204);
            assertThat(followed.readLine()).isEqualTo("last");
            assertThat(followed.readLine()).isNull();
        }
    }

    /** Each line is told once, whatever the log keeps of them. */
    @Test
    void log_that_is_cut_is_followed_without_a_gap() throws IOException, InterruptedException {
        Answer made = service.api().post("/v1/sandboxes", "{'snapshot_tag':'py','console_limit_kib':4}");
        assertThat(made.status()).as(made.text()).isEqualTo(201);
        String id = made.json().get(0).path("id").stringValue();
        String filling = "x".repeat(200);
        List<String> wanted = new ArrayList<>();
        List<String> told = new ArrayList<>();
        try (BufferedReader followed = lines(follow(id, ""))) {
            for (int i = 0; i < 60; i++) {
                wanted.add(i + " " + filling);
                service.exec(id, "console", Integer.toString(i), filling);
                told.add(followed.readLine());
            }
        }
        assertThat(told).isEqualTo(wanted);
        assertThat(logs(id, "").text())
                .startsWith("[forkd: the log was full")
                .hasSizeLessThan(4096 + 300)
                .endsWith(wanted.get(59) + '\n');
    }

    @Test
    void followers_are_as_many_as_a_guest_may_have_streams_and_leave() throws IOException, InterruptedException {
        String id = service.sandbox();
        List<InputStream> open = new ArrayList<>();
        try {
            for (int i = 0; i < 64; i++) {
                open.add(follow(id, ""));
            }
            assertThat(logs(id, "?follow=true").status()).isEqualTo(503);
        } finally {
            for (InputStream each : open) {
                each.close();
            }
        }
        long end = System.nanoTime() + 30_000_000_000L;
        int status;
        do {
            status = logs(id, "").status();
        } while (status == 503 && System.nanoTime() < end);
        assertThat(status).isEqualTo(200);
    }
}
