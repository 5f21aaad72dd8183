package io.forkd.daemon;

import static org.assertj.core.api.Assertions.assertThat;

import io.forkd.daemon.Api.Answer;
import io.forkd.http.Caller.Quotas;
import io.forkd.http.Caller.Role;
import io.forkd.http.TokenFile;
import java.io.IOException;
import java.net.Socket;
import java.net.http.HttpRequest.BodyPublishers;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.stream.Collectors;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import tools.jackson.databind.JsonNode;

/** What callers with tokens reach of what others made: a daemon beside the other, on the same folders. */
class CallersApiTest {
    @RegisterExtension
    static final Service service = new Service();

    /** What a user may do with a route, and what is compared for it. */
    private enum Rule {
        /** It tells of nobody's things. */
        OPEN,
        /** It is not for users, at least not with what these calls ask of it. */
        ADMIN,
        /** A list: others' things are not in it. */
        LIST,
        /** It makes something, of what the caller knows of. */
        MAKE,
        /** It is about one thing: another's is answered as one that is not there. */
        ONE,
        /** It ends several: see another test. */
        MANY,
        /** It tells of what happens: see another test. */
        EVENTS
    }

    private static final Map<String, Rule> RULES = Map.ofEntries(
            Map.entry("GET /healthz", Rule.OPEN),
            Map.entry("GET /healthz/", Rule.OPEN),
            Map.entry("GET /version", Rule.OPEN),
            Map.entry("GET /openapi.json", Rule.OPEN),
            Map.entry("GET /metrics", Rule.ADMIN),
            Map.entry("GET /v1/snapshots", Rule.LIST),
            Map.entry("POST /v1/snapshots", Rule.ADMIN),
            Map.entry("DELETE /v1/snapshots/:tag", Rule.ONE),
            Map.entry("GET /v1/snapshots/:tag/info", Rule.ONE),
            Map.entry("POST /v1/snapshots/:tag/compact", Rule.ONE),
            Map.entry("GET /v1/sandboxes", Rule.LIST),
            Map.entry("POST /v1/sandboxes", Rule.MAKE),
            Map.entry("DELETE /v1/sandboxes", Rule.MANY),
            Map.entry("GET /v1/events", Rule.EVENTS),
            Map.entry("GET /v1/sandboxes/:id", Rule.ONE),
            Map.entry("DELETE /v1/sandboxes/:id", Rule.ONE),
            Map.entry("POST /v1/sandboxes/:id/ping", Rule.ONE),
            Map.entry("GET /v1/sandboxes/:id/exec", Rule.ONE),
            Map.entry("POST /v1/sandboxes/:id/exec", Rule.ONE),
            Map.entry("GET /v1/sandboxes/:id/guest", Rule.ONE),
            Map.entry("GET /v1/sandboxes/:id/processes", Rule.ONE),
            Map.entry("POST /v1/sandboxes/:id/processes/:pid/signal", Rule.ONE),
            Map.entry("POST /v1/sandboxes/:id/processes/:pid/attach", Rule.ONE),
            Map.entry("GET /v1/sandboxes/:id/files", Rule.ONE),
            Map.entry("PUT /v1/sandboxes/:id/files", Rule.ONE),
            Map.entry("DELETE /v1/sandboxes/:id/files", Rule.ONE),
            Map.entry("GET /v1/sandboxes/:id/files/list", Rule.ONE),
            Map.entry("GET /v1/sandboxes/:id/files/stat", Rule.ONE),
            Map.entry("GET /v1/sandboxes/:id/files/watch", Rule.ONE),
            Map.entry("POST /v1/sandboxes/:id/files/mkdir", Rule.ONE),
            Map.entry("POST /v1/sandboxes/:id/files/move", Rule.ONE),
            Map.entry("GET /v1/sandboxes/:id/ports/:port/:path", Rule.ONE),
            Map.entry("POST /v1/sandboxes/:id/ports/:port/:path", Rule.ONE),
            Map.entry("PUT /v1/sandboxes/:id/ports/:port/:path", Rule.ONE),
            Map.entry("PATCH /v1/sandboxes/:id/ports/:port/:path", Rule.ONE),
            Map.entry("DELETE /v1/sandboxes/:id/ports/:port/:path", Rule.ONE),
            Map.entry("OPTIONS /v1/sandboxes/:id/ports/:port/:path", Rule.ONE),
            Map.entry("POST /v1/sandboxes/:id/eval", Rule.ONE),
            Map.entry("POST /v1/sandboxes/:id/branch", Rule.ONE),
            Map.entry("GET /v1/sandboxes/:id/metrics", Rule.ONE),
            Map.entry("GET /v1/sandboxes/:id/logs", Rule.ONE),
            Map.entry("POST /v1/sandboxes/:id/fork", Rule.ONE),
            Map.entry("PUT /v1/sandboxes/:id/network", Rule.ONE),
            Map.entry("PUT /v1/sandboxes/:id/name", Rule.ONE),
            Map.entry("PUT /v1/sandboxes/:id/labels", Rule.ONE),
            Map.entry("PUT /v1/sandboxes/:id/timeout", Rule.ONE),
            Map.entry("POST /v1/sandboxes/:id/pause", Rule.ONE),
            Map.entry("POST /v1/sandboxes/:id/resume", Rule.ONE),
            Map.entry("POST /v1/sandboxes/:id/reset", Rule.ONE),
            Map.entry("POST /v1/sandboxes/:id/give-back", Rule.ONE),
            Map.entry("GET /v1/pools", Rule.LIST),
            Map.entry("GET /v1/pools/:name", Rule.ONE),
            Map.entry("PUT /v1/pools/:name", Rule.MAKE),
            Map.entry("DELETE /v1/pools/:name", Rule.ONE),
            Map.entry("POST /v1/pools/:name/take", Rule.ONE),
            Map.entry("GET /v1/workspaces", Rule.LIST),
            Map.entry("POST /v1/workspaces", Rule.MAKE),
            Map.entry("GET /v1/workspaces/:name", Rule.ONE),
            Map.entry("DELETE /v1/workspaces/:name", Rule.ONE),
            Map.entry("POST /v1/workspaces/:name/suspend", Rule.ONE),
            Map.entry("POST /v1/workspaces/:name/resume", Rule.ONE));

