package io.forkd.daemon;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.forkd.ForkdException;
import io.forkd.Json;
import io.forkd.Limits;
import io.forkd.daemon.Api.Answer;
import io.forkd.engine.Engine;
import io.forkd.engine.NetworkRequest;
import io.forkd.engine.SpawnRequest;
import io.forkd.engine.VolumeConflict;
import io.forkd.sandbox.Sandbox;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ObjectNode;

/** {@code /v1/workspaces}: no failure and no crash loses what was done in one. */
class WorkspacesApiTest {
    @RegisterExtension
    static final Service service = new Service();

    private static Answer create(String name) {
        return service.api().post("/v1/workspaces", "{'name':'" + name + "','snapshot_tag':'py'}");
    }

    private static String made(String name) {
        Answer made = create(name);
        assertThat(made.status()).as(made.text()).isEqualTo(201);
        return made.text("live_sandbox_id");
    }

    private static Answer get(String name) {
        return service.api().get("/v1/workspaces/" + name);
    }

    private static Answer suspend(String name) {
        return service.api().post("/v1/workspaces/" + name + "/suspend", "{}");
    }

    private static String suspended(String name) {
        Answer answer = suspend(name);
        assertThat(answer.status()).as(answer.text()).isEqualTo(200);
        return answer.text("current_state_tag");
    }

    private static Answer resume(String name) {
        return service.api().post("/v1/workspaces/" + name + "/resume");
    }

    private static String resumed(String name) {
        Answer answer = resume(name);
        assertThat(answer.status()).as(answer.text()).isEqualTo(200);
        return answer.text("live_sandbox_id");
    }

