package io.forkd.daemon;

import static org.assertj.core.api.Assertions.assertThat;

import io.forkd.Json;
import io.forkd.daemon.E2bClient.Answer;
import io.forkd.http.Caller.Quotas;
import io.forkd.http.Caller.Role;
import io.forkd.http.TokenFile;
import io.forkd.snapshot.SnapshotTag;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import tools.jackson.databind.JsonNode;

/** Templates and snapshots of E2B's interface, of the guest with an agent, which has a shell of a kind. */
@Timeout(value = 5, unit = TimeUnit.MINUTES)
class E2bTemplatesTest {
    private static final String HASH = "ab".repeat(32);

    @RegisterExtension
    static final Service service = new Service();

    private Path file;
    private Daemon guarded;
    private E2bClient admin;

    @BeforeEach
    void start() {
        file = service.directory().resolve("e2b-templates");
        service.keepStateIn(service.directory().resolve("e2b-templates.json"));
        TokenFile.add(file, "nobody", Role.READ, Quotas.NONE);
        guarded = Daemon.start(service.beside(), service.options(Optional.of(file)));
        admin = caller("root", Role.ADMIN, Quotas.NONE);
    }

    @AfterEach
    void stop() throws IOException {
        guarded.close();
        Files.delete(file);
    }

    private E2bClient caller(String name, Role role, Quotas quotas) {
        String secret = TokenFile.add(file, name, role, quotas);
        assertThat(guarded.reload()).isEmpty();
        return client("X-API-KEY", secret);
    }

    private E2bClient client(String... headers) {
        return new E2bClient(guarded.address().orElseThrow().getPort(), List.of(headers));
    }

    private static void require(int status, Answer answer) {
        assertThat(answer.status()).as(answer.text()).isEqualTo(status);
    }

    // --- builds ---

    /** One that was announced. */
    private static String announce(E2bClient api, String name, String more) {
        Answer made = api.post("/v3/templates", "{'name':'" + name + "'" + more + "}");
        require(202, made);
        return made.json().path("buildID").stringValue();
    }

    private static Answer start(E2bClient api, String template, String build, String order) {
        return api.post("/v2/templates/" + template + "/builds/" + build, "{" + order + "}");
    }

    private static JsonNode status(E2bClient api, String template, String build) {
        Answer answer = api.get("/templates/" + template + "/builds/" + build + "/status?logsOffset=0");
        require(200, answer);
        return answer.json();
    }

    private static JsonNode await(E2bClient api, String template, String build) {
        List<JsonNode> last = new ArrayList<>();
        until(() -> {
            last.add(status(api, template, build));
            return !List.of("waiting", "building")
                    .contains(last.get(last.size() - 1).path("status").stringValue());
        });
        return last.get(last.size() - 1);
    }

    private static void until(BooleanSupplier done) {
        long end = System.nanoTime() + Duration.ofMinutes(2).toNanos();
        while (!done.getAsBoolean()) {
            assertThat(System.nanoTime()).as("in time").isLessThan(end);
            try {
                Thread.sleep(50);
            } catch (InterruptedException e) {
                throw new AssertionError(e);
            }
        }
    }

    private static JsonNode build(E2bClient api, String name, String order) {
        String template = name.replaceFirst(":.*", "");
        String build = announce(api, name, "");
        require(202, start(api, template, build, order));
        return await(api, template, build);
    }

    private static void ready(JsonNode status) {
        assertThat(status.path("status").stringValue()).as(status.toString()).isEqualTo("ready");
    }

    private static String why(JsonNode status, String step) {
        assertThat(status.path("status").stringValue()).as(status.toString()).isEqualTo("error");
        assertThat(status.path("reason").path("step").stringValue()).isEqualTo(step);
        return status.path("reason").path("message").stringValue();
    }

