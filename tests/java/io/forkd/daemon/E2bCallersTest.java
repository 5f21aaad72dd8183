package io.forkd.daemon;

import static org.assertj.core.api.Assertions.assertThat;

import io.forkd.http.Caller.Quotas;
import io.forkd.http.Caller.Role;
import io.forkd.http.TokenFile;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
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

    /** Its programs. */
    private E2bClient.Answer inside(JsonNode sandbox, String token) {
        return client(
                        "X-Access-Token",
                        token,
                        "E2b-Sandbox-Id",
                        sandbox.path("sandboxID").stringValue(),
                        "E2b-Sandbox-Port",
                        "49983")
                .post("/process.Process/List", "{}");
    }
}