    /** Each fits every route that it is sent to. */
    private static final String BODY =
            "{'args':['true'],'code':'1','to':'copy','snapshot_tag':'%s','name':'new','tag':'new','kernel':'/k','rootfs':'/r','network':'none','path':'/tmp/new','from':'/tmp/a','signal':1,'labels':{}}";

    private Path file;
    private Daemon guarded;

    @BeforeEach
    void start() {
        file = service.directory().resolve("callers");
        service.keepStateIn(service.directory().resolve("callers.json"));
        TokenFile.add(file, "nobody", Role.READ, Quotas.NONE);
        startDaemon();
    }

    private void startDaemon() {
        guarded = Daemon.start(service.beside(), service.options(Optional.of(file)));
    }

    @AfterEach
    void stop() throws IOException {
        Api admin = caller("root", Role.ADMIN, Quotas.NONE);
        for (JsonNode each : admin.get("/v1/workspaces").json()) {
            admin.delete("/v1/workspaces/" + each.path("name").stringValue());
        }
        guarded.close();
        Files.delete(file);
    }

    private Api caller(String name, Role role, Quotas quotas) {
        String secret = TokenFile.add(file, name, role, quotas);
        assertThat(guarded.reload()).isEmpty();
        return api(secret);
    }

    private Api api(String secret) {
        return new Api(guarded.address().orElseThrow(), "Authorization", "Bearer " + secret);
    }

    private Api user(String name) {
        return caller(name, Role.USER, Quotas.NONE);
    }

    private static Quotas quotas(long sandboxes, long memoryMib, long snapshots) {
        return new Quotas(OptionalLong.of(sandboxes), OptionalLong.of(memoryMib), OptionalLong.of(snapshots));
    }

    private static String sandbox(Api api, String tag) {
        Answer made = api.post("/v1/sandboxes", "{'snapshot_tag':'" + tag + "'}");
        assertThat(made.status()).as(made.text()).isEqualTo(201);
        return made.json().get(0).path("id").stringValue();
    }

    private static void require(int status, Answer answer) {
        assertThat(answer.status()).as(answer.text()).isEqualTo(status);
    }

