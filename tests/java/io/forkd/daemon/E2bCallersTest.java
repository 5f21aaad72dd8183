package io.forkd.daemon;

import static org.assertj.core.api.Assertions.assertThat;

import io.forkd.files.Trees;
import io.forkd.http.Caller.Quotas;
import io.forkd.http.Caller.Role;
import io.forkd.http.TokenFile;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.TimeUnit;
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