    /** With a shell, which guests of our own have, and say nothing of. */
    private String shell(E2bClient api) {
        JsonNode sandbox = create(api, "py");
        for (String path : List.of("/bin/sh", "/etc/passwd")) {
            String text = "root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n";
            assertThat(in(sandbox).file(path, text).status()).isEqualTo(200);
        }
        require(201, api.post("/sandboxes/" + id(sandbox) + "/snapshots", "{'name':'sh'}"));
        kill(api, sandbox);
        return "sh";
    }

    private static JsonNode create(E2bClient api, String template) {
        Answer made = api.post("/v2/sandboxes", "{'templateID':'" + template + "','timeout':100}");
        require(201, made);
        return made.json();
    }

    private static String id(JsonNode sandbox) {
        return sandbox.path("sandboxID").stringValue();
    }

    private static void kill(E2bClient api, JsonNode sandbox) {
        require(204, api.delete("/sandboxes/" + id(sandbox)));
    }

    private Inside in(JsonNode sandbox) {
        return new Inside(client(
                "X-Access-Token",
                sandbox.path("envdAccessToken").stringValue(),
                "E2b-Sandbox-Id",
                id(sandbox),
                "E2b-Sandbox-Port",
                "49983"));
    }

    /** A sandbox's own daemon. */
    private record Inside(E2bClient api) {
        Answer file(String path, String content) {
            return api.send(
                    "POST",
                    "/files?username=root&path=" + path,
                    "application/octet-stream",
                    content.getBytes(StandardCharsets.UTF_8));
        }

        String read(String path) {
            Answer answer = api.get("/files?username=root&path=" + path);
            require(200, answer);
            return answer.text();
        }

        /** What that writes. */
        String run(String command) {
            byte[] message = Json.bytes(
                    Json.parse(("{\"process\":{\"cmd\":\"/bin/bash\",\"args\":[\"-l\",\"-c\",\"" + command + "\"]}}")
                            .getBytes(StandardCharsets.UTF_8)));
            ByteArrayOutputStream frame = new ByteArrayOutputStream();
            frame.writeBytes(new byte[] {0, 0, 0, (byte) (message.length >> 8), (byte) message.length});
            frame.writeBytes(message);
            Answer answer = api.send("POST", "/process.Process/Start", "application/connect+json", frame.toByteArray());
            require(200, answer);
            StringBuilder out = new StringBuilder();
            java.util.regex.Matcher each =
                    java.util.regex.Pattern.compile("\"stdout\":\"([^\"]*)\"").matcher(answer.text());
            while (each.find()) {
                out.append(new String(java.util.Base64.getDecoder().decode(each.group(1)), StandardCharsets.UTF_8));
            }
            return out.toString();
        }
    }

    @Test
    void template_of_a_template_has_what_its_steps_did_and_its_variables_and_folder() {
        String from = shell(admin);
        JsonNode built = build(
                admin,
                "one",
                "'fromTemplate':'" + from + "','steps':["
                        + "{'type':'ENV','args':['A','1','D','\\\\$A']},"
                        + "{'type':'ENV','args':['B','${A}-2']},"
                        + "{'type':'USER','args':['root']},"
                        + "{'type':'WORKDIR','args':['/srv/app']},"
                        + "{'type':'RUN','args':['echo $B > made; pwd; echo oops >&2']}]");
        ready(built);
        List<String> told = built.path("logEntries")
                .valueStream()
                .map(entry -> entry.path("step").stringValue() + " "
                        + entry.path("message").stringValue())
                .toList();
        assertThat(told)
                .contains(
                        "base [base] FROM TEMPLATE sh",
                        "5 [builder 5] [stdout]: /srv/app",
                        "5 [builder 5] [stderr]: oops")
                .anyMatch(line -> line.startsWith("5 [builder 5/5] RUN echo"))
                .endsWith("finalize The template one is built");
        assertThat(built.path("logs")).isEmpty();
        JsonNode sandbox = create(admin, "one");
        Inside inside = in(sandbox);
        assertThat(inside.run("pwd; echo $A $B $D; cat made")).isEqualTo("/srv/app\n1 1-2 $A\n1-2\n");
        kill(admin, sandbox);
        require(204, admin.delete("/templates/" + from));
        require(200, admin.get("/templates/aliases/one"));
        kill(admin, create(admin, "one")); // It needs nothing of what it was made from.
    }

