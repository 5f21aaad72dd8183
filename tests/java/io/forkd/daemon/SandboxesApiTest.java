package io.forkd.daemon;

import static org.assertj.core.api.Assertions.assertThat;

import io.forkd.Limit;
import io.forkd.Limits;
import io.forkd.daemon.Api.Answer;
import io.forkd.engine.Engine;
import io.forkd.engine.NetworkRequest;
import io.forkd.engine.SpawnRequest;
import io.forkd.engine.VolumeConflict;
import io.forkd.files.FileLock;
import io.forkd.sandbox.Sandbox;
import java.io.IOException;
import java.net.Socket;
import java.net.http.HttpRequest.BodyPublishers;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.function.Predicate;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import tools.jackson.databind.JsonNode;

/** {@code /v1/sandboxes}: each check in its order, each status, each field; and sandboxes that do not do as they should. */
class SandboxesApiTest {
    /** Guests that each take as many calls as there are threads for, divided by them. */
    private static final int SILENT = 4;

    private static final int CALLS = 64;

    @RegisterExtension
    static final Service service = new Service();

    private static Answer create(String body) {
        return service.api().post("/v1/sandboxes", body);
    }

    private static Answer at(String id, String verb, String body) {
        return service.api().post("/v1/sandboxes/" + id + "/" + verb, body);
    }

    @Test
    void sandbox_has_every_field() {
        Answer made = create("{'snapshot_tag':'py','prewarm':true,'live_fork':true,'hugepages':true,'n':null,"
                + "'memory_limit_mib':null,'per_child_netns':false}");
        assertThat(made.status()).as(made.text()).isEqualTo(201);
        assertThat(made.json()).hasSize(1);
        JsonNode sandbox = made.json().get(0);
        assertThat(sandbox.propertyNames())
                .containsExactlyInAnyOrder(
                        "id",
                        "snapshot_tag",
                        "guest_addr",
                        "netns",
                        "network",
                        "created_at_unix",
                        "pid",
                        "memory_limit_mib",
                        "usage",
                        "has_branched",
                        "last_branch_memory_path",
                        "branch_count",
                        "ttl_secs",
                        "idle_secs",
                        "on_timeout",
                        "freeze_secs",
                        "wake",
                        "ends_at_unix",
                        "name",
                        "labels",
                        "pool",
                        "state");
        assertThat(sandbox.path("id").stringValue()).matches("sb-[0-9a-f]{8}-[0-9a-f]{4,}");
        assertThat(sandbox.path("snapshot_tag").stringValue()).isEqualTo("py");
        assertThat(sandbox.path("guest_addr").stringValue()).isEqualTo("10.42.0.2:8888");
        assertThat(sandbox.path("netns").isNull()).isTrue();
        assertThat(sandbox.path("network").isNull()).isTrue();
        assertThat(sandbox.path("memory_limit_mib").isNull()).isTrue();
        assertThat(sandbox.path("usage").isNull()).isTrue();
        assertThat(ProcessHandle.of(sandbox.path("pid").longValue())).isPresent();
        assertThat(sandbox.path("has_branched").booleanValue()).isFalse();
        assertThat(sandbox.path("last_branch_memory_path").isNull()).isTrue();
        assertThat(sandbox.path("branch_count").intValue()).isZero();
        String id = sandbox.path("id").stringValue();
        assertThat(service.api().get("/v1/sandboxes/" + id).json()).isEqualTo(sandbox);
        assertThat(service.api().get("/v1/sandboxes").json().get(0)).isEqualTo(sandbox);
    }

