package io.forkd.daemon;

import static org.assertj.core.api.Assertions.assertThat;

import io.forkd.Json;
import io.forkd.daemon.Api.Answer;
import io.forkd.engine.AgentSnapshot;
import io.forkd.engine.Engine;
import io.forkd.vmm.Guests;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.function.Consumer;
import java.util.regex.Pattern;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ObjectNode;

/** {@code /v1/snapshots}: each check in its order, each status, each field. */
class SnapshotsApiTest {
    @RegisterExtension
    static final Service service = new Service();

    private static Path kernel;
    private static Path rootfs;

    @BeforeAll
    static void start() throws IOException, InterruptedException {
        kernel = Guests.compile("agent", service.directory());
        rootfs = service.directory().resolve("disk.ext4");
    }

    private static Answer create(String tag, Path itsKernel, Path itsRootfs, String more) {
        return service.api()
                .post(
                        "/v1/snapshots",
                        "{'tag':'" + tag + "','kernel':'" + itsKernel + "','rootfs':'" + itsRootfs + "'" + more + "}");
    }

    @Test
    void booted_one_has_what_it_is_and_nothing_of_branches() {
        Answer made = create("booted", kernel, rootfs, ",'boot_wait_secs':60,'unknown':1");
        assertThat(made.status()).as(made.text()).isEqualTo(201);
        assertThat(made.json().propertyNames())
                .containsExactlyInAnyOrder("tag", "dir", "created_at_unix", "status", "bootable");
        assertThat(made.text("status")).isEqualTo("ready");
        assertThat(made.json().path("bootable").booleanValue()).isTrue();
        assertThat(made.text("dir"))
                .isEqualTo(service.snapshots().resolve("booted").toString());
        assertThat(service.listed("booted")).contains(made.json());
        assertThat(service.exec(service.sandbox("booted"), "echo", "hello")).isEqualTo("hello");
        assertThat(create("booted", kernel, rootfs, "").status()).isEqualTo(400);
    }

    @Test
    void checks_of_a_boot_have_an_order() {
        Path none = Path.of("/nowhere");
        String late = ",'boot_wait_secs':86401";
        assertThat(create("no/tag", none, none, late).error()).contains("tag");
        assertThat(create("py", none, none, late).error()).contains("kernel /nowhere");
        assertThat(create("py", kernel, none, late).error()).contains("rootfs /nowhere");
        assertThat(create("py", kernel, service.directory(), late).error()).contains("rootfs " + service.directory());
        assertThat(create("py", kernel, rootfs, late).error()).contains("boot_wait_secs");
        assertThat(create("py", kernel, rootfs, "").error()).contains("py exists");
        for (Answer refused : List.of(
                create("no/tag", none, none, late),
                create("py", none, none, late),
                create("py", kernel, none, late),
                create("py", kernel, rootfs, late),
                create("py", kernel, rootfs, ""))) {
            assertThat(refused.status()).isEqualTo(400);
        }
    }

    @Test
    void warm_up_that_is_too_long_is_a_wrong_request() {
        assertThat(create("long", kernel, rootfs, ",'memory_mib':64,'warm':'" + "x".repeat(4000) + "'")
                        .status())
                .isEqualTo(400);
        assertThat(service.status("long")).isEqualTo("none");
    }