    @Test
    void service_that_is_started_runs_in_each_sandbox_and_in_a_template_of_that_gives_way_to_another() {
        String from = shell(admin);
        ready(build(
                admin,
                "served",
                "'fromTemplate':'" + from + "','startCmd':'echo started; sleep 1000','readyCmd':'set ready 1'"));
        JsonNode sandbox = create(admin, "served");
        assertThat(in(sandbox).api().post("/process.Process/List", "{}").text())
                .contains("e2b-start")
                .contains("sleep 1000");
        kill(admin, sandbox);
        ready(build(admin, "served", "'fromTemplate':'served','startCmd':'sleep 2000','readyCmd':'true'"));
        sandbox = create(admin, "served");
        assertThat(in(sandbox).api().post("/process.Process/List", "{}").text())
                .contains("sleep 2000")
                .doesNotContain("sleep 1000");
        kill(admin, sandbox);
        assertThat(why(build(admin, "other", "'fromTemplate':'sh','startCmd':'exit 3','readyCmd':'false'"), "finalize"))
                .isEqualTo("start command failed: exit status 3");
    }

    @Test
    void variables_that_grow_by_one_another_have_an_end() {
        String twice = "{'type':'ENV','args':['A','$A$A']}";
        JsonNode grown = build(
                admin,
                "grown",
                "'fromTemplate':'py','steps':[{'type':'ENV','args':['A','x']}" + ("," + twice).repeat(500) + "]");
        assertThat(why(grown, "17")).contains("longer than 65536 characters");
        String many = Stream.iterate(0, n -> n + 1)
                .limit(200)
                .map(n -> "{'type':'ENV','args':['B" + n + "','" + "y".repeat(1000) + "']}")
                .collect(Collectors.joining(","));
        assertThat(why(build(admin, "grown", "'fromTemplate':'py','steps':[" + many + "]"), "66"))
                .contains("longer than 65536 characters");
    }

    @Test
    void failed_build_leaves_what_was_there_and_tells_why() {
        String from = shell(admin);
        ready(build(admin, "kept", "'fromTemplate':'" + from + "','steps':[{'type':'RUN','args':['set v old']}]"));
        String why = why(
                build(
                        admin,
                        "kept",
                        "'fromTemplate':'" + from + "','steps':[{'type':'RUN','args':['set v new']},"
                                + "{'type':'RUN','args':['echo because >&2; exit 7']}]"),
                "2");
        assertThat(why).isEqualTo("failed to run command 'echo because >&2; exit 7': exit status 7: because");
        JsonNode sandbox = create(admin, "kept");
        assertThat(in(sandbox).run("get v")).isEqualTo("old\n");
        kill(admin, sandbox);
        assertThat(service.listed("kept")).isPresent();
        nothingIsLeft();
    }

    private static void nothingIsLeft() {
        assertThat(files(service.beside().dataDirectory().resolve("drafts"))).isEmpty();
        assertThat(files(service.snapshots()))
                .allMatch(name -> !name.startsWith(".staging") && !name.startsWith(".trash"));
    }

    private static List<String> files(Path folder) {
        try (Stream<Path> all = Files.list(folder)) {
            return all.map(each -> each.getFileName().toString())
                    .filter(name -> !name.equals(".lock") && !name.equals(".tap"))
                    .toList();
        } catch (java.nio.file.NoSuchFileException e) {
            return List.of();
        } catch (IOException e) {
            throw new AssertionError(e);
        }
    }