    @Test
    void many_are_listed_by_id() {
        assertThat(create("{'snapshot_tag':'py','n':5}").json()).hasSize(5);
        create("{'snapshot_tag':'py','n':3}");
        assertThat(service.ids()).hasSize(8).isSortedAccordingTo(Comparator.naturalOrder());
        assertThat(service.api().get("/metrics").text()).contains("\nforkd_sandboxes_active 8\n");
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "{'n':0}                                         | 422 | snapshot_tag",
                "{'snapshot_tag':'a b','n':0}                    | 400 | n must be",
                "{'snapshot_tag':'a b','n':1001}                 | 400 | n must be",
                "{'snapshot_tag':'a b','n':-1}                   | 422 | n must be",
                "{'snapshot_tag':'a b','n':1.5}                  | 422 | n must be",
                "{'snapshot_tag':'a b'}                          | 400 | tag",
                "{'snapshot_tag':'../py'}                        | 400 | tag",
                "{'snapshot_tag':'nope'}                         | 404 | snapshot nope not found",
                "{'snapshot_tag':'py','memory_limit_mib':0}      | 400 | memory_limit_mib",
                "{'snapshot_tag':'py','memory_limit_mib':'1'}    | 422 | memory_limit_mib",
                "{'snapshot_tag':'py','disk_limit_mib':-1}       | 422 | disk_limit_mib",
                "{'snapshot_tag':'py','cpus':'2'}                | 422 | cpus",
                "{'snapshot_tag':'py','cpus':0.0001}             | 422 | cpus",
                "{'snapshot_tag':'py','cpus':1e999}              | 422 | cpus",
                "{'snapshot_tag':'py','cpus':1000.001}           | 400 | cpus must be from 0 to 1000",
                "{'snapshot_tag':'py','pids_limit':1.0}          | 422 | pids_limit",
                "{'snapshot_tag':'py','pids_limit':3}            | 409 | pids_limit 3 is too few",
                "{'snapshot_tag':'py','io_iops':4294967296}      | 400 | io_iops",
                "{'snapshot_tag':'py','console_limit_kib':3}     | 400 | console_limit_kib",
                "{'snapshot_tag':'py','vsock_connections':1024}  | 400 | vsock_connections",
                "{'snapshot_tag':'py','disk_bps':'fast'}         | 422 | disk_bps",
                "{'snapshot_tag':'py','prewarm':'yes'}           | 422 | prewarm",
                "{'snapshot_tag':'py','network':'10.0.0.0/33'}   | 400 | 10.0.0.0/33",
                "{'snapshot_tag':'py','network':7}               | 400 | network policy",
                "{'snapshot_tag':'py','network':{'alow':[]}}     | 400 | network policy",
                "{'snapshot_tag':'py','network':{'deny':['a.b']}} | 400 | by name",
                "{'snapshot_tag':7}                              | 422 | snapshot_tag",
                "7                                               | 422 | object",
                "nonsense                                        | 400 | JSON",
            })
    void wrong_request_makes_none(String body, int status, String error) {
        Answer refused = create(body);
        assertThat(refused.status()).as(refused.text()).isEqualTo(status);
        assertThat(refused.error()).contains(error);
        assertThat(service.ids()).isEmpty();
    }

    @Test
    void limits_are_the_sandboxs() {
        Answer made =
                create("{'snapshot_tag':'py','disk_limit_mib':100,'disk_bps':0,'disk_iops':1000,'net_bps':1000000,"
                        + "'vsock_connections':20,'vsock_buffer_mib':1,'console_limit_kib':64}");
        assertThat(made.status()).as(made.text()).isEqualTo(201);
        String id = made.json().get(0).path("id").stringValue();
        assertThat(at(id, "ping", "").status()).isEqualTo(200);
        assertThat(service.beside().sandboxes().find(id).limits().values())
                .containsEntry(Limit.DISK, 100L)
                .containsEntry(Limit.DISK_BYTES, 0L)
                .hasSize(7);
    }

    @Test
    void networks_that_cannot_be_made_make_none() {
        Answer refused = create("{'snapshot_tag':'py','n':2,'per_child_netns':true}");
        assertThat(refused.status()).as(refused.text()).isEqualTo(500);
        assertThat(refused.error()).contains("FORKD_NET_RANGE");
        assertThat(service.ids()).isEmpty();
    }

    @Test
    void network_of_the_host_has_no_policy() {
        String id = create("{'snapshot_tag':'py'}").json().get(0).path("id").stringValue();
        Answer refused = service.api().put("/v1/sandboxes/" + id + "/network", "{'network':'none'}");
        assertThat(refused.status()).as(refused.text()).isEqualTo(409);
        assertThat(refused.error()).contains(id);
        assertThat(service.api().put("/v1/sandboxes/" + id + "/network", "{}").status())
                .isEqualTo(422);
        assertThat(service.api()
                        .put("/v1/sandboxes/" + id + "/network", "{'network':'x y'}")
                        .status())
                .isEqualTo(400);
        assertThat(service.api()
                        .put("/v1/sandboxes/sb-0/network", "{'network':'none'}")
                        .status())
                .isEqualTo(404);
    }

    @Test
    void what_is_forked_of_a_sandbox_has_its_network() {
        Answer refused = at(service.sandbox(), "fork", "{'network':{'policy':'none'}}");
        assertThat(refused.status()).isEqualTo(400);
        assertThat(refused.text()).contains("has its network");
    }

    @Test
    void live_fork_is_not_for_one_with_a_parent() {
        assertThat(at(service.sandbox(), "branch", "{'tag':'layer','mode':'diff'}")
                        .status())
                .isEqualTo(201);
        assertThat(create("{'snapshot_tag':'layer','live_fork':true}").status()).isEqualTo(400);
        assertThat(create("{'snapshot_tag':'layer'}").status()).isEqualTo(201);
        service.killAll();
        service.api().delete("/v1/snapshots/layer");
    }

    @Test
    void sandbox_that_is_ended_is_gone() {
        String id = service.sandbox();
        assertThat(service.api().delete("/v1/sandboxes/" + id).status()).isEqualTo(204);
        for (String gone : List.of(id, "sb-00000000-00000000", "nonsense", "..%2F..", "sb-%F0%9F%98%80")) {
            assertThat(service.api().get("/v1/sandboxes/" + gone).status())
                    .as(gone)
                    .isEqualTo(404);
            assertThat(service.api().delete("/v1/sandboxes/" + gone).status()).isEqualTo(404);
            assertThat(service.api().post("/v1/sandboxes/" + gone + "/ping").status())
                    .isEqualTo(404);
            assertThat(at(gone, "exec", "{'args':['echo']}").status()).isEqualTo(404);
            assertThat(at(gone, "exec", "{'args':[]}").status()).isEqualTo(404);
            assertThat(at(gone, "eval", "{'code':'1'}").status()).isEqualTo(404);
            assertThat(at(gone, "exec", "{}").status()).isEqualTo(422);
            assertThat(at(gone, "eval", "{}").status()).isEqualTo(422);
        }
        assertThat(service.api().get("/v1/sandboxes/" + id).error()).isEqualTo("sandbox " + id + " not found");
    }

    @Test
    void guests_are_asked() {
        String id = service.sandbox();
        Answer ping = service.api().post("/v1/sandboxes/" + id + "/ping");
        assertThat(ping.status()).isEqualTo(200);
        assertThat(ping.json().path("pong").booleanValue()).isTrue();
        assertThat(at(id, "ping", "this is no JSON").status()).isEqualTo(200);
        assertThat(at(id, "exec", "{'args':['echo','a','b']}").json().toString())
                .isEqualTo("{\"stdout\":\"a b\\n\",\"stderr\":\"\",\"exit_code\":0}");
        assertThat(at(id, "exec", "{'args':['sh','-c','echo no >&2; exit 7']}")
                        .json()
                        .toString())
                .isEqualTo("{\"stdout\":\"\",\"stderr\":\"no\\n\",\"exit_code\":7}");
        assertThat(at(id, "exec", "{'args':[]}").status()).isEqualTo(400);
        assertThat(at(id, "exec", "{'args':'echo'}").status()).isEqualTo(422);
        assertThat(at(id, "exec", "{'args':[1]}").status()).isEqualTo(422);
        assertThat(at(id, "exec", "{'args':['echo'],'timeout_secs':1000000}").status())
                .isEqualTo(400);
        assertThat(at(id, "exec", "{'args':['echo'],'timeout_secs':-1}").status())
                .isEqualTo(422);
        assertThat(at(id, "eval", "{'code':'6 * 7'}").json().toString())
                .isEqualTo("{\"result\":\"42\",\"error\":null,\"exit_code\":0}");
        Answer raised = at(id, "eval", "{'code':'raise KeyError()'}");
        assertThat(raised.status()).isEqualTo(200);
        assertThat(raised.json().path("result").isNull()).isTrue();
        assertThat(raised.text("error")).contains("KeyError");
    }

    @Test
    void command_that_takes_too_long_or_cannot_be_run_says_so() {
        String id = service.sandbox();
        Answer late = at(id, "exec", "{'args':['slow','100'],'timeout_secs':1}");
        assertThat(late.status()).isEqualTo(200);
        assertThat(late.text("stdout")).startsWith("...");
        assertThat(late.text("stderr")).contains("longer than 1 s");
        assertThat(late.json().path("exit_code").intValue()).isNotZero();
        Answer none = at(id, "exec", "{'args':['nope']}");
        assertThat(none.status()).isEqualTo(200);
        assertThat(none.text("stderr")).isNotEmpty();
        assertThat(none.json().path("exit_code").intValue()).isEqualTo(127);
    }

    @Test
    void output_that_is_too_long_is_cut_and_that_is_said() {
        String id = service.sandbox();
        Answer whole = at(id, "exec", "{'args':['write','8000000']}");
        assertThat(whole.text("stdout")).hasSize(8_000_000);
        assertThat(whole.text("stderr")).isEmpty();
        Answer cut = at(id, "exec", "{'args':['write','20000000']}");
        assertThat(cut.status()).isEqualTo(200);
        assertThat(cut.text("stderr")).contains("left out");
    }

    @Test
    void metrics_count_what_lives_whatever_state_it_is_in() throws IOException, InterruptedException {
        service.sandbox();
        String stopped = service.sandbox();
        long pid =
                service.api().get("/v1/sandboxes/" + stopped).json().path("pid").longValue();
        Service.signal("STOP", pid);
        try {
            assertThat(service.api().get("/metrics").text())
                    .contains("\nforkd_sandboxes_active " + service.ids().size() + "\n");
        } finally {
            Service.signal("CONT", pid);
        }
    }

    @Test
    void output_that_its_client_does_not_read_counts_with_that_of_the_others() throws IOException {
        String id = service.sandbox();
        String body = "{\"args\":[\"write\",\"8000000\"]}";
        List<Socket> deaf = new ArrayList<>();
        try {
            for (int i = 0; i < 5; i++) {
                Socket socket = new Socket();
                socket.setReceiveBufferSize(4096);
                socket.connect(service.address());
                socket.getOutputStream()
                        .write(("POST /v1/sandboxes/" + id + "/exec HTTP/1.1\r\nHost: localhost\r\n"
                                        + "Content-Type: application/json\r\nContent-Length: " + body.length()
                                        + "\r\n\r\n" + body)
                                .getBytes(StandardCharsets.US_ASCII));
                deaf.add(socket);
            }
            awaitErrors(id, errors -> errors.contains("left out"));
        } finally {
            for (Socket socket : deaf) {
                socket.close();
            }
        }
        awaitErrors(id, String::isEmpty);
    }

    private static void awaitErrors(String id, Predicate<String> wanted) {
        long end = System.nanoTime() + Duration.ofSeconds(50).toNanos();
        String errors;
        do {
            errors = at(id, "exec", "{'args':['write','8000000']}").text("stderr");
        } while (!wanted.test(errors) && System.nanoTime() < end);
        assertThat(errors).matches(wanted);
    }

    @Test
    void output_of_any_bytes_is_sent_as_text() {
        String id = service.sandbox();
        Answer answer = at(id, "exec", "{'args':['sh','-c','echo a\\\\u0001\\\"ü; stderr e']}");
        assertThat(answer.status()).as(answer.text()).isEqualTo(200);
        assertThat(answer.text("stdout")).contains("ü");
    }

    @Test
    void silent_guests_leave_the_others_served() throws InterruptedException {
        List<String> silent = Stream.generate(service::sandbox).limit(SILENT).toList();
        String other = service.sandbox();
        ExecutorService clients = Executors.newFixedThreadPool(SILENT * CALLS);
        try {
            List<Future<Answer>> calls = new ArrayList<>();
            for (String id : silent) {
                for (int i = 0; i < CALLS; i++) {
                    calls.add(clients.submit(() -> at(id, "exec", "{'args':['silent'],'timeout_secs':60}")));
                }
            }
            while (waiting() + calls.stream().filter(Future::isDone).count() < calls.size()) {
                Thread.sleep(10);
            }
            assertThat(service.exec(other, "echo", "well")).isEqualTo("well");
            assertThat(service.api()
                            .delete("/v1/sandboxes/" + service.sandbox())
                            .status())
                    .isEqualTo(204);
            assertThat(service.ids()).hasSize(SILENT + 1);
            assertThat(calls.stream().filter(call -> !call.isDone()).count())
                    .as("calls that hold a thread, or did until those others were answered")
                    .isBetween(100L, 192L);
            for (String id : silent) {
                assertThat(service.api().delete("/v1/sandboxes/" + id).status()).isEqualTo(204);
            }
            assertThat(statuses(calls)).containsOnly(500, 503);
        } finally {
            clients.shutdownNow();
        }
    }

    private static List<Integer> statuses(List<Future<Answer>> calls) {
        return calls.stream()
                .map(call -> {
                    try {
                        return call.get().status();
                    } catch (InterruptedException | ExecutionException e) {
                        throw new AssertionError(e);
                    }
                })
                .toList();
    }

    /** How many threads of the daemon wait for a guest. */
    private static long waiting() {
        return Thread.getAllStackTraces().entrySet().stream()
                .filter(each -> each.getKey().getName().startsWith("forkd-call")
                        && Stream.of(each.getValue())
                                .anyMatch(frame -> frame.getClassName().endsWith(".AgentConnection")))
                .count();
    }

    @ParameterizedTest
    @ValueSource(strings = {"endless", "base64", "empty", "code", "text", "nested", "half", "close"})
    void guest_that_answers_nonsense_is_an_error_of_its_own(String kind) {
        String good = service.sandbox();
        String bad = service.sandbox();
        Answer answer = at(bad, "exec", "{'args':['hostile','" + kind + "']}");
        assertThat(answer.status()).as(answer.text()).isEqualTo(500);
        assertThat(service.exec(good, "echo", "well")).isEqualTo("well");
        assertThat(service.api().delete("/v1/sandboxes/" + bad).status()).isEqualTo(204);
    }

    @Test
    void guest_that_dies_meanwhile_is_an_error_and_then_gone() {
        for (String death : List.of("halt", "crash")) {
            String id = service.sandbox();
            assertThat(at(id, "exec", "{'args':['" + death + "']}").status()).isEqualTo(500);
            assertThat(at(id, "exec", "{'args':['echo']}").status()).isIn(404, 500);
            while (service.ids().contains(id)) {
                Thread.onSpinWait();
            }
            assertThat(service.api().get("/v1/sandboxes/" + id).status()).isEqualTo(404);
        }
    }

    @Test
    void sandbox_that_is_ended_meanwhile_is_an_error() throws InterruptedException {
        String id = service.sandbox();
        List<Integer> statuses = Together.of(2, n -> {
            if (n == 0) {
                return at(id, "exec", "{'args':['sleep','30']}").status();
            }
            return service.api().delete("/v1/sandboxes/" + id).status();
        });
        assertThat(statuses.get(0)).isIn(404, 500);
        assertThat(statuses.get(1)).isEqualTo(204);
    }

    @Test
    void sandbox_that_is_stopped_is_told_of_and_can_be_ended() throws IOException, InterruptedException {
        String stopped = service.sandbox();
        String other = service.sandbox();
        long pid =
                service.api().get("/v1/sandboxes/" + stopped).json().path("pid").longValue();
        Service.signal("STOP", pid);
        Answer told = service.api().get("/v1/sandboxes/" + stopped);
        assertThat(told.text("state")).isEqualTo("stopped");
        assertThat(service.api().get("/v1/sandboxes/" + stopped + "?ask=true").text("state"))
                .isEqualTo("stopped");
        for (Answer answer : List.of(
                service.api().post("/v1/sandboxes/" + stopped + "/ping"),
                at(stopped, "exec", "{'args':['echo']}"),
                at(stopped, "eval", "{'code':'1'}"),
                at(stopped, "branch", "{}"))) {
            assertThat(answer.status()).isEqualTo(500);
            assertThat(answer.error()).contains(stopped);
        }
        assertThat(service.exec(other, "echo", "well")).isEqualTo("well");
        assertThat(service.ids()).contains(stopped, other);
        Service.signal("CONT", pid);
        assertThat(service.exec(stopped, "echo", "again")).isEqualTo("again");
        Service.signal("STOP", pid);
        assertThat(service.api().delete("/v1/sandboxes/" + stopped).status()).isEqualTo(204);
        assertThat(service.ids()).containsExactly(other);
    }

    @Test
    void volumes_of_one_whose_branch_was_killed_are_mounted_again() throws IOException {
        String id = service.sandbox();
        Path directory = service.directory().resolve("forkd/sandboxes").resolve(id);
        Path away = Files.createFile(directory.resolve("volumes.away"));
        try (FileLock branch = FileLock.exclusive(directory.resolve(".volumes"))) {
            for (String target : List.of("/v1/sandboxes", "/v1/sandboxes?ask=true")) {
                assertThat(service.api().get(target).json().get(0).path("state").stringValue())
                        .isEqualTo("unmounted");
            }
        }
        assertThat(away).exists();
        assertThat(service.api()
                        .get("/v1/sandboxes?ask=true")
                        .json()
                        .get(0)
                        .path("state")
                        .stringValue())
                .isEqualTo("running");
        assertThat(away).doesNotExist();
        Files.createFile(away);
        assertThat(service.exec(id, "echo", "well")).isEqualTo("well");
        assertThat(away).doesNotExist();
        Files.createFile(away);
        assertThat(service.api().get("/v1/sandboxes/" + id + "?ask=true").text("state"))
                .isEqualTo("running");
        assertThat(away).doesNotExist();
        assertThat(service.api().get("/v1/sandboxes?ask=maybe").status()).isEqualTo(400);
        assertThat(service.api().get("/v1/sandboxes/" + id + "?ask=maybe").status())
                .isEqualTo(400);
        assertThat(service.api().get("/v1/sandboxes/sb-0?ask=true").status()).isEqualTo(404);
    }

    @Test
    void sandbox_that_is_killed_from_outside_is_gone() throws IOException, InterruptedException {
        String id = service.sandbox();
        long pid = service.api().get("/v1/sandboxes/" + id).json().path("pid").longValue();
        Service.signal("KILL", pid);
        while (service.ids().contains(id)) {
            Thread.onSpinWait();
        }
        assertThat(service.api().delete("/v1/sandboxes/" + id).status()).isEqualTo(404);
    }

    @Test
    void damaged_sandbox_is_told_of_and_can_be_ended() throws IOException {
        String id = service.sandbox();
        service.stop();
        Path file = Sandbox.file(service.directory().resolve("forkd/sandboxes").resolve(id));
        Files.writeString(file, "{");
        service.start();
        Answer told = service.api().get("/v1/sandboxes/" + id);
        assertThat(told.text("state")).isEqualTo("damaged");
        assertThat(told.json().path("pid").isNull()).isTrue();
        assertThat(at(id, "exec", "{'args':['echo']}").status()).isEqualTo(500);
        assertThat(at(id, "branch", "{}").status()).isEqualTo(500);
        assertThat(service.api().delete("/v1/sandboxes/" + id).status()).isEqualTo(204);
        assertThat(service.ids()).isEmpty();
    }

    @Test
    void what_is_made_beside_it_is_seen_and_what_it_makes_is_seen_there() {
        Engine beside = service.beside();
        String theirs = beside.spawn(
                        new SpawnRequest(
                                service.tag("py"), 1, NetworkRequest.OF_HOST, Limits.NONE, VolumeConflict.FAIL),
                        Service.call())
                .get(0)
                .id();
        assertThat(service.exec(theirs, "echo", "hello")).isEqualTo("hello");
        String ours = service.sandbox();
        assertThat(service.ids()).containsExactlyInAnyOrder(theirs, ours);
        assertThat(beside.sandboxes().list()).hasSize(2);
        beside.sandboxes().kill(List.of(beside.sandboxes().findAny(ours)), Service.call());
        assertThat(service.api().get("/v1/sandboxes/" + ours).status()).isEqualTo(404);
        assertThat(service.api().delete("/v1/sandboxes/" + theirs).status()).isEqualTo(204);
        assertThat(beside.sandboxes().list()).isEmpty();
    }

    @Test
    void restart_loses_none_and_each_can_be_used() {
        String id = service.sandbox();
        service.exec(id, "set", "colour", "red");
        service.branch(id, "before");
        service.restart();
        assertThat(service.ids()).containsExactly(id);
        assertThat(service.exec(id, "get", "colour")).isEqualTo("red");
        service.branch(id, "after");
        assertThat(service.api()
                        .get("/v1/sandboxes/" + id)
                        .json()
                        .path("branch_count")
                        .intValue())
                .isEqualTo(2);
        assertThat(service.api().delete("/v1/sandboxes/" + id).status()).isEqualTo(204);
        assertThat(service.ids()).isEmpty();
        service.api().delete("/v1/snapshots/before");
        service.api().delete("/v1/snapshots/after");
    }

    @Test
    void head_of_events_keeps_no_place_of_a_listener() {
        for (int i = 0; i < 40; i++) {
            assertThat(service.api()
                            .ask("HEAD", "/v1/events", BodyPublishers.noBody())
                            .status())
                    .isEqualTo(200);
        }
    }

    @Test
    void many_at_once_do_not_mind_each_other() throws InterruptedException, IOException {
        List<List<String>> made = Together.of(8, n -> {
            List<String> ids = new ArrayList<>();
            for (int i = 0; i < 5; i++) {
                String id = service.sandbox();
                assertThat(service.exec(id, "echo", id)).isEqualTo(id);
                if (i % 2 == 0) {
                    assertThat(service.api().delete("/v1/sandboxes/" + id).status())
                            .isEqualTo(204);
                } else {
                    ids.add(id);
                }
            }
            return ids;
        });
        assertThat(service.ids())
                .containsExactlyElementsOf(
                        made.stream().flatMap(List::stream).sorted().toList());
        service.killAll();
        // The daemon removes what it hears the end of at the same time as who ended it.
        long end = System.nanoTime() + Duration.ofSeconds(20).toNanos();
        while (!folders().isEmpty() && System.nanoTime() < end) {
            Thread.sleep(10);
        }
        assertThat(folders()).isEmpty();
    }

    private static List<String> folders() throws IOException {
        try (Stream<Path> all = Files.list(service.directory().resolve("forkd/sandboxes"))) {
            return all.map(each -> each.getFileName().toString())
                    .filter(name -> name.startsWith("sb-"))
                    .toList();
        }
    }

    /** As a process can that a guest has taken over: what it has would become another's while it lives. */
    @Test
    void sandbox_that_gives_up_its_socket_is_ended_and_not_forgotten() throws IOException {
        String id = service.sandbox();
        Sandbox hidden = service.beside().sandboxes().find(id);
        Files.delete(hidden.control());
        service.beside().sandboxes().ask();
        assertThat(ProcessHandle.of(hidden.pid()).filter(ProcessHandle::isAlive))
                .isEmpty();
        assertThat(hidden.directory()).doesNotExist();
    }
}