    private static List<String> each(Api api, String list, String field) {
        return api.get(list)
                .json()
                .valueStream()
                .map(one -> one.path(field).stringValue())
                .toList();
    }

    private static Answer call(Api api, String route, String id, String tag, String name) {
        String[] parts = route.split(" ");
        String path = parts[1].replace(":id", id)
                        .replace(":tag", tag)
                        .replace(":name", name)
                        .replaceFirst("/events$", "/events?follow=false")
                        .replace(":port", "80")
                        .replace(":path", "x")
                        .replace(":pid", "4711")
                + (parts[1].endsWith("/files") || (parts[0].equals("GET") && parts[1].contains("/files"))
                        ? "?path=/tmp/new"
                        : "");
        return parts[0].equals("GET") || parts[0].equals("DELETE")
                ? api.ask(parts[0], path, BodyPublishers.noBody())
                : api.ask(
                        parts[0],
                        path,
                        BodyPublishers.ofString(String.format(BODY, tag).replace('\'', '"')),
                        "Content-Type",
                        "application/json");
    }

    @Test
    void every_route_has_a_rule() {
        assertThat(RULES.keySet()).containsExactlyInAnyOrderElementsOf(new Document().operations());
    }

    @Test
    void what_another_user_made_is_not_there() {
        Api anna = user("anna");
        Api bert = user("bert");
        String id = sandbox(anna, "py");
        require(201, anna.post("/v1/sandboxes/" + id + "/branch", "{'tag':'annas'}"));
        require(201, anna.post("/v1/workspaces", "{'name':'work','snapshot_tag':'py'}"));
        require(200, anna.put("/v1/pools/work", "{'snapshot_tag':'annas'}"));

        RULES.forEach((route, rule) -> {
            switch (rule) {
                case OPEN -> require(200, call(bert, route, id, "annas", "work"));
                case ADMIN -> require(403, call(bert, route, id, "annas", "work"));
                case MANY, EVENTS -> {}
                case LIST ->
                    assertThat(call(bert, route, id, "annas", "work").text())
                            .doesNotContain(id)
                            .doesNotContain("annas")
                            .doesNotContain("work");
                case MAKE, ONE -> {
                    String none = "sb-00000000-00000000";
                    Answer absent = call(bert, route, none, "absent", "nope");
                    Answer foreign = call(bert, route, id, "annas", "work");
                    require(404, absent);
                    require(404, foreign);
                    assertThat(foreign.text())
                            .isEqualTo(absent.text()
                                    .replace(none, id)
                                    .replace("absent", "annas")
                                    .replace("nope", "work"));
                }
            }
        });
        require(404, bert.delete("/v1/snapshots/annas?cascade=true"));
        require(404, bert.delete("/v1/snapshots/annas?force=true"));

        assertThat(each(anna, "/v1/pools", "name")).containsExactly("work");
        require(204, anna.delete("/v1/pools/work"));
        assertThat(each(anna, "/v1/sandboxes", "id")).contains(id).hasSize(2);
        assertThat(each(anna, "/v1/snapshots", "tag")).containsExactly("annas", "py");
        assertThat(each(anna, "/v1/workspaces", "name")).containsExactly("work");
        assertThat(each(bert, "/v1/snapshots", "tag")).containsExactly("py");
    }

    @Test
    void user_hears_of_its_own_and_ends_its_own() {
        Api anna = user("anna");
        Api bert = user("bert");
        String cursor = "/v1/events?follow=false&after=";
        String id = sandbox(anna, "py");
        String other = sandbox(bert, "py");
        require(201, anna.post("/v1/sandboxes/" + id + "/branch", "{'tag':'annas'}"));
        require(201, anna.post("/v1/sandboxes/" + id + "/fork", "{'n':2}"));
        require(200, anna.put("/v1/sandboxes/" + id + "/labels", "{'labels':{'a':'1'}}"));
        require(200, bert.put("/v1/sandboxes/" + other + "/labels", "{'labels':{'a':'2'}}"));
        assertThat(bert.get(cursor).text())
                .doesNotContain(id)
                .doesNotContain("annas")
                .contains(other);
        assertThat(anna.get(cursor).text())
                .contains(id, "event: created", "event: branched", "event: snapshot_made", "annas")
                .doesNotContain(other);

        JsonNode foreign = bert.delete("/v1/sandboxes?id=" + id).json();
        assertThat(foreign.get(0).path("success").booleanValue()).isFalse();
        assertThat(foreign.get(0).path("error").stringValue()).contains(id + " not found");
        JsonNode ended = bert.delete("/v1/sandboxes?label=a").json();
        assertThat(ended).hasSize(1);
        assertThat(ended.get(0).path("id").stringValue()).isEqualTo(other);
        require(200, anna.get("/v1/sandboxes/" + id));
        require(400, anna.delete("/v1/sandboxes"));
        assertThat(anna.get(cursor).text()).doesNotContain(other);
        assertThat(bert.get(cursor).text()).contains("event: ended", "\"reason\":\"killed\"");
    }

