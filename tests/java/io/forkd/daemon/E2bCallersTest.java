package io.forkd.daemon;

import static org.assertj.core.api.Assertions.assertThat;

import io.forkd.files.Trees;
import io.forkd.http.Caller.Quotas;
import io.forkd.http.Caller.Role;
import io.forkd.http.TokenFile;
import java.io.IOException;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.function.Supplier;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.extension.RegisterExtension;
import tools.jackson.databind.JsonNode;

/** Who may do what by E2B's interface; what it does, its own clients are asked (tests/clients/e2b). */
@Timeout(value = 3, unit = TimeUnit.MINUTES)
class E2bCallersTest {
    @RegisterExtension
    static final Service service = new Service();

    private Path file;
    private Daemon guarded;

    @BeforeEach
    void start() {
        file = service.directory().resolve("e2b-callers");
        service.keepStateIn(service.directory().resolve("e2b-callers.json"));
        TokenFile.add(file, "nobody", Role.READ, Quotas.NONE);
        guarded = Daemon.start(service.beside(), service.options(Optional.of(file)));
    }

    @AfterEach
    void stop() throws IOException {
        guarded.close();
        Files.delete(file);
    }

    private E2bClient caller(String name, Role role) {
        String secret = TokenFile.add(file, name, role, Quotas.NONE);
        assertThat(guarded.reload()).isEmpty();
        return api(secret);
    }

    private E2bClient api(String key) {
        return client("X-API-KEY", key);
    }

    private E2bClient client(String... headers) {
        return new E2bClient(guarded.address().orElseThrow().getPort(), List.of(headers));
    }

    private static JsonNode create(E2bClient api) {
        E2bClient.Answer made = api.post("/v2/sandboxes", "{'templateID':'py','timeout':100}");
        assertThat(made.status()).as(made.text()).isEqualTo(201);
        return made.json();
    }

    @Test
    void key_is_asked_for() {
        for (String key : List.of("", "wrong")) {
            E2bClient.Answer refused = api(key).get("/v2/sandboxes");
            assertThat(refused.status()).isEqualTo(401);
            assertThat(refused.json().path("code").intValue()).isEqualTo(401);
            assertThat(refused.json().path("message").stringValue()).contains("X-API-KEY");
        }
    }

    @Test
    void nothing_is_kept_of_what_has_ended() throws IOException, InterruptedException {
        E2bClient alice = caller("alice", Role.USER);
        List<String> paths = new ArrayList<>();
        for (int i = 0; i < 3; i++) {
            paths.add("/sandboxes/" + create(alice).path("sandboxID").stringValue());
        }
        Path kept = service.beside().dataDirectory().resolve("e2b");
        assertThat(Trees.list(kept)).hasSize(3);
        assertThat(alice.delete(paths.get(0)).status()).isEqualTo(204);
        assertThat(alice.post(paths.get(1) + "/timeout", "{'timeout':1}").status())
                .isEqualTo(204);
        // By another daemon.
        String last = service.ids().stream()
                .filter(id -> paths.get(2).endsWith("/" + id.replace("-", "")))
                .findFirst()
                .orElseThrow();
        service.api().delete("/v1/sandboxes/" + last);
        while (!Trees.list(kept).isEmpty()) { // as long as the test may take
            TimeUnit.MILLISECONDS.sleep(20);
        }
    }

    @Test
    void token_in_the_form_of_a_key_is_the_token() {
        String secret = TokenFile.add(file, "keyed", Role.USER, Quotas.NONE);
        guarded.reload();
        for (String key : List.of(secret, "e2b_" + secret)) {
            assertThat(api(key).get("/v2/sandboxes").status()).isEqualTo(200);
        }
        for (String key : List.of("e2b_", "e2b_e2b_" + secret, "e2b_" + secret + "0")) {
            assertThat(api(key).get("/v2/sandboxes").status()).isEqualTo(401);
        }
    }

