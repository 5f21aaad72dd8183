package io.forkd.daemon;

import static org.assertj.core.api.Assertions.assertThat;

import io.forkd.Json;
import io.forkd.daemon.Api.Answer;
import io.forkd.engine.Engine;
import io.forkd.http.HttpServer;
import io.forkd.http.Metrics;
import io.forkd.http.Routes;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.net.http.HttpRequest.BodyPublishers;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import tools.jackson.databind.JsonNode;

/** What all routes have in common, and those that tell of the daemon itself. */
class DaemonTest {
    @RegisterExtension
    static final Service service = new Service();

    @Test
    void document_has_every_route_and_no_other() {
        Engine engine = Engine.of(Map.of(
                "XDG_DATA_HOME",
                service.directory().toString(),
                "XDG_RUNTIME_DIR",
                service.directory().toString()));
        Metrics metrics = new Metrics();
        Branching branching = new Branching(engine, 1, metrics);
        try (StateFile state = StateFile.open(service.directory().resolve("other.json"))) {
            Quota quota = new Quota(engine);
            Workspaces workspaces = new Workspaces(engine, branching, quota, state);
            Routes v1 = new Routes();
            Daemon.addV1(
                    v1,
                    engine,
                    branching,
                    quota,
                    new Pulls(engine, service.options(Optional.empty())),
                    new Removals(engine),
                    new GuestCalls(1),
                    new GuestCalls(1),
                    workspaces,
                    service.options(Optional.empty()),
                    metrics);
            List<String> routes = new ArrayList<>(v1.list());
            HttpServer.HEALTH.forEach(path -> routes.add("GET " + path));
            assertThat(new Document().operations()).containsExactlyInAnyOrderElementsOf(routes);
        }
    }

    @Test
    void document_is_served() {
        Answer document = service.api().get("/openapi.json");
        assertThat(document.status()).isEqualTo(200);
        assertThat(document.text("openapi")).isEqualTo("3.1.0");
    }

    @Test
    void health_and_version() {
        assertThat(service.api().get("/healthz").text()).isEqualTo("{\"ok\":true}");
        assertThat(service.api().get("/healthz/").text()).isEqualTo("{\"ok\":true}");
        Answer version = service.api().get("/version");
        assertThat(version.text("version")).isEqualTo(Engine.VERSION);
        assertThat(version.text("api")).isEqualTo("v1");
    }

    @Test
    void metrics_have_their_names() {
        Answer metrics = service.api().get("/metrics");
        assertThat(metrics.response().headers().firstValue("Content-Type"))
                .hasValueSatisfying(type -> assertThat(type).startsWith("text/plain; version=0.0.4"));
        assertThat(metrics.text())
                .contains("\nforkd_snapshots_total 1\n")
                .contains("\nforkd_sandboxes_active 0\n")
                .contains("\nforkd_branches_in_flight 0\n")
                .contains("\nforkd_branch_concurrency_cap 2\n")
                .contains("\nforkd_build_info{version=\"" + Engine.VERSION + "\"} 1\n");
    }

    @Test
    void token_is_needed_for_all_but_health() throws IOException {
        Path token = Files.writeString(service.directory().resolve("token"), " 0123456789abcdef\n");
        service.keepStateIn(service.directory().resolve("guarded.json"));
        try (Daemon guarded = Daemon.start(service.beside(), service.options(Optional.of(token)))) {
            InetSocketAddress address = guarded.address().orElseThrow();
            Api nobody = new Api(address);
            Api wrong = new Api(address, "Authorization", "Bearer 0123456789abcdeF");
            Api right = new Api(address, "Authorization", "Bearer   0123456789abcdef ");
            assertThat(nobody.get("/healthz").status()).isEqualTo(200);
            assertThat(nobody.get("/healthz/").status()).isEqualTo(200);
            for (String path : List.of("/version", "/metrics", "/openapi.json", "/v1/snapshots", "/v1/workspaces")) {
                assertThat(nobody.get(path).status()).isEqualTo(401);
                assertThat(wrong.get(path).status()).isEqualTo(401);
                assertThat(right.get(path).status()).isEqualTo(200);
            }
            assertThat(nobody.get("/version").error())
                    .isNotEqualTo(wrong.get("/version").error());
            assertThat(nobody.delete("/v1/snapshots/py").status()).isEqualTo(401);
            assertThat(nobody.post("/v1/sandboxes", "{'snapshot_tag':'py'}").status())
                    .isEqualTo(401);
            assertThat(nobody.get("/v1/nothing").status()).isEqualTo(401);
            assertThat(service.ids()).isEmpty();
        }
    }