    @Test
    void user_does_everything_with_its_own() {
        Api anna = user("anna");
        String id = sandbox(anna, "py");
        require(200, anna.get("/v1/sandboxes/" + id));
        require(200, anna.post("/v1/sandboxes/" + id + "/ping"));
        require(200, anna.post("/v1/sandboxes/" + id + "/exec", "{'args':['true']}"));
        require(200, anna.post("/v1/sandboxes/" + id + "/reset"));
        require(200, anna.post("/v1/sandboxes/" + id + "/pause"));
        require(200, anna.post("/v1/sandboxes/" + id + "/resume"));
        require(201, anna.post("/v1/sandboxes/" + id + "/branch", "{'tag':'annas'}"));
        require(200, anna.get("/v1/snapshots/annas/info"));
        require(200, anna.post("/v1/snapshots/annas/compact", "{'to':'flat'}"));
        require(200, anna.post("/v1/snapshots/py/compact", "{'to':'copy'}"));
        sandbox(anna, "annas");
        require(201, anna.post("/v1/workspaces", "{'name':'work','snapshot_tag':'annas'}"));
        require(200, anna.post("/v1/workspaces/work/suspend", "{}"));
        require(200, anna.post("/v1/workspaces/work/resume"));
        require(204, anna.delete("/v1/workspaces/work"));
        for (String tag : List.of("flat", "copy", "annas")) {
            require(204, anna.delete("/v1/snapshots/" + tag));
        }
        require(204, anna.delete("/v1/sandboxes/" + id));
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', textBlock = """
                    'network':'all'                               | network policy internet
                    'network':'10.0.0.1'                          | network policy internet
                    'network':{'allow':['internet','10.0.0.1']}   | network policy internet
                    'disk_limit_mib':10241                        | disk_limit_mib
                    'disk_limit_mib':0                            | disk_limit_mib
                    'console_limit_kib':2048                      | console_limit_kib
                    'vsock_buffer_mib':65                         | vsock_buffer_mib
                    """)
    void user_has_no_more_than_snapshots_give(String field, String why) {
        Answer refused = user("anna").post("/v1/sandboxes", "{'snapshot_tag':'py'," + field + "}");
        require(403, refused);
        assertThat(refused.error()).contains("administrators", why);
        assertThat(caller("chief", Role.ADMIN, Quotas.NONE)
                        .post("/v1/sandboxes", "{'snapshot_tag':'py'," + field + "}")
                        .status())
                .isNotEqualTo(403);
    }

    @Test
    void user_may_have_less() {
        Api anna = user("anna");
        require(201, anna.post("/v1/sandboxes", "{'snapshot_tag':'py','disk_limit_mib':10,'disk_bps':1000000}"));
        // It is not for want of permission: these tests make no networks.
        require(500, anna.post("/v1/sandboxes", "{'snapshot_tag':'py','network':'internet:443'}"));
        require(409, anna.put("/v1/sandboxes/" + sandbox(anna, "py") + "/network", "{'network':'none'}"));
    }

    @Test
    void what_is_made_of_a_users_things_is_the_users_whoever_makes_it() {
        Api anna = user("anna");
        Api bert = user("bert");
        String id = sandbox(anna, "py");
        service.branch(id, "annas"); // by an administrator
        String child = service.sandbox("annas");
        for (Api other : List.of(bert)) {
            require(404, other.get("/v1/snapshots/annas/info"));
            require(404, other.get("/v1/sandboxes/" + child));
        }
        require(200, anna.get("/v1/snapshots/annas/info"));
        require(200, anna.get("/v1/sandboxes/" + child));
    }

    @Test
    void what_is_nobodys_is_for_all_as_a_snapshot_and_for_administrators_as_a_sandbox() {
        Api anna = user("anna");
        String id = service.sandbox();
        service.branch(id, "shared");
        require(404, anna.get("/v1/sandboxes/" + id));
        require(200, anna.get("/v1/snapshots/shared/info"));
        sandbox(anna, "shared");
        require(403, anna.delete("/v1/snapshots/shared"));
        require(403, anna.delete("/v1/snapshots/shared?force=true"));
        assertThat(service.status("shared")).isEqualTo("ready");
    }

    @Test
    void administrators_workspaces_are_not_for_users_asleep_either() {
        Api root = caller("chief", Role.ADMIN, Quotas.NONE);
        Api anna = user("anna");
        require(201, root.post("/v1/workspaces", "{'name':'work','snapshot_tag':'py'}"));
        require(200, root.post("/v1/workspaces/work/suspend", "{}"));
        require(404, anna.get("/v1/workspaces/work"));
        require(404, anna.get("/v1/snapshots/ws-work-state/info"));
        require(404, anna.post("/v1/sandboxes", "{'snapshot_tag':'ws-work-state'}"));
        require(200, root.post("/v1/workspaces/work/resume"));
    }

    @Test
    void workspace_wakes_as_nothing_of_another_user() {
        Api anna = user("anna");
        Api bert = user("bert");
        require(201, anna.post("/v1/workspaces", "{'name':'work','snapshot_tag':'py'}"));
        require(200, anna.post("/v1/workspaces/work/suspend", "{}"));
        require(204, anna.delete("/v1/snapshots/ws-work-state"));
        service.branch(sandbox(bert, "py"), "ws-work-state"); // by an administrator, who may
        require(500, anna.post("/v1/workspaces/work/resume"));
        require(204, anna.delete("/v1/workspaces/work"));
        assertThat(service.status("ws-work-state")).isEqualTo("ready");
    }

    @Test
    void user_keeps_no_workspace_of_another_from_sleeping() {
        Api anna = user("anna");
        Api bert = user("bert");
        require(201, anna.post("/v1/workspaces", "{'name':'work','snapshot_tag':'py'}"));
        String id = sandbox(bert, "py");
        require(403, bert.post("/v1/sandboxes/" + id + "/branch", "{'tag':'ws-work-state'}"));
        require(403, bert.post("/v1/snapshots/py/compact", "{'to':'ws-work-state'}"));
        require(200, anna.post("/v1/workspaces/work/suspend", "{}"));
    }

    @Test
    void user_that_asks_how_its_own_are_sets_nothing_of_others_in_motion() throws IOException {
        Api anna = user("anna");
        String id = sandbox(anna, "py");
        Path left =
                service.beside().sandboxes().directory("sb-00000000-00000001").orElseThrow();
        Files.createDirectories(left); // of a sandbox that has ended, which whoever asks all removes
        assertThat(each(anna, "/v1/sandboxes?ask=true", "id")).containsExactly(id);
        assertThat(left).exists();
        require(200, caller("chief", Role.ADMIN, Quotas.NONE).get("/v1/sandboxes?ask=true"));
        assertThat(left).doesNotExist();
    }

    @Test
    void owners_are_known_after_a_restart() {
        String secret = TokenFile.add(file, "anna", Role.USER, Quotas.NONE);
        guarded.reload();
        String id = sandbox(api(secret), "py");
        require(201, api(secret).post("/v1/sandboxes/" + id + "/branch", "{'tag':'annas'}"));
        require(201, api(secret).post("/v1/workspaces", "{'name':'work','snapshot_tag':'py'}"));
        guarded.close();
        startDaemon();
        Api bert = user("bert");
        assertThat(each(api(secret), "/v1/sandboxes", "id")).contains(id).hasSize(2);
        assertThat(each(api(secret), "/v1/snapshots", "tag")).containsExactly("annas", "py");
        assertThat(each(api(secret), "/v1/workspaces", "name")).containsExactly("work");
        assertThat(each(bert, "/v1/sandboxes", "id")).isEmpty();
        assertThat(each(bert, "/v1/snapshots", "tag")).containsExactly("py");
        assertThat(each(bert, "/v1/workspaces", "name")).isEmpty();
    }

    @Test
    void reader_sees_everything_and_changes_nothing() {
        Api reader = caller("eyes", Role.READ, Quotas.NONE);
        String id = service.sandbox();
        RULES.keySet().forEach(route -> {
            int status = call(reader, route, id, "py", "nope").status();
            if (route.startsWith("GET") && route.contains("/files")) {
                // It may ask, and no more: there is no such file.
                assertThat(status).as(route).isIn(404, 501);
            } else if (route.startsWith("GET")
                    && !route.contains("/ports/")
                    && !route.endsWith("/exec")
                    && !route.endsWith("/guest")) {
                assertThat(status).as(route).isEqualTo(route.contains(":name") ? 404 : 200);
            } else {
                assertThat(status).as(route).isEqualTo(403);
            }
        });
        assertThat(service.ids()).containsExactly(id);
    }

    @Test
    void what_a_pool_keeps_ready_counts_as_its_users() throws InterruptedException {
        Api anna = caller("anna", Role.USER, quotas(2, 1000, 0));
        require(200, anna.put("/v1/pools/web", "{'snapshot_tag':'py','size':3}"));
        JsonNode pool = anna.get("/v1/pools/web").json();
        for (int i = 0;
                i < 1000
                        && (pool.path("ready").intValue() < 2
                                || pool.path("problem").isNull());
                i++) {
            Thread.sleep(20);
            pool = anna.get("/v1/pools/web").json();
        }
        assertThat(pool.path("ready").intValue()).isEqualTo(2);
        assertThat(pool.path("problem").stringValue()).contains("the quota of anna is reached");
        require(403, anna.post("/v1/sandboxes", "{'snapshot_tag':'py'}"));
        require(201, anna.post("/v1/pools/web/take", "{}"));
        require(201, anna.post("/v1/pools/web/take", "{}"));
        assertThat(anna.post("/v1/pools/web/take", "{}").error()).contains("the quota of anna is reached");
        require(403, anna.put("/v1/pools/web", "{'snapshot_tag':'py','disk_limit_mib':0}"));

        Api admin = caller("root2", Role.ADMIN, Quotas.NONE);
        assertThat(each(admin, "/v1/pools", "owner")).containsExactly("anna");
        require(404, admin.get("/v1/pools/web"));
        require(200, admin.get("/v1/pools/web?owner=anna"));
        Api bert = user("bert");
        require(404, bert.get("/v1/pools/web?owner=anna"));
        require(404, bert.delete("/v1/pools/web?owner=anna"));
        require(204, admin.delete("/v1/pools/web?owner=anna"));
        assertThat(each(anna, "/v1/pools", "name")).isEmpty();
        assertThat(each(anna, "/v1/sandboxes", "id")).hasSize(2); // Those that it has taken.
    }

    @Test
    void quota_of_sandboxes_holds_for_calls_at_once() throws InterruptedException {
        Api anna = caller("anna", Role.USER, quotas(2, 1000, 0));
        Map<Integer, Long> answers =
                Together.of(
                                6,
                                number -> anna.post("/v1/sandboxes", "{'snapshot_tag':'py'}")
                                        .status())
                        .stream()
                        .collect(Collectors.groupingBy(status -> status, Collectors.counting()));
        assertThat(answers).isEqualTo(Map.of(201, 2L, 403, 4L));
        assertThat(each(anna, "/v1/sandboxes", "id")).hasSize(2);
        require(403, anna.post("/v1/workspaces", "{'name':'work','snapshot_tag':'py'}"));
        require(
                204,
                anna.delete("/v1/sandboxes/" + each(anna, "/v1/sandboxes", "id").get(0)));
        sandbox(anna, "py");
    }

    @Test
    void quota_of_memory_is_by_the_guests_sizes() {
        Api anna = caller("anna", Role.USER, quotas(100, 64 * 2 + 63, 0));
        Answer refused = anna.post("/v1/sandboxes", "{'snapshot_tag':'py','n':3}");
        require(403, refused);
        assertThat(refused.error()).contains("191 MiB", "192 more");
        require(201, anna.post("/v1/sandboxes", "{'snapshot_tag':'py','n':2}"));
        require(403, anna.post("/v1/sandboxes", "{'snapshot_tag':'py'}"));
    }

    @Test
    void quota_of_snapshots_holds_for_calls_at_once() throws InterruptedException {
        Api anna = caller("anna", Role.USER, quotas(10, 1000, 1));
        String id = sandbox(anna, "py");
        List<Integer> answers = Together.of(
                2,
                number -> anna.post("/v1/sandboxes/" + id + "/branch", "{'tag':'b" + number + "'}")
                        .status());
        assertThat(answers).containsExactlyInAnyOrder(201, 403);
        require(403, anna.post("/v1/snapshots/py/compact", "{'to':'copy'}"));
    }

    @Test
    void refusals_are_written_down_with_the_name() throws IOException {
        Api anna = caller("anna", Role.USER, quotas(0, 0, 0));
        require(403, anna.post("/v1/sandboxes", "{'snapshot_tag':'py'}"));
        require(403, anna.get("/metrics"));
        require(401, api("wrong").get("/version"));
        List<String> lines = List.of();
        while (lines.stream().noneMatch(line -> line.contains("\"status\":401"))) {
            lines = Files.readAllLines(service.directory().resolve("audit.log"));
        }
        assertThat(lines)
                .anyMatch(line -> line.contains("/v1/sandboxes") && line.contains("403") && line.contains("token:anna"))
                .anyMatch(line -> line.contains("/metrics") && line.contains("403") && line.contains("token:anna"));
    }

    @Test
    void caller_that_is_removed_is_turned_away_and_a_bad_line_changes_nothing() throws IOException {
        String secret = TokenFile.add(file, "anna", Role.USER, Quotas.NONE);
        guarded.reload();
        require(200, api(secret).get("/version"));
        String good = Files.readString(file);
        Files.writeString(file, good + "bert sha256:short user\n");
        assertThat(guarded.reload())
                .singleElement()
                .satisfies(e -> assertThat(e.sentence()).contains(file.toString(), "line 4"));
        require(200, api(secret).get("/version"));
        Files.writeString(file, good);
        TokenFile.remove(file, "anna");
        assertThat(guarded.reload()).isEmpty();
        require(401, api(secret).get("/version"));
    }

    private Socket ask(String secret, String target, String more) throws IOException {
        Socket socket = new Socket("127.0.0.1", guarded.address().orElseThrow().getPort());
        socket.setSoTimeout(60_000);
        socket.getOutputStream()
                .write(("GET " + target + " HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + secret + "\r\n"
                                + more + "\r\n")
                        .getBytes(StandardCharsets.US_ASCII));
        assertThat((char) socket.getInputStream().read()).isEqualTo('H'); // It is answered.
        return socket;
    }

    @Test
    void what_goes_on_for_one_that_is_removed_is_ended() throws IOException {
        String secret = TokenFile.add(file, "anna", Role.USER, Quotas.NONE);
        String stays = TokenFile.add(file, "bert", Role.USER, Quotas.NONE);
        guarded.reload();
        String id = sandbox(api(secret), "py");
        String other = sandbox(api(stays), "py");
        String protocol = "Connection: Upgrade\r\nUpgrade: forkd-guest\r\n";
        try (Socket events = ask(secret, "/v1/events", "Connection: close\r\n");
                Socket guest = ask(secret, "/v1/sandboxes/" + id + "/guest", protocol);
                Socket berts = ask(stays, "/v1/sandboxes/" + other + "/guest", protocol)) {
            TokenFile.remove(file, "anna");
            guarded.reload();
            for (Socket each : List.of(events, guest)) {
                while (each.getInputStream().read() >= 0) {
                    // until its end
                }
            }
            berts.getOutputStream().write("{\"op\":\"processes\"}\n".getBytes(StandardCharsets.US_ASCII));
            StringBuilder said = new StringBuilder();
            while (!said.toString().endsWith("]}\n")) {
                int next = berts.getInputStream().read();
                assertThat(next).as(said.toString()).isNotNegative();
                said.append((char) next);
            }
        }
    }
}