    @Test
    void guest_that_writes_without_end_fills_no_log() {
        String from = shell(admin);
        String build = announce(admin, "loud", "");
        require(
                202,
                start(
                        admin,
                        "loud",
                        build,
                        "'fromTemplate':'" + from
                                + "','steps':[{'type':'RUN','args':['write 30000000']},{'type':'RUN','args':['exit 1']}]"));
        JsonNode end = await(admin, "loud", build);
        assertThat(why(end, "2")).contains("exit status 1");
        List<String> told = new ArrayList<>();
        for (int offset = 0; ; ) {
            JsonNode page = admin.get("/templates/loud/builds/" + build + "/status?logsOffset=" + offset)
                    .json()
                    .path("logEntries");
            assertThat(page.size()).isLessThanOrEqualTo(100);
            page.forEach(entry -> told.add(entry.path("message").stringValue()));
            offset += page.size();
            if (page.isEmpty()) {
                break;
            }
        }
        assertThat(String.join("", told).length()).isLessThan(400_000);
        assertThat(told).anyMatch(line -> line.startsWith("The log is full"));
        assertThat(told.get(told.size() - 1)).contains("exit status 1");
    }

    @Test
    void build_that_never_ends_is_ended_by_another_of_its_name_and_by_deletion() {
        String from = shell(admin);
        String endless = "'fromTemplate':'" + from + "','steps':[{'type':'RUN','args':['sleep 100000']}]";
        String first = announce(admin, "slow", "");
        require(202, start(admin, "slow", first, endless));
        until(() -> status(admin, "slow", first).path("logEntries").toString().contains("RUN"));
        String second = announce(admin, "slow", "");
        require(202, start(admin, "slow", second, endless));
        assertThat(why(await(admin, "slow", first), "1")).isEqualTo("another build of the template was started");
        until(() -> status(admin, "slow", second).path("status").stringValue().equals("building"));
        require(204, admin.delete("/templates/slow"));
        assertThat(status(admin, "slow", second).path("reason").path("message").stringValue())
                .isEqualTo("the template was deleted");
        require(404, admin.delete("/templates/slow"));
        require(404, admin.get("/templates/slow"));
        assertThat(service.listed("slow")).isEmpty();
        nothingIsLeft();
    }

