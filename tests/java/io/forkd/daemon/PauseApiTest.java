package io.forkd.daemon;

import static org.assertj.core.api.Assertions.assertThat;

import io.forkd.daemon.Api.Answer;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;
import tools.jackson.databind.JsonNode;

/** Pause and resume over REST v1, of guests on this machine's /dev/kvm. */
class PauseApiTest {
    @RegisterExtension
    static final Service service = new Service();

    private static String path(String id, String action) {
        return "/v1/sandboxes/" + id + "/" + action;
    }

    private static JsonNode ask(String id, String action) {
        Answer answer = service.api().post(path(id, action));
        assertThat(answer.status()).as(answer.text()).isEqualTo(200);
        return answer.json();
    }

    private static JsonNode get(String id) {
        return service.api().get("/v1/sandboxes/" + id).json();
    }

    @Test
    void guest_goes_on_where_it_was() {
        Answer made = service.api().post("/v1/sandboxes", "{'snapshot_tag':'py','disk_limit_mib':7}");
        String id = made.json().get(0).path("id").stringValue();
        service.exec(id, "set", "work", "done");
        service.branch(id, "branch");
        JsonNode before = get(id);

        JsonNode paused = ask(id, "pause");
        assertThat(paused.path("state").stringValue()).isEqualTo("paused");
        assertThat(paused.path("pid").isNull()).isTrue();
        // Killed it is; whoever it was forked by takes notice of that.
        ProcessHandle.of(before.path("pid").longValue())
                .ifPresent(process -> assertThat(process.onExit()).succeedsWithin(Duration.ofMinutes(1)));
        assertThat(get(id)).isEqualTo(paused);
        assertThat(service.ids()).containsExactly(id);

        JsonNode figures = service.api().get(path(id, "metrics")).json();
        assertThat(figures.path("state").stringValue()).isEqualTo("paused");
        assertThat(figures.path("cpu_usec").isNull()).isTrue();

        JsonNode resumed = ask(id, "resume");
        assertThat(service.api()
                        .get(path(id, "metrics"))
                        .json()
                        .path("own_bytes")
                        .longValue())
                .isPositive();
        assertThat(resumed.path("state").stringValue()).isEqualTo("running");
        assertThat(resumed.path("created_at_unix")).isEqualTo(before.path("created_at_unix"));
        assertThat(resumed.path("branch_count").intValue()).isEqualTo(1);
        assertThat(resumed.path("snapshot_tag").stringValue()).isEqualTo("py");
        assertThat(get(id)).isEqualTo(resumed);
        assertThat(service.exec(id, "get", "work")).isEqualTo("done");
        assertThat(service.exec(id, "hostname")).isEqualTo(id);
    }

    @Test
    void what_is_paused_is_not_asked() {
        String id = service.sandbox();
        ask(id, "pause");
        for (Answer answer : List.of(
                service.api().post(path(id, "exec"), "{'args':['true']}"),
                service.api().post(path(id, "eval"), "{'code':'1'}"),
                service.api().post(path(id, "ping")),
                service.api().post(path(id, "branch"), "{'tag':'new'}"))) {
            assertThat(answer.status()).as(answer.text()).isEqualTo(409);
            assertThat(answer.error()).contains(id + " is paused", path(id, "resume"));
        }
        ask(id, "pause");
        ask(id, "resume");
        ask(id, "resume");
        assertThat(service.api().post(path("sb-00000000-00000000", "pause")).status())
                .isEqualTo(404);
        assertThat(service.api().post(path("sb-00000000-00000000", "resume")).status())
                .isEqualTo(404);
    }

    @Test
    void paused_one_is_the_next_daemons_and_the_command_lines() {
        String id = service.sandbox();
        service.exec(id, "set", "work", "done");
        ask(id, "pause");
        service.restart();
        assertThat(get(id).path("state").stringValue()).isEqualTo("paused");
        service.beside().resume(id, Service.call());
        assertThat(service.exec(id, "get", "work")).isEqualTo("done");
        service.beside().pause(id, Service.call());
        assertThat(get(id).path("state").stringValue()).isEqualTo("paused");
        assertThat(service.api().delete("/v1/sandboxes/" + id).status()).isEqualTo(204);
        assertThat(service.ids()).isEmpty();
        assertThat(service.directory().resolve("forkd/paused").resolve(id)).doesNotExist();
    }

    private static void await(String id, String state) throws InterruptedException {
        long end = System.nanoTime() + 30_000_000_000L;
        while (!get(id).path("state").asString("gone").equals(state) && System.nanoTime() < end) {
            Thread.sleep(20);
        }
        assertThat(get(id).path("state").asString("gone")).isEqualTo(state);
    }