    @Test
    void sandbox_of_another_user_is_not_there() {
        E2bClient alice = caller("alice", Role.USER);
        E2bClient bob = caller("bob", Role.USER);
        String id = create(alice).path("sandboxID").stringValue();
        String path = "/sandboxes/" + id;
        assertThat(bob.get("/v2/sandboxes").json()).isEmpty();
        assertThat(bob.get(path).status()).isEqualTo(404);
        assertThat(bob.get(path + "/metrics").status()).isEqualTo(404);
        assertThat(bob.delete(path).status()).isEqualTo(404);
        for (String verb : List.of("connect", "timeout", "pause", "fork", "resume")) {
            assertThat(bob.post(path + "/" + verb, "{'timeout':1,'count':1}").status())
                    .as(verb)
                    .isEqualTo(404);
        }
        assertThat(bob.ask("PUT", path + "/network", "{}").status()).isEqualTo(404);
        assertThat(alice.get("/v2/sandboxes").json()).hasSize(1);
        assertThat(alice.delete(path).status()).isEqualTo(204);
    }

    @Test
    void reader_sees_all_and_gets_no_token_of_any() {
        E2bClient admin = caller("root", Role.ADMIN);
        E2bClient reader = caller("looker", Role.READ);
        String id = create(admin).path("sandboxID").stringValue();
        JsonNode seen = reader.get("/sandboxes/" + id).json();
        assertThat(seen.path("sandboxID").stringValue()).isEqualTo(id);
        assertThat(seen.has("envdAccessToken")).isFalse();
        assertThat(admin.get("/sandboxes/" + id).json().has("envdAccessToken")).isTrue();
        assertThat(reader.post("/v2/sandboxes", "{'templateID':'py'}").status()).isEqualTo(403);
        assertThat(reader.delete("/sandboxes/" + id).status()).isEqualTo(403);
        assertThat(admin.delete("/sandboxes/" + id).status()).isEqualTo(204);
    }

    @Test
    void sandbox_is_asked_by_who_has_its_token_alone() {
        E2bClient admin = caller("root2", Role.ADMIN);
        JsonNode one = create(admin);
        JsonNode other = create(admin);
        for (String token : List.of("wrong", other.path("envdAccessToken").stringValue())) {
            assertThat(inside(one, token).status()).as(token).isEqualTo(401);
        }
        assertThat(inside(one, one.path("envdAccessToken").stringValue()).status())
                .isEqualTo(200);
        for (JsonNode each : List.of(one, other)) {
            assertThat(admin.delete("/sandboxes/" + each.path("sandboxID").stringValue())
                            .status())
                    .isEqualTo(204);
        }
    }

    @Test
    void user_has_half_of_the_calls_that_sandboxes_are_asked_by_with_bodies() throws Exception {
        JsonNode hers = create(caller("alice", Role.USER));
        JsonNode his = create(caller("bob", Role.USER));
        List<Socket> slow = new ArrayList<>();
        try {
            for (int i = 0; i < 256; i++) {
                slow.add(new Socket("127.0.0.1", guarded.address().orElseThrow().getPort()));
                String head = "POST /process.Process/List HTTP/1.1\r\nHost: localhost\r\nE2b-Sandbox-Port: 49983\r\n"
                        + "E2b-Sandbox-Id: " + hers.path("sandboxID").stringValue() + "\r\nX-Access-Token: "
                        + hers.path("envdAccessToken").stringValue()
                        + "\r\nContent-Type: application/json\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n";
                slow.get(i).getOutputStream().write(head.getBytes(StandardCharsets.US_ASCII));
            }
            List<String> begun = new ArrayList<>();
            for (Socket each : slow) {
                begun.add(new String(
                        each.getInputStream().readNBytes("HTTP/1.1 100".length()), StandardCharsets.US_ASCII));
            }
            assertThat(begun).filteredOn("HTTP/1.1 100"::equals).hasSize(128);
            assertThat(begun).filteredOn("HTTP/1.1 503"::equals).hasSize(128);
            E2bClient.Answer asked = inside(his, his.path("envdAccessToken").stringValue());
            assertThat(asked.status()).as(asked.text()).isEqualTo(200);
        } finally {
            for (Socket each : slow) {
                each.close();
            }
        }
    }