    @ParameterizedTest
    @CsvSource({
        "GET, /v1/nothing, 404",
        "GET, /v1/snapshots/, 404",
        "GET, /v1/snapshots/py, 405",
        "PUT, /v1/sandboxes, 405",
        "DELETE, /version, 405",
        "POST, /healthz, 405",
        "GET, /v1/sandboxes/sb-1/eval, 405",
    })
    void path_or_method_that_is_not_there(String method, String path, int status) {
        Answer answer = service.api().ask(method, path, BodyPublishers.noBody());
        assertThat(answer.status()).isEqualTo(status);
        assertThat(answer.error()).contains(path);
    }

    private static final List<String> WITH_BODY = List.of(
            "/v1/snapshots",
            "/v1/snapshots/py/compact",
            "/v1/sandboxes",
            "/v1/sandboxes/sb-00000000-00000000/exec",
            "/v1/sandboxes/sb-00000000-00000000/eval",
            "/v1/sandboxes/sb-00000000-00000000/branch",
            "/v1/workspaces",
            "/v1/workspaces/w/suspend");

    @Test
    void body_has_to_be_json_and_to_say_so() {
        String nested = "[".repeat(100_000);
        for (String path : WITH_BODY) {
            assertThat(service.api().post(path).status()).as(path).isEqualTo(415);
            assertThat(service.api()
                            .ask("POST", path, BodyPublishers.ofString("{}"), "Content-Type", "text/plain")
                            .status())
                    .isEqualTo(415);
            assertThat(service.api().post(path, "").status()).isEqualTo(400);
            assertThat(service.api().post(path, "{").status()).isEqualTo(400);
            assertThat(service.api().post(path, "{} {}").status()).isEqualTo(400);
            assertThat(service.api().post(path, nested).status()).isEqualTo(400);
            assertThat(service.api()
                            .post(path, "{'a':" + nested + "]".repeat(100_000) + "}")
                            .status())
                    .isEqualTo(400);
            assertThat(service.api()
                            .post(path, "{\"a\":\"\377\"}".getBytes(StandardCharsets.ISO_8859_1))
                            .status())
                    .isEqualTo(400);
            assertThat(service.api()
                            .post(path, "{\"a\":1}".getBytes(StandardCharsets.UTF_16))
                            .status())
                    .isEqualTo(400);
            assertThat(service.api().post(path, "[]").status()).isEqualTo(422);
            assertThat(service.api().post(path, new byte[(2 << 20) + 1]).status())
                    .isEqualTo(413);
        }
        assertThat(service.ids()).isEmpty();
    }

    @Test
    void body_is_ignored_where_none_is_taken() {
        String id = service.sandbox();
        for (String type : List.of("application/json", "text/plain")) {
            assertThat(service.api()
                            .ask("GET", "/v1/sandboxes/" + id, BodyPublishers.ofString("{"), "Content-Type", type)
                            .status())
                    .isEqualTo(200);
            assertThat(service.api()
                            .ask(
                                    "POST",
                                    "/v1/sandboxes/" + id + "/ping",
                                    BodyPublishers.ofString("{"),
                                    "Content-Type",
                                    type)
                            .status())
                    .isEqualTo(200);
        }
        assertThat(service.api()
                        .ask(
                                "DELETE",
                                "/v1/sandboxes/" + id,
                                BodyPublishers.ofString("{"),
                                "Content-Type",
                                "application/json")
                        .status())
                .isEqualTo(204);
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "POST /v1/sandboxes HTTP/1.1\r\nHost: f\r\nContent-Type: application/json\r\nContent-Length: 90\r\n\r\n{",
                "POST /v1/sandboxes HTTP/1.1\r\nHost: f\r\n",
                "nonsense\r\n\r\n",
            })
    void client_that_goes_away_makes_nothing(String request) throws IOException {
        InetSocketAddress address = service.address();
        try (Socket socket = new Socket(address.getAddress(), address.getPort())) {
            socket.getOutputStream().write(request.getBytes(StandardCharsets.US_ASCII));
            socket.getOutputStream().flush();
        }
        assertThat(service.ids()).isEmpty();
    }

    @Test
    void each_request_is_written_down() throws IOException {
        Api api = service.api();
        api.ask("GET", "/v1/snapshots/nope/info?secret=1", BodyPublishers.noBody(), "User-Agent", "a \"test\"");
        List<String> lines = Files.readAllLines(service.directory().resolve("audit.log"));
        while (lines.stream().noneMatch(line -> line.contains("nope/info"))) {
            lines = Files.readAllLines(service.directory().resolve("audit.log"));
        }
        String line = lines.stream()
                .filter(each -> each.contains("nope/info"))
                .findFirst()
                .orElseThrow();
        JsonNode entry = Json.parse(line.getBytes(StandardCharsets.UTF_8));
        assertThat(line)
                .contains("\"method\":\"GET\"", "\"path\":\"/v1/snapshots/nope/info\"", "\"status\":404")
                .doesNotContain("secret");
        assertThat(entry.path("ts").stringValue()).matches("\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\dZ");
        assertThat(entry.path("latency_us").isIntegralNumber()).isTrue();
        assertThat(entry.path("ua").stringValue()).isEqualTo("a \"test\"");
    }
}