    private static JsonNode made(String fields) {
        Answer made = service.api().post("/v1/sandboxes", "{'snapshot_tag':'py'," + fields + "}");
        assertThat(made.status()).as(made.text()).isEqualTo(201);
        return made.json().get(0);
    }

    @Test
    void time_that_is_over_ends_or_pauses_and_use_wakes() throws Exception {
        JsonNode ends = made("'ttl_secs':1");
        JsonNode sleeps = made("'idle_secs':1,'on_timeout':'pause','wake':true");
        assertThat(ends.path("ends_at_unix").longValue())
                .isEqualTo(ends.path("created_at_unix").longValue() + 1);
        assertThat(sleeps.path("idle_secs").intValue()).isEqualTo(1);
        String id = sleeps.path("id").stringValue();
        service.exec(id, "set", "work", "done");
        await(id, "paused");
        await(ends.path("id").stringValue(), "gone");
        assertThat(service.exec(id, "get", "work")).isEqualTo("done");
        Answer changed = service.api().put("/v1/sandboxes/" + id + "/timeout", "{'ttl_secs':100}");
        assertThat(changed.json().path("idle_secs").isNull()).isTrue();
        assertThat(changed.json().path("wake").booleanValue()).isFalse();
    }

    @Test
    void time_until_it_is_frozen_is_told_and_changed() throws Exception {
        JsonNode made = made("'freeze_secs':5");
        assertThat(made.path("freeze_secs").intValue()).isEqualTo(5);
        assertThat(made.path("ends_at_unix").isNull()).isTrue();
        Answer changed = service.api()
                .put("/v1/sandboxes/" + made.path("id").stringValue() + "/timeout", "{'ttl_secs':100,'freeze_secs':7}");
        assertThat(changed.json().path("freeze_secs").intValue()).isEqualTo(7);
        changed = service.api().put("/v1/sandboxes/" + made.path("id").stringValue() + "/timeout", "{}");
        assertThat(changed.json().path("freeze_secs").isNull()).isTrue();
    }

    @Test
    void time_counts_while_no_daemon_is_there() throws Exception {
        String ends = made("'ttl_secs':1").path("id").stringValue();
        String sleeps = made("'ttl_secs':1,'on_timeout':'pause'").path("id").stringValue();
        service.stop();
        Thread.sleep(1100);
        service.start();
        await(sleeps, "paused");
        await(ends, "gone");
    }

    @Test
    void times_that_are_none_are_refused() {
        for (String fields : List.of(
                "'ttl_secs':0", "'idle_secs':-1", "'ttl_secs':'x'", "'on_timeout':'sleep'", "'freeze_secs':86401")) {
            assertThat(service.api()
                            .post("/v1/sandboxes", "{'snapshot_tag':'py'," + fields + "}")
                            .status())
                    .as(fields)
                    .isEqualTo(422);
        }
        assertThat(service.api()
                        .post("/v1/sandboxes", "{'snapshot_tag':'py','on_timeout':'pause'}")
                        .status())
                .isEqualTo(400);
    }

    /** Each writes to its disk and its memory, so that a chain would grow. */
    @Test
    void twentieth_pause_costs_what_the_second_did() throws IOException {
        String id = service.sandbox();
        List<Long> bytes = new ArrayList<>();
        List<Integer> files = new ArrayList<>();
        for (int i = 0; i < 20; i++) {
            service.exec(id, "set", "count", Integer.toString(i));
            service.exec(id, "dirty", "1");
            ask(id, "pause");
            bytes.add(size(service.directory().resolve("forkd/paused")));
            long pid = ask(id, "resume").path("pid").longValue();
            files.add(descriptors(pid));
            assertThat(service.exec(id, "get", "count")).isEqualTo(Integer.toString(i));
        }
        assertThat(bytes.get(19)).isLessThan(bytes.get(1) + (1 << 20));
        assertThat(files.get(19)).isEqualTo(files.get(1));
        assertThat(size(service.directory().resolve("forkd/paused")))
                .as("what is left when it runs")
                .isZero();
    }

    private static long size(Path root) throws IOException {
        try (Stream<Path> all = Files.walk(root)) {
            long sum = 0;
            for (Path file : all.filter(Files::isRegularFile).toList()) {
                sum += (Long) Files.getAttribute(file, "unix:size") == 0 ? 0 : blocks(file);
            }
            return sum;
        }
    }

    private static long blocks(Path file) throws IOException {
        Process du = new ProcessBuilder("du", "-k", file.toString()).start();
        return Long.parseLong(du.inputReader().readLine().split("\t")[0]) << 10;
    }

    private static int descriptors(long pid) throws IOException {
        try (Stream<Path> open = Files.list(Path.of("/proc/" + pid + "/fd"))) {
            return (int) open.count();
        }
    }
}