    @Test
    void what_is_known_of_a_sandbox_is_changed_by_many_at_once() throws Exception {
        E2bClient alice = caller("alice", Role.USER);
        String path = "/sandboxes/" + create(alice).path("sandboxID").stringValue();
        List<Thread> threads = new ArrayList<>();
        Queue<Integer> statuses = new ConcurrentLinkedQueue<>();
        for (int i = 0; i < 8; i++) {
            threads.add(new Thread(() -> {
                for (int j = 0; j < 50; j++) {
                    statuses.add(alice.ask("PUT", path + "/network", "{'allow_internet_access':false}")
                            .status());
                }
            }));
        }
        threads.forEach(Thread::start);
        for (Thread each : threads) {
            each.join();
        }
        assertThat(statuses).hasSize(400).containsOnly(204);
        assertThat(alice.get(path).json().path("allowInternetAccess").booleanValue())
                .isFalse();
        assertThat(alice.delete(path).status()).isEqualTo(204);
    }

    @Test
    void what_is_asked_of_a_sandbox_while_it_is_paused_is_no_fault_of_the_daemon() throws Exception {
        E2bClient alice = caller("alice", Role.USER);
        Queue<E2bClient.Answer> answers = new ConcurrentLinkedQueue<>();
        for (int i = 0; i < 5; i++) {
            JsonNode sandbox = create(alice);
            String path = "/sandboxes/" + sandbox.path("sandboxID").stringValue();
            String token = sandbox.path("envdAccessToken").stringValue();
            AtomicBoolean over = new AtomicBoolean();
            List<Supplier<E2bClient.Answer>> asked = List.of(
                    () -> alice.post(path + "/pause", ""),
                    () -> alice.post(path + "/fork", "{}"),
                    () -> alice.post(path + "/snapshots", "{'name':'raced'}"),
                    () -> inside(sandbox, token),
                    () -> alice.get(path + "/metrics"));
            List<Thread> threads = new ArrayList<>();
            for (Supplier<E2bClient.Answer> each : asked) {
                threads.add(new Thread(() -> {
                    do {
                        answers.add(each.get());
                    } while (!over.get());
                }));
            }
            threads.forEach(Thread::start);
            while (!alice.get(path).json().path("state").stringValue().equals("paused")) {
                TimeUnit.MILLISECONDS.sleep(5); // as long as the test may take
            }
            over.set(true);
            for (Thread each : threads) {
                each.join();
            }
        }
        assertThat(answers)
                .isNotEmpty()
                .allSatisfy(
                        answer -> assertThat(answer.status()).as(answer.text()).isNotEqualTo(500));
    }

    @Test
    void sandbox_that_is_paused_and_resumed_is_there_all_the_while() throws Exception {
        E2bClient alice = caller("alice", Role.USER);
        String path = "/sandboxes/" + create(alice).path("sandboxID").stringValue();
        AtomicBoolean over = new AtomicBoolean();
        Queue<Integer> statuses = new ConcurrentLinkedQueue<>();
        List<Thread> threads = new ArrayList<>();
        for (int i = 0; i < 4; i++) {
            threads.add(new Thread(() -> {
                while (!over.get()) {
                    statuses.add(alice.get(path).status());
                }
            }));
        }
        threads.forEach(Thread::start);
        for (int i = 0; i < 20; i++) {
            assertThat(alice.post(path + "/pause", "").status()).isEqualTo(204);
            assertThat(alice.post(path + "/connect", "{}").status()).isEqualTo(201);
        }
        over.set(true);
        for (Thread each : threads) {
            each.join();
        }
        assertThat(statuses).isNotEmpty().containsOnly(200);
        assertThat(alice.delete(path).status()).isEqualTo(204);
    }

    @Test
    void variables_may_be_given_to_what_another_interface_made() {
        E2bClient admin = caller("root", Role.ADMIN);
        String path = "/sandboxes/" + service.sandbox().replace("-", "");
        String given = "{'envVars':{'WHO':'me'}}";
        assertThat(admin.post(path + "/connect", "{'envVars':['WHO']}").status())
                .isEqualTo(400);
        assertThat(admin.post(path + "/connect", "{'envVars':{'A':'" + "x".repeat(66_000) + "'}}")
                        .status())
                .isEqualTo(400);
        E2bClient.Answer made = admin.post(path + "/connect", given);
        assertThat(made.status()).as(made.text()).isEqualTo(200);
    }