    @Test
    void boot_that_fails_leaves_nothing() {
        Answer failed = create("failed", rootfs, rootfs, "");
        assertThat(failed.status()).isEqualTo(500);
        assertThat(service.status("failed")).isEqualTo("none");
        assertThat(service.snapshots().resolve("failed")).doesNotExist();
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "{'tag':'a'}                                     | 422",
                "{'tag':1,'kernel':'/k','rootfs':'/r'}           | 422",
                "{'tag':'a','kernel':'/k','rootfs':'/r','rw':1}  | 422",
                "{'tag':'a','kernel':'/k','rootfs':'/r','boot_wait_secs':-1} | 422",
                "{'tag':'a','kernel':'/k','rootfs':'/r','size_mib':'x'} | 422",
                "{'tag':'a','kernel':'/k','rootfs':'/r','packages':1} | 422",
                "[]                                              | 422",
                "{'tag':                                         | 400",
            })
    void body_of_a_boot_is_checked_first(String body, int status) {
        assertThat(service.api().post("/v1/snapshots", body).status()).isEqualTo(status);
    }

    @Test
    void listing_has_each_folder_once_by_tag_and_says_what_is_wrong_with_it() throws IOException {
        Path root = service.snapshots();
        Files.createDirectories(root.resolve("b-empty"));
        Files.createDirectories(root.resolve("no tag"));
        Files.createDirectories(root.resolve("a-damaged"));
        Files.writeString(root.resolve("a-damaged/snapshot.json"), "{");
        Files.writeString(root.resolve("a-file"), "");
        List<JsonNode> all =
                service.api().get("/v1/snapshots").json().valueStream().toList();
        assertThat(all.stream().map(each -> each.path("tag").stringValue()))
                .containsExactly("a-damaged", "b-empty", "py");
        for (JsonNode broken : all.subList(0, 2)) {
            assertThat(broken.path("status").stringValue()).isEqualTo("failed");
            assertThat(broken.path("bootable").booleanValue()).isFalse();
            assertThat(broken.path("warning").stringValue())
                    .contains(root.resolve(broken.path("tag").stringValue()).toString());
        }
        assertThat(service.api()
                        .post("/v1/sandboxes", "{'snapshot_tag':'a-damaged'}")
                        .status())
                .isEqualTo(409);
        assertThat(service.api()
                        .post("/v1/sandboxes", "{'snapshot_tag':'b-empty'}")
                        .status())
                .isEqualTo(409);
        assertThat(service.api()
                        .post("/v1/sandboxes", "{'snapshot_tag':'a-file'}")
                        .status())
                .isEqualTo(404);
        Files.delete(root.resolve("a-file"));
        Files.delete(root.resolve("no tag"));
        assertThat(service.api().delete("/v1/snapshots/b-empty").status()).isEqualTo(204);
        assertThat(service.api().delete("/v1/snapshots/a-damaged").status()).isEqualTo(204);
    }

    @ParameterizedTest
    @ValueSource(strings = {"vmstate", "memory.bin", "disk"})
    void file_that_is_missing_makes_it_failed_and_is_named(String file) throws IOException {
        Path other = service.directory().resolve("other.ext4");
        Files.copy(rootfs, other, StandardCopyOption.REPLACE_EXISTING);
        assertThat(create("lossy", kernel, other, ",'boot_wait_secs':60").status())
                .isEqualTo(201);
        Path gone = file.equals("disk")
                ? other
                : service.snapshots().resolve("lossy").resolve(file);
        Files.delete(gone);
        JsonNode listed = service.listed("lossy").orElseThrow();
        assertThat(listed.path("status").stringValue()).isEqualTo("failed");
        assertThat(listed.path("bootable").booleanValue()).isFalse();
        assertThat(listed.path("warning").stringValue()).contains(gone.toString());
        Answer refused = service.api().post("/v1/sandboxes", "{'snapshot_tag':'lossy'}");
        assertThat(refused.status()).isEqualTo(409);
        assertThat(refused.error()).contains("lossy", gone.toString());
    }

    /** A chain py - one - two, of differences. */
    private static void chain() {
        String id = service.sandbox();
        assertThat(service.api()
                        .post("/v1/sandboxes/" + id + "/branch", "{'tag':'one','mode':'diff'}")
                        .status())
                .isEqualTo(201);
        String next = service.sandbox("one");
        assertThat(service.api()
                        .post("/v1/sandboxes/" + next + "/branch", "{'tag':'two','mode':'diff'}")
                        .status())
                .isEqualTo(201);
    }

    @Test
    void info_has_the_chain() {
        chain();
        JsonNode base = service.api().get("/v1/snapshots/py/info").json();
        assertThat(base.has("parent_tag")).isFalse();
        assertThat(base.has("parent_content_hash")).isFalse();
        assertThat(base.path("chain_depth").intValue()).isZero();
        assertThat(base.path("ancestors")).isEmpty();
        assertThat(base.path("dependents").toString()).isEqualTo("[\"one\"]");
        assertThat(base.path("memory_logical_bytes").longValue()).isEqualTo(64L << 20);
        assertThat(base.path("memory_physical_bytes").longValue()).isPositive();
        assertThat(base.path("vmstate_bytes").longValue()).isPositive();
        JsonNode leaf = service.api().get("/v1/snapshots/two/info").json();
        assertThat(leaf.path("parent_tag").stringValue()).isEqualTo("one");
        assertThat(leaf.path("parent_content_hash").stringValue()).isNotEmpty();
        assertThat(leaf.path("chain_depth").intValue()).isEqualTo(2);
        assertThat(leaf.path("ancestors").toString()).isEqualTo("[\"py\",\"one\"]");
        assertThat(leaf.path("dependents")).isEmpty();
    }

    @Test
    void info_of_what_is_not_there_or_has_no_whole_chain_is_an_error() throws IOException {
        assertThat(service.api().get("/v1/snapshots/a%2Fb/info").status()).isEqualTo(400);
        assertThat(service.api().get("/v1/snapshots/nope/info").error()).isEqualTo("snapshot nope not found");
        chain();
        Path vmstate = service.snapshots().resolve("two/vmstate");
        Files.delete(vmstate);
        JsonNode without = service.api().get("/v1/snapshots/two/info").json();
        assertThat(without.path("vmstate_bytes").longValue()).isZero();
        assertThat(without.path("chain_depth").intValue()).isEqualTo(2);
        reparent("one", "two");
        assertThat(service.api().get("/v1/snapshots/two/info").status()).isEqualTo(500);
        reparent("one", "gone");
        Answer orphan = service.api().get("/v1/snapshots/two/info");
        assertThat(orphan.status()).isEqualTo(500);
        assertThat(orphan.error()).contains("gone");
    }

    private static void reparent(String tag, String parent) throws IOException {
        Path file = service.snapshots().resolve(tag).resolve("snapshot.json");
        ObjectNode manifest = (ObjectNode) Json.parse(Files.readAllBytes(file));
        Files.write(file, Json.bytes(manifest.put("parent_tag", parent)));
    }

    @Test
    void parent_is_removed_with_its_dependents_or_from_under_them_or_not() {
        chain();
        Answer refused = service.api().delete("/v1/snapshots/one");
        assertThat(refused.status()).isEqualTo(409);
        assertThat(refused.error()).contains("two", "cascade", "force");
        assertThat(service.api()
                        .delete("/v1/snapshots/one?cascade=true&force=true")
                        .status())
                .isEqualTo(400);
        assertThat(service.api().delete("/v1/snapshots/one?cascade=maybe").status())
                .isEqualTo(400);
        assertThat(service.api()
                        .delete("/v1/snapshots/no%21?cascade=true&force=true")
                        .error())
                .contains("tag");
        assertThat(service.api().delete("/v1/snapshots/one?force=true").status())
                .isEqualTo(204);
        assertThat(service.status("two")).isNotEqualTo("none");
        assertThat(service.api().post("/v1/sandboxes", "{'snapshot_tag':'two'}").status())
                .isEqualTo(500);
        assertThat(service.api().delete("/v1/snapshots/one").error()).isEqualTo("snapshot one not found");
        service.killAll();
        service.api().delete("/v1/snapshots/two");
        chain();
        assertThat(service.api()
                        .delete("/v1/snapshots/one?cascade=true&force=false")
                        .status())
                .isEqualTo(204);
        assertThat(service.status("one")).isEqualTo("none");
        assertThat(service.status("two")).isEqualTo("none");
    }

    @Test
    void sandboxes_of_what_is_removed_go_on() {
        String id = service.sandbox();
        service.branch(id, "short-lived");
        String other = service.sandbox("short-lived");
        assertThat(service.api().delete("/v1/snapshots/short-lived").status()).isEqualTo(204);
        assertThat(service.exec(other, "echo", "alive")).isEqualTo("alive");
        service.branch(other, "of-an-orphan");
        assertThat(service.exec(service.sandbox("of-an-orphan"), "echo", "alive"))
                .isEqualTo("alive");
    }

    @Test
    void compacted_one_is_alone_and_the_same() {
        String id = service.sandbox();
        service.exec(id, "set", "colour", "red");
        assertThat(service.api()
                        .post("/v1/sandboxes/" + id + "/branch", "{'tag':'layer','mode':'diff'}")
                        .status())
                .isEqualTo(201);
        Answer flat = service.api().post("/v1/snapshots/layer/compact", "{'to':'flat'}");
        assertThat(flat.status()).as(flat.text()).isEqualTo(200);
        assertThat(flat.json().propertyNames())
                .containsExactlyInAnyOrder("tag", "dir", "created_at_unix", "branched_from", "status", "bootable");
        assertThat(flat.text("branched_from")).isEqualTo("compact:layer");
        assertThat(service.api().delete("/v1/snapshots/layer").status()).isEqualTo(204);
        assertThat(service.exec(service.sandbox("flat"), "get", "colour")).isEqualTo("red");
        assertThat(service.api()
                        .post("/v1/snapshots/py/compact", "{'to':'copy'}")
                        .status())
                .isEqualTo(200);
        assertThat(service.exec(service.sandbox("copy"), "echo", "too")).isEqualTo("too");
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "a%2Fb  | {}              | 422",
                "a%2Fb  | {'to':'x'}      | 400",
                "py     | {'to':'a b'}    | 400",
                "py     | {'to':'py'}     | 400",
                "nope   | {'to':'py'}     | 409",
                "nope   | {'to':'x'}      | 404",
                "py     | {'to':null}     | 422",
            })
    void compaction_is_refused(String tag, String body, int status) {
        assertThat(service.api().post("/v1/snapshots/" + tag + "/compact", body).status())
                .isEqualTo(status);
    }

    @Test
    void tag_is_percent_decoded() {
        assertThat(service.api().get("/v1/snapshots/%70%79/info").text("tag")).isEqualTo("py");
        assertThat(service.api()
                        .get("/v1/snapshots/p%/info".replace("%/", "%25/"))
                        .status())
                .isEqualTo(400);
        assertThat(service.api().get("/v1/snapshots/..%2F..%2Fetc/info").status())
                .isEqualTo(400);
    }

    @Test
    void what_is_made_beside_it_is_seen_and_what_it_makes_is_seen_there() throws IOException, InterruptedException {
        Engine beside = service.beside();
        AgentSnapshot.make(beside, Files.createDirectory(service.directory().resolve("beside")), "dotted.name");
        assertThat(service.status("dotted.name")).isEqualTo("ready");
        assertThat(service.exec(service.sandbox("dotted.name"), "echo", "hello"))
                .isEqualTo("hello");
        beside.snapshots().remove(service.tag("dotted.name"), true);
        assertThat(service.status("dotted.name")).isEqualTo("none");
        service.branch(service.sandbox(), "made-here");
        assertThat(beside.store().open(service.tag("made-here")).tag().value()).isEqualTo("made-here");
    }

    @Test
    void two_that_remove_the_same_find_it_gone_at_worst() throws InterruptedException {
        for (int i = 0; i < 10; i++) {
            assertThat(service.api()
                            .post("/v1/snapshots/py/compact", "{'to':'twice'}")
                            .status())
                    .isEqualTo(200);
            List<Integer> statuses = Together.of(
                    4, n -> service.api().delete("/v1/snapshots/twice").status());
            assertThat(statuses).contains(204).isSubsetOf(204, 404);
        }
    }

    @Test
    void two_that_boot_the_same_tag_make_one() throws InterruptedException {
        List<Integer> statuses = Together.of(
                2, n -> create("same", kernel, rootfs, ",'boot_wait_secs':60").status());
        assertThat(statuses).contains(201).isSubsetOf(201, 400, 409);
        assertThat(service.status("same")).isEqualTo("ready");
    }

    @Test
    void list_does_not_mind_what_comes_and_goes() throws InterruptedException {
        List<Integer> statuses = Together.of(4, n -> {
            int worst = 200;
            for (int i = 0; i < 20; i++) {
                if (n == 0) {
                    service.api().post("/v1/snapshots/py/compact", "{'to':'fleeting'}");
                    service.api().delete("/v1/snapshots/fleeting");
                } else {
                    Answer all = service.api().get("/v1/snapshots");
                    worst = Math.max(worst, all.status());
                    assertThat(all.text()).doesNotContain("failed");
                }
            }
            return worst;
        });
        assertThat(statuses).containsOnly(200);
    }

    @Test
    void what_is_removed_while_it_is_made_and_used_fails_nobody_for_another_reason() throws InterruptedException {
        String source = service.sandbox();
        List<List<String>> failures = Together.of(4, n -> {
            List<String> wrong = new ArrayList<>();
            for (int i = 0; i < 100; i++) {
                Answer answer = switch (n) {
                    case 0 ->
                        service.api().post("/v1/sandboxes/" + source + "/branch", "{'tag':'contended','diff':true}");
                    case 1 -> service.api().post("/v1/sandboxes", "{'snapshot_tag':'contended'}");
                    case 2 -> service.api().post("/v1/snapshots/contended/compact", "{'to':'copy'}");
                    default -> service.api().delete("/v1/snapshots/contended?force=true");
                };
                if (answer.status() >= 500) {
                    wrong.add(answer.text());
                }
                if (n == 1 && answer.status() == 201) {
                    String id = answer.json().get(0).path("id").stringValue();
                    service.api().delete("/v1/sandboxes/" + id);
                }
            }
            return wrong;
        });
        assertThat(failures).allSatisfy(wrong -> assertThat(wrong).isEmpty());
    }

    /** A chain that has lost a link is another answer, whenever that was. */
    private static final Pattern ORPHAN = Pattern.compile(
            "the parent 'link' .*(there is no snapshot 'link'|is not what the snapshot 'leaf' was made of)"
                    + "|snapshot link, an ancestor of leaf, is unusable");

    @Test
    void parent_that_is_removed_while_children_are_made_fails_nobody_for_another_reason() throws InterruptedException {
        String source = service.sandbox();
        AtomicBoolean over = new AtomicBoolean();
        List<List<String>> failures = Together.of(7, n -> {
            List<Answer> answers = new ArrayList<>();
            for (int i = 0; n == 0 ? i < 15 : !over.get(); i++) {
                pause(n);
                switch (n) {
                    case 0 -> {
                        String branch = "/v1/sandboxes/" + source + "/branch";
                        answers.add(service.api().post(branch, "{'tag':'link','diff':true}"));
                        withSandbox("link", answers, id -> {
                            String leaf = "/v1/sandboxes/" + id + "/branch";
                            answers.add(service.api().post(leaf, "{'tag':'leaf','diff':true}"));
                        });
                        pause(5 * i);
                        answers.add(service.api().delete("/v1/snapshots/link?force=true"));
                        answers.add(service.api().delete("/v1/snapshots/leaf?force=true"));
                    }
                    case 1 -> {
                        pause(i * 37 % 400);
                        answers.add(service.api().delete("/v1/snapshots/link?force=true"));
                    }
                    case 2, 3 -> withSandbox("leaf", answers, id -> {});
                    case 4 -> withSandbox("link", answers, id -> {});
                    case 5 -> {
                        answers.add(service.api().post("/v1/snapshots/leaf/compact", "{'to':'flat'}"));
                        answers.add(service.api().delete("/v1/snapshots/flat"));
                    }
                    default -> {
                        answers.add(service.api().get("/v1/snapshots/link/info"));
                        answers.add(service.api().get("/v1/snapshots/leaf/info"));
                    }
                }
            }
            if (n == 0) {
                over.set(true);
            }
            return answers.stream()
                    .filter(answer -> answer.status() >= 500
                            && !ORPHAN.matcher(answer.error()).find())
                    .map(Answer::text)
                    .toList();
        });
        assertThat(failures).allSatisfy(wrong -> assertThat(wrong).isEmpty());
    }

    private static void pause(int ms) {
        try {
            Thread.sleep(ms);
        } catch (InterruptedException e) {
            throw new AssertionError(e);
        }
    }

    private static void withSandbox(String tag, List<Answer> answers, Consumer<String> use) {
        Answer made = service.api().post("/v1/sandboxes", "{'snapshot_tag':'" + tag + "'}");
        answers.add(made);
        if (made.status() == 201) {
            String id = made.json().get(0).path("id").stringValue();
            use.accept(id);
            answers.add(service.api().delete("/v1/sandboxes/" + id));
        }
    }

    @Test
    void tag_may_begin_with_a_dash() {
        service.branch(service.sandbox(), "-x");
        assertThat(service.status("-x")).isEqualTo("ready");
        assertThat(service.exec(service.sandbox("-x"), "echo", "hello")).isEqualTo("hello");
        assertThat(service.api().get("/v1/snapshots/-x/info").status()).isEqualTo(200);
        assertThat(service.api().delete("/v1/snapshots/-x").status()).isEqualTo(204);
    }

    @Test
    void utf8_is_no_tag() {
        byte[] body = "{\"tag\":\"ü\",\"kernel\":\"/k\",\"rootfs\":\"/r\"}".getBytes(StandardCharsets.UTF_8);
        assertThat(service.api().post("/v1/snapshots", body).status()).isEqualTo(400);
    }
}