    @Test
    void workspace_sleeps_and_wakes_with_what_was_done_in_it() {
        Answer made = create("w");
        assertThat(made.status()).as(made.text()).isEqualTo(201);
        assertThat(made.json().propertyNames())
                .containsExactlyInAnyOrder(
                        "id",
                        "name",
                        "source_snapshot_tag",
                        "status",
                        "created_at_unix",
                        "last_active_unix",
                        "live_sandbox_id");
        String id = made.text("live_sandbox_id");
        assertThat(made.text("id")).isEqualTo("ws-" + id.substring(0, 16));
        assertThat(made.text("status")).isEqualTo("running");
        assertThat(made.text("source_snapshot_tag")).isEqualTo("py");
        assertThat(get("w").json()).isEqualTo(made.json());
        assertThat(service.api().get("/v1/workspaces").json().get(0)).isEqualTo(made.json());
        service.exec(id, "set", "colour", "red");
        Answer asleep = suspend("w");
        assertThat(asleep.status()).as(asleep.text()).isEqualTo(200);
        assertThat(asleep.text("status")).isEqualTo("suspended");
        assertThat(asleep.text("current_state_tag")).isEqualTo("ws-w-state");
        assertThat(asleep.json().has("live_sandbox_id")).isFalse();
        assertThat(service.listed("ws-w-state").orElseThrow().has("pause_ms")).isTrue();
        assertThat(service.ids()).isEmpty();
        String next = resumed("w");
        assertThat(next).isNotEqualTo(id);
        assertThat(service.exec(next, "get", "colour")).isEqualTo("red");
        assertThat(get("w").text("id")).isEqualTo(made.text("id"));
        service.exec(next, "set", "colour", "blue");
        suspended("w");
        assertThat(service.exec(resumed("w"), "get", "colour")).isEqualTo("blue");
        assertThat(service.api().delete("/v1/workspaces/w").status()).isEqualTo(204);
        assertThat(service.ids()).isEmpty();
        assertThat(service.status("ws-w-state")).isEqualTo("none");
        assertThat(service.status("py")).isEqualTo("ready");
        assertThat(get("w").status()).isEqualTo(404);
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "{'name':'a b','snapshot_tag':'c d'}                        | 400 | a b",
                "{'name':'a','snapshot_tag':'c d'}                          | 400 | c d",
                "{'name':'taken','snapshot_tag':'nope'}                     | 409 | taken",
                "{'name':'a','snapshot_tag':'nope'}                         | 404 | nope",
                "{'name':'a','snapshot_tag':'py','per_child_netns':true}    | 500 | FORKD_NET_RANGE",
                "{'name':'a','snapshot_tag':'py','memory_limit_mib':0}      | 400 | memory_limit_mib",
                "{'name':'a'}                                               | 422 | snapshot_tag",
            })
    void wrong_request_makes_none(String body, int status, String error) {
        made("taken");
        Answer refused = service.api().post("/v1/workspaces", body);
        assertThat(refused.status()).as(refused.text()).isEqualTo(status);
        assertThat(refused.error()).contains(error);
        assertThat(service.api().get("/v1/workspaces").json()).hasSize(1);
        assertThat(service.ids()).hasSize(1);
    }

    @ParameterizedTest
    @ValueSource(strings = {"nope", "a%20b", "..%2Fa"})
    void one_that_is_not_there(String name) {
        assertThat(get(name).status()).isEqualTo(404);
        assertThat(suspend(name).status()).isEqualTo(404);
        assertThat(resume(name).status()).isEqualTo(404);
        assertThat(service.api().delete("/v1/workspaces/" + name).status()).isEqualTo(404);
    }

    @Test
    void what_is_asked_of_the_wrong_state() {
        made("w");
        assertThat(resume("w").status()).isEqualTo(400);
        suspended("w");
        assertThat(suspend("w").status()).isEqualTo(400);
        assertThat(service.api().post("/v1/workspaces/w/suspend").status()).isEqualTo(415);
        assertThat(service.api().post("/v1/workspaces/w/suspend", "{'diff':1}").status())
                .isEqualTo(422);
    }

    @Test
    void one_whose_sandbox_has_ended_is_stale_and_can_be_resumed() {
        String id = made("w");
        service.exec(id, "set", "colour", "red");
        suspended("w");
        assertThat(service.api().delete("/v1/sandboxes/" + resumed("w")).status())
                .isEqualTo(204);
        Answer stale = get("w");
        assertThat(stale.text("status")).isEqualTo("stale");
        assertThat(stale.json().has("live_sandbox_id")).isFalse();
        assertThat(suspend("w").status()).isEqualTo(404);
        service.restart();
        assertThat(get("w").text("status")).isEqualTo("stale");
        assertThat(suspend("w").status()).isEqualTo(400);
        assertThat(service.exec(resumed("w"), "get", "colour")).isEqualTo("red");
    }

    @Test
    void name_may_be_as_long_as_a_tag() {
        String name = "n".repeat(64);
        String other = "n".repeat(63) + "m";
        service.exec(made(name), "set", "colour", "red");
        made(other);
        String tag = suspended(name);
        assertThat(tag).startsWith("ws-n").endsWith("-state").hasSize(64);
        assertThat(suspended(other)).isNotEqualTo(tag);
        assertThat(service.exec(resumed(name), "get", "colour")).isEqualTo("red");
    }

    @Test
    void snapshot_of_somebody_else_is_neither_replaced_nor_removed() {
        String id = made("w");
        service.branch(service.sandbox(), "ws-w-state");
        JsonNode theirs = service.listed("ws-w-state").orElseThrow();
        Answer refused = suspend("w");
        assertThat(refused.status()).isEqualTo(409);
        assertThat(refused.error()).contains("ws-w-state");
        assertThat(service.exec(id, "echo", "alive")).isEqualTo("alive");
        assertThat(service.api().delete("/v1/workspaces/w").status()).isEqualTo(204);
        assertThat(service.listed("ws-w-state")).contains(theirs);
        service.api().delete("/v1/snapshots/ws-w-state");
    }

    @Test
    void suspend_that_fails_loses_neither_sandbox_nor_state() throws IOException, InterruptedException {
        service.exec(made("w"), "set", "colour", "red");
        suspended("w");
        String id = resumed("w");
        service.exec(id, "set", "colour", "blue");
        long pid = service.api().get("/v1/sandboxes/" + id).json().path("pid").longValue();
        Service.signal("STOP", pid);
        assertThat(suspend("w").status()).isEqualTo(500);
        Service.signal("CONT", pid);
        assertThat(get("w").text("status")).isEqualTo("running");
        assertThat(service.exec(id, "get", "colour")).isEqualTo("blue");
        String earlier = service.sandbox("ws-w-state");
        assertThat(service.exec(earlier, "get", "colour")).isEqualTo("red");
        suspended("w");
        assertThat(service.exec(resumed("w"), "get", "colour")).isEqualTo("blue");
    }

    @Test
    void one_name_is_one_workspace_whoever_asks_at_once() throws InterruptedException {
        List<Integer> made = Together.of(4, n -> create("w").status());
        assertThat(made).contains(201).isSubsetOf(201, 409);
        assertThat(service.ids()).hasSize(1);
        List<Integer> slept = Together.of(4, n -> suspend("w").status());
        assertThat(slept).contains(200).isSubsetOf(200, 400, 409);
        assertThat(service.ids()).isEmpty();
        List<Integer> woken = Together.of(4, n -> resume("w").status());
        assertThat(woken).contains(200).isSubsetOf(200, 400, 409);
        assertThat(service.ids()).hasSize(1);
        List<Integer> deleted =
                Together.of(4, n -> service.api().delete("/v1/workspaces/w").status());
        assertThat(deleted).contains(204).isSubsetOf(204, 404, 409);
        assertThat(service.ids()).isEmpty();
    }

    @Test
    void restart_keeps_running_and_suspended() {
        String id = made("runs");
        made("sleeps");
        suspended("sleeps");
        List<JsonNode> before =
                service.api().get("/v1/workspaces").json().valueStream().toList();
        service.restart();
        assertThat(service.api().get("/v1/workspaces").json().valueStream()).containsExactlyElementsOf(before);
        assertThat(service.ids()).containsExactly(id);
        resumed("sleeps");
        suspended("runs");
    }

    /** A daemon that was killed between the making of a sandbox and the writing down of its workspace. */
    @Test
    void sandbox_that_nobody_wrote_down_is_found_by_what_it_tells() throws IOException {
        Path state = service.state();
        made("first");
        byte[] before = Files.readAllBytes(state);
        String id = made("second");
        service.stop();
        Files.write(state, before);
        service.start();
        assertThat(get("second").text("live_sandbox_id")).isEqualTo(id);
        assertThat(get("second").text("id")).isEqualTo("ws-" + id.substring(0, 16));
        suspended("second");
        byte[] asleep = Files.readAllBytes(state);
        String next = resumed("second");
        service.stop();
        Files.write(state, asleep);
        service.start();
        assertThat(get("second").text("status")).isEqualTo("running");
        assertThat(get("second").text("live_sandbox_id")).isEqualTo(next);
        assertThat(service.api().get("/v1/workspaces").json()).hasSize(2);
    }

    /** One that was killed between the writing down and the end of a sandbox. */
    @Test
    void what_was_written_down_and_not_done_is_done() throws IOException {
        String asleep = made("asleep");
        made("deleted");
        service.exec(asleep, "set", "colour", "red");
        service.branch(asleep, "ws-asleep-state");
        service.stop();
        ObjectNode state = (ObjectNode) Json.parse(Files.readAllBytes(service.state()));
        ObjectNode workspaces = (ObjectNode) state.path("workspaces");
        ((ObjectNode) workspaces.path("asleep")).put("status", "suspended").put("current_state_tag", "ws-asleep-state");
        ((ObjectNode) workspaces.path("deleted")).put("status", "deleted");
        Files.write(service.state(), Json.bytes(state));
        service.start();
        assertThat(service.ids()).isEmpty();
        assertThat(get("deleted").status()).isEqualTo(404);
        assertThat(service.exec(resumed("asleep"), "get", "colour")).isEqualTo("red");
    }

    @Test
    void sandboxes_of_others_are_no_workspaces() throws IOException {
        Engine beside = service.beside();
        Sandbox theirs = beside.spawn(
                        new SpawnRequest(service.tag("py"), 1, NetworkRequest.OF_HOST, Limits.NONE, VolumeConflict.FAIL)
                                .ownedBy("not even JSON"),
                        Service.call())
                .get(0);
        assertThat(Sandbox.owner(theirs.directory())).hasContent("not even JSON");
        service.restart();
        assertThat(service.api().get("/v1/workspaces").json()).isEmpty();
        assertThat(service.ids()).containsExactly(theirs.id());
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "                                               | damaged",
                "{                                              | damaged",
                "[]                                             | damaged",
                "{'workspaces':[]}                              | damaged",
                "{'workspaces':{'w':{}}}                        | damaged",
                "{'workspaces':{'w':{'id':'i','name':'../w'}}}  | damaged",
                "{'version':2,'workspaces':{}}                  | newer version",
            })
    void state_file_that_is_not_understood_is_left_alone(String content, String error) throws IOException {
        made("w");
        service.stop();
        byte[] before = Files.readAllBytes(service.state());
        String text = content == null ? "" : content.replace('\'', '"');
        Files.writeString(service.state(), text);
        assertThatThrownBy(service::start)
                .isInstanceOf(ForkdException.class)
                .hasMessageContaining(service.state().toString())
                .hasMessageContaining(error);
        assertThat(service.state()).hasContent(text);
        Files.write(service.state(), before);
        service.start();
        assertThat(get("w").text("status")).isEqualTo("running");
    }

    @Test
    void state_file_is_one_daemons() {
        assertThatThrownBy(() -> Daemon.start(service.beside(), service.options(Optional.empty())))
                .isInstanceOf(ForkdException.class)
                .hasMessageContaining("another daemon has the state file");
    }

    @Test
    void disk_that_is_full_or_read_only_makes_no_workspace_and_loses_none() throws IOException, InterruptedException {
        Path small = Files.createDirectory(service.directory().resolve("small"));
        mount("-t", "tmpfs", "-o", "size=64k", "none", small.toString());
        Path before = service.state();
        try {
            service.stop();
            service.keepStateIn(small.resolve("state.json"));
            service.start();
            String id = made("w");
            Path filler = small.resolve("filler");
            fill(filler);
            refuses("No space left");
            Files.delete(filler);
            mount("-t", "tmpfs", "-o", "ro", "none", small.toString());
            refuses("Read-only");
            assertThat(suspend("w").status()).isEqualTo(500);
            assertThat(get("w").text("status")).isEqualTo("running");
            assertThat(service.ids()).containsExactly(id);
            assertThat(service.exec(id, "echo", "well")).isEqualTo("well");
            unmount(small);
            suspended("w");
            service.restart();
            assertThat(get("w").text("status")).isEqualTo("suspended");
            resumed("w");
            assertThat(service.api().delete("/v1/workspaces/w").status()).isEqualTo(204);
        } finally {
            service.stop();
            unmount(small);
            service.keepStateIn(before);
            service.start();
        }
    }

    private static void refuses(String why) {
        List<String> before = service.ids();
        Answer refused = create("other");
        assertThat(refused.status()).isEqualTo(500);
        assertThat(refused.error()).contains(why);
        assertThat(service.ids()).isEqualTo(before);
        assertThat(service.api().delete("/v1/workspaces/w").status()).isEqualTo(500);
        assertThat(get("w").text("status")).isEqualTo("running");
        assertThat(service.ids()).isEqualTo(before);
    }

    private static void fill(Path file) throws IOException {
        try (OutputStream out = Files.newOutputStream(file)) {
            byte[] page = new byte[4096];
            while (true) {
                out.write(page);
            }
        } catch (IOException e) {
            assertThat(e).hasMessageContaining("No space");
        }
    }

    private static void unmount(Path directory) throws IOException, InterruptedException {
        assertThat(new ProcessBuilder("umount", "-l", directory.toString())
                        .start()
                        .waitFor())
                .isZero();
    }

    private static void mount(String... arguments) throws IOException, InterruptedException {
        List<String> command = new ArrayList<>(List.of("mount"));
        command.addAll(List.of(arguments));
        assertThat(new ProcessBuilder(command).inheritIO().start().waitFor()).isZero();
    }
}