    @Test
    void network_of_this_host_is_not_said_to_be_closed() throws IOException, InterruptedException {
        run("ip", "tuntap", "add", "dev", "forkd-e2b-tap", "mode", "tap");
        try {
            String folder = service.directory().toString();
            assertThat(service.api()
                            .post(
                                    "/v1/snapshots",
                                    "{'tag':'tapped','kernel':'" + folder + "/agent.elf','rootfs':'" + folder
                                            + "/disk.ext4','mem_size_mib':64,'tap':'forkd-e2b-tap'}")
                            .status())
                    .isEqualTo(201);
            E2bClient admin = caller("root", Role.ADMIN);
            String path = "/sandboxes/" + service.sandbox("tapped").replace("-", "");
            assertThat(admin.post(path + "/connect", "{}").status()).isEqualTo(200);
            E2bClient.Answer refused = admin.ask("PUT", path + "/network", "{'allow_internet_access':false}");
            assertThat(refused.status()).as(refused.text()).isEqualTo(409);
            assertThat(refused.text()).contains("shares a network of this host");
        } finally {
            run("ip", "link", "del", "forkd-e2b-tap");
        }
    }

    private static void run(String... command) throws IOException, InterruptedException {
        assertThat(new ProcessBuilder(command).inheritIO().start().waitFor()).isZero();
    }

    @Test
    void what_is_not_offered_is_refused_and_makes_no_sandbox() {
        E2bClient alice = caller("alice", Role.USER);
        for (String more : List.of(
                "'network':{'allowPublicTraffic':'no'}",
                "'autoPause':true,'autoPauseMemory':false",
                "'metadata':{'a':'" + "x".repeat(33_000) + "'}",
                "'network':{'denyOut':['10.0.0.0/8'" + ",'10.0.0.0/8'".repeat(3000) + "]}",
                "'envVars':{'A':'" + "x".repeat(66_000) + "'}")) {
            E2bClient.Answer refused = alice.post("/v2/sandboxes", "{'templateID':'py'," + more + "}");
            assertThat(refused.status()).as(refused.text()).isEqualTo(400);
        }
        assertThat(service.ids()).isEmpty();
        String path = "/sandboxes/" + create(alice).path("sandboxID").stringValue();
        assertThat(alice.post(path + "/pause", "{'memory':false}").status()).isEqualTo(400);
        assertThat(alice.get(path).json().path("state").stringValue()).isEqualTo("running");
        String rules = "{'denyOut':['10.0.0.0/8'" + ",'10.0.0.0/8'".repeat(3000) + "]}";
        assertThat(alice.ask("PUT", path + "/network", rules).status()).isEqualTo(400);
        assertThat(alice.post(path + "/pause", "").status()).isEqualTo(204);
        assertThat(alice.post(path + "/connect", "{'memory':false}").status()).isEqualTo(400);
        assertThat(alice.post(path + "/connect", "{}").status()).isEqualTo(201);
        assertThat(alice.delete(path).status()).isEqualTo(204);
    }

    @Test
    void more_variables_than_the_code_interpreter_can_be_told_are_said_to_be_too_many() {
        E2bClient admin = caller("root3", Role.ADMIN);
        for (int length : List.of(1, 50_000)) {
            String body = "{'templateID':'py','timeout':100,'envVars':{'A':'" + "x".repeat(length) + "'}}";
            JsonNode made = admin.post("/v2/sandboxes", body).json();
            E2bClient.Answer answer = at(
                            "49999", made, made.path("envdAccessToken").stringValue())
                    .post("/execute", "{'code':'1'}");
            assertThat(answer.status()).as(answer.text()).isEqualTo(length == 1 ? 502 : 400);
            assertThat(answer.text()).contains(length == 1 ? "port is not open" : "too long");
            assertThat(admin.delete("/sandboxes/" + made.path("sandboxID").stringValue())
                            .status())
                    .isEqualTo(204);
        }
    }

    /** Its programs. */
    private E2bClient.Answer inside(JsonNode sandbox, String token) {
        return at("49983", sandbox, token).post("/process.Process/List", "{}");
    }

    private E2bClient at(String port, JsonNode sandbox, String token) {
        return client(
                "X-Access-Token",
                token,
                "E2b-Sandbox-Id",
                sandbox.path("sandboxID").stringValue(),
                "E2b-Sandbox-Port",
                port);
    }
}