    @Test
    void stop_of_the_daemon_ends_builds() {
        String from = shell(admin);
        String build = announce(admin, "stopped", "");
        require(
                202,
                start(
                        admin,
                        "stopped",
                        build,
                        "'fromTemplate':'" + from + "','steps':[{'type':'RUN','args':['sleep 100000']}]"));
        until(() -> status(admin, "stopped", build).path("status").stringValue().equals("building"));
        guarded.close();
        nothingIsLeft();
        assertThat(service.beside().store().list())
                .noneMatch(entry -> entry.tag().equals("stopped"));
        guarded = Daemon.start(service.beside(), service.options(Optional.of(file)));
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "'fromTemplate':'nothing' | 404",
                "'fromTemplate':'../py' | 404",
                "'fromTemplate':'py','fromImage':'debian' | 400",
                "'steps':[] | 400",
                "'fromTemplate':'py','steps':{} | 400",
                "'fromTemplate':'py','steps':[{'type':'ADD','args':['a','b']}] | 400",
                "'fromTemplate':'py','steps':[{'type':'COPY','args':['a']}] | 400",
                "'fromTemplate':'py','steps':[{'type':'COPY','args':['a','b']}] | 400",
                "'fromTemplate':'py','steps':[{'type':'COPY','args':['a','b'],'filesHash':'../x'}] | 400",
                "'fromTemplate':'py','steps':[{'type':'ENV','args':['a']}] | 400",
                "'fromTemplate':'py','steps':[{'type':'RUN','args':[1]}] | 400",
                "'fromImage':'debian','fromImageRegistry':{'type':'aws'} | 400",
                "'fromImage':'A B' | 400",
            })
    void order_that_is_wrong_is_refused_before_it_begins(String order, int status) {
        String build = announce(admin, "wrong", "");
        Answer refused = start(admin, "wrong", build, order);
        require(status, refused);
        assertThat(refused.json().path("code").intValue()).isEqualTo(status);
        assertThat(refused.json().path("message").stringValue()).isNotBlank();
        assertThat(status(admin, "wrong", build).path("status").stringValue()).isEqualTo("waiting");
    }

    @ParameterizedTest
    @CsvSource({
        "a/b, 400",
        "../a, 400",
        "a:b:c, 400",
        "a:, 400",
        "ws-x-state, 202",
    })
    void name_is_a_snapshots(String name, int status) {
        require(status, admin.post("/v3/templates", "{'name':'" + name + "'}"));
    }

    @Test
    void build_is_started_once_and_known_to_its_template_alone() {
        String build = announce(admin, "once", "");
        require(404, start(admin, "another", build, "'fromTemplate':'py'"));
        require(202, start(admin, "once", build, "'fromTemplate':'py'"));
        require(400, start(admin, "once", build, "'fromTemplate':'py'"));
        ready(await(admin, "once", build));
        require(404, admin.get("/templates/once/builds/" + "0".repeat(36) + "/status"));
    }

    @Test
    void builds_that_nobody_starts_are_forgotten_and_not_many_are_kept() {
        String first = announce(admin, "many", "");
        for (int i = 0; i < 40; i++) {
            announce(admin, "many", "");
        }
        require(404, admin.get("/templates/many/builds/" + first + "/status"));
        assertThat(admin.get("/templates/many").status()).isEqualTo(404);
    }

    // --- files ---

    @Test
    void archive_is_sent_by_who_has_the_address_and_once() {
        announce(admin, "files", "");
        Answer asked = admin.get("/templates/files/files/" + HASH);
        require(201, asked);
        assertThat(asked.json().path("present").booleanValue()).isFalse();
        String url = asked.json().path("url").stringValue();
        String target = url.substring(url.indexOf("/templates/"));
        byte[] bytes = "no archive".getBytes(StandardCharsets.UTF_8);
        E2bClient nobody = client("X-Nothing", "1");
        require(403, nobody.send("PUT", target.replaceFirst("signature=.", "signature=x"), "a/b", bytes));
        require(403, nobody.send("PUT", target.replace(HASH, "cd".repeat(32)), "a/b", bytes));
        require(403, nobody.send("PUT", target.replace("owner=", "owner=alice"), "a/b", bytes));
        require(200, nobody.send("PUT", target, "a/b", bytes));
        assertThat(admin.get("/templates/files/files/" + HASH)
                        .json()
                        .path("present")
                        .booleanValue())
                .isTrue();
        require(400, admin.get("/templates/files/files/..%2f" + HASH));
        require(404, admin.get("/templates/nothing/files/" + HASH));
        E2bClient alice = caller("alice", Role.USER, Quotas.NONE);
        announce(alice, "hers", "");
        assertThat(alice.get("/templates/hers/files/" + HASH)
                        .json()
                        .path("present")
                        .booleanValue())
                .isFalse();
        guarded.close();
        assertThat(files(service.beside().dataDirectory().resolve("e2b")))
                .noneMatch(name -> name.startsWith("uploads"));
        guarded = Daemon.start(service.beside(), service.options(Optional.of(file)));
    }

    @Test
    void copy_needs_its_archive_and_a_shell() {
        String from = shell(admin);
        String step = "'steps':[{'type':'COPY','args':['a','/b','',''],'filesHash':'" + HASH + "'}]";
        assertThat(why(build(admin, "copied", "'fromTemplate':'" + from + "'," + step), "1"))
                .contains("its files were not sent");
        assertThat(why(build(admin, "copied", "'fromTemplate':'py','steps':[{'type':'RUN','args':['true']}]"), "1"))
                .isEqualTo("the image has neither /bin/bash nor /bin/sh, by which commands are run");
    }

    // --- whose they are ---

    @Test
    void templates_of_a_user_are_its_own() {
        shell(admin);
        E2bClient alice = caller("alice", Role.USER, Quotas.NONE);
        E2bClient bob = caller("bob", Role.USER, Quotas.NONE);
        ready(build(alice, "hers", "'fromTemplate':'sh'"));
        require(200, alice.get("/templates/aliases/hers"));
        require(403, bob.get("/templates/aliases/hers"));
        require(404, bob.get("/templates/aliases/nothing"));
        require(404, bob.get("/templates/hers"));
        require(404, bob.get("/templates/hers/tags"));
        require(404, bob.delete("/templates/hers"));
        require(404, bob.post("/v2/sandboxes", "{'templateID':'hers'}"));
        require(403, bob.post("/v3/templates", "{'name':'hers'}"));
        require(403, bob.post("/v3/templates", "{'name':'py'}")); // It is for all.
        require(403, bob.post("/v3/templates", "{'name':'ws-x-state'}"));
        String build = announce(bob, "his", "");
        require(404, start(bob, "his", build, "'fromTemplate':'hers'"));
        require(403, start(bob, "his", build, "'fromImage':'localhost:1/a'"));
        require(404, alice.get("/templates/his/builds/" + build + "/status"));
        require(404, start(alice, "his", build, "'fromTemplate':'py'"));
        assertThat(service.beside()
                        .store()
                        .read(new SnapshotTag("hers"))
                        .manifest()
                        .owner())
                .contains("alice");
        assertThat(bob.get("/v2/templates").text()).doesNotContain("hers");
        assertThat(alice.get("/templates").text()).contains("hers").contains("\"py\"");
        require(403, bob.delete("/templates/py"));
        E2bClient reader = caller("looker", Role.READ, Quotas.NONE);
        require(403, reader.post("/v3/templates", "{'name':'x'}"));
        assertThat(reader.get("/templates").text()).contains("hers");
        require(204, alice.delete("/templates/hers"));
    }

    @Test
    void build_of_a_user_is_ended_by_no_build_of_another() {
        E2bClient alice = caller("alice", Role.USER, Quotas.NONE);
        E2bClient bob = caller("bob", Role.USER, Quotas.NONE);
        String order = "'fromTemplate':'" + shell(admin) + "','steps':[{'type':'RUN','args':['sleep 1000']}]";
        String hers = announce(alice, "contested", ",'tags':['default','v1']");
        require(202, start(alice, "contested", hers, order));
        for (String name : List.of("contested", "contested:v1")) {
            Answer refused = start(bob, "contested", announce(bob, name, ""), order);
            require(403, refused);
            assertThat(refused.text()).contains("is not yours");
        }
        assertThat(status(alice, "contested", hers).path("status").stringValue())
                .isIn("waiting", "building");
        require(202, start(admin, "contested", announce(admin, "contested", ""), order));
        assertThat(await(alice, "contested", hers)
                        .path("reason")
                        .path("message")
                        .stringValue())
                .contains("another build");
        require(204, admin.delete("/templates/contested"));
    }

    @Test
    void quotas_are_those_of_all_snapshots_and_sandboxes() {
        shell(admin);
        OptionalLong none = OptionalLong.empty();
        E2bClient one = caller("one", Role.USER, new Quotas(none, none, OptionalLong.of(1)));
        ready(build(one, "first", "'fromTemplate':'sh'"));
        ready(build(one, "first", "'fromTemplate':'sh'")); // In its place.
        assertThat(why(build(one, "second", "'fromTemplate':'sh'"), "base")).contains("quota of one is reached");
        E2bClient small = caller("small", Role.USER, new Quotas(none, OptionalLong.of(32), none));
        assertThat(why(build(small, "third", "'fromTemplate':'sh'"), "base")).contains("MiB of memory");
    }

    // --- tags and snapshots ---

    @Test
    void tags_are_snapshots_of_their_own() {
        shell(admin);
        String build = announce(admin, "tagged:v1", ",'tags':['v2']");
        require(202, start(admin, "tagged", build, "'fromTemplate':'sh','steps':[{'type':'ENV','args':['A','7']}]"));
        ready(await(admin, "tagged", build));
        require(404, admin.post("/v2/sandboxes", "{'templateID':'tagged'}"));
        JsonNode sandbox = create(admin, "tagged:v2");
        assertThat(in(sandbox).run("echo $A")).isEqualTo("7\n");
        kill(admin, sandbox);
        Answer assigned = admin.post("/templates/tags", "{'target':'tagged:v1','tags':['default','stable']}");
        require(201, assigned);
        assertThat(assigned.json().path("buildID").stringValue()).isEqualTo(build);
        kill(admin, create(admin, "tagged"));
        kill(admin, create(admin, "tagged:default"));
        JsonNode tags = admin.get("/templates/tagged/tags").json();
        assertThat(tags.valueStream().map(each -> each.path("tag").stringValue()))
                .containsExactlyInAnyOrder("default", "stable", "v1", "v2");
        assertThat(tags.valueStream().map(each -> each.path("buildID").stringValue()))
                .containsOnly(build);
        require(204, admin.ask("DELETE", "/templates/tags", "{'name':'tagged','tags':['v1','stable']}"));
        require(404, admin.ask("DELETE", "/templates/tags", "{'name':'tagged','tags':['v1']}"));
        require(404, admin.post("/templates/tags", "{'target':'tagged:v1','tags':['v3']}"));
        assertThat(admin.get("/templates/tagged").json().path("builds")).hasSize(1);
        require(204, admin.delete("/templates/tagged"));
        assertThat(service.beside().store().list())
                .noneMatch(entry -> entry.tag().startsWith("tagged"));
    }

    @Test
    void snapshot_of_a_sandbox_is_a_template_that_is_listed_and_deleted() {
        JsonNode sandbox = create(admin, "py");
        assertThat(in(sandbox).file("/note", "before").status()).isEqualTo(200);
        String path = "/sandboxes/" + id(sandbox) + "/snapshots";
        Answer named = admin.post(path, "{'name':'snap:v1'}");
        require(201, named);
        assertThat(named.json().path("snapshotID").stringValue()).isEqualTo("snap:v1");
        assertThat(named.json().path("names").get(0).stringValue()).isEqualTo("snap");
        Answer unnamed = admin.post(path, "{}");
        require(201, unnamed);
        assertThat(unnamed.json().path("names")).isEmpty();
        assertThat(in(sandbox).file("/note", "after").status()).isEqualTo(200);
        JsonNode child = create(admin, "snap:v1");
        assertThat(in(child).read("/note")).isEqualTo("before");
        JsonNode listed = admin.get("/snapshots?sandboxID=" + id(sandbox)).json();
        assertThat(listed).hasSize(2);
        assertThat(admin.get("/snapshots?sandboxID=" + id(child)).json()).isEmpty();
        assertThat(admin.get("/snapshots?name=snap").json()).hasSize(1);
        assertThat(admin.get("/snapshots?limit=1").json()).hasSize(1);
        assertThat(admin.get("/templates").text()).doesNotContain("snap:v1");
        // A snapshot of what is made of it is another's.
        require(201, admin.post("/sandboxes/" + id(child) + "/snapshots", "{'name':'snap:v1'}"));
        assertThat(admin.get("/snapshots?sandboxID=" + id(sandbox)).json()).hasSize(1);
        require(400, admin.post(path, "{'memory':false}"));
        require(400, admin.post(path, "{'name':'a/b'}"));
        require(404, admin.post("/sandboxes/sb" + "0".repeat(16) + "/snapshots", "{}"));
        require(204, admin.delete("/templates/snap:v1"));
        require(404, admin.delete("/templates/snap:v1"));
        require(
                204,
                admin.delete("/templates/" + unnamed.json().path("snapshotID").stringValue()));
        E2bClient alice = caller("alice", Role.USER, Quotas.NONE);
        require(404, alice.post(path, "{}"));
        require(204, admin.post("/sandboxes/" + id(sandbox) + "/pause", "{}"));
        require(409, admin.post(path, "{}"));
        kill(admin, sandbox);
        assertThat(in(child).read("/note")).isEqualTo("before"); // Deletion ends nobody.
        kill(admin, child);
    }
}
