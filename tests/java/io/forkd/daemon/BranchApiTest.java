package io.forkd.daemon;

import static org.assertj.core.api.Assertions.assertThat;

import io.forkd.daemon.Api.Answer;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import tools.jackson.databind.JsonNode;

/** Branches over HTTP: their checks, which have an order, what is told of them, and those that are being written. */
class BranchApiTest {
    private static final int MEMORY_MIB = 512;

    @RegisterExtension
    static final Service service = new Service(MEMORY_MIB);

    private static Answer branch(String id, String body) {
        return service.api().post("/v1/sandboxes/" + id + "/branch", body);
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "{'tag':'a b','mode':'live','live':true}                 | 400 | tag",
                "{'tag':'py','mode':'live','live':true,'wait':false}     | 400 | mode",
                "{'tag':'py','mode':'full','diff':true}                  | 400 | mode",
                "{'tag':'py','diff':true,'live':true}                    | 400 | exclude",
                "{'tag':'py','mode':'diff','measure_diff':true}          | 400 | exclude",
                "{'tag':'py','mode':'live','measure_diff':true}          | 400 | exclude",
                "{'tag':'py','wait':false}                               | 400 | wait",
                "{'tag':'py','wait':false,'mode':'diff'}                 | 400 | wait",
                "{'tag':'py'}                                            | 409 | py exists",
                "{'tag':'new','parent_tag':'other'}                      | 404 | not found",
                "{}                                                      | 404 | not found",
                "{'mode':'sideways'}                                     | 422 | mode",
                "{'wait':1}                                              | 422 | wait",
            })
    void checks_before_the_sandbox_is_looked_for(String body, int status, String error) {
        Answer refused = branch("sb-00000000-00000000", body);
        assertThat(refused.status()).as(refused.text()).isEqualTo(status);
        assertThat(refused.error()).contains(error);
        assertThat(branch("no%2Fid", body).status()).isEqualTo(status);
    }

    @Test
    void checks_of_the_parent() {
        String id = service.sandbox();
        Answer other = branch(id, "{'tag':'new','parent_tag':'other'}");
        assertThat(other.status()).isEqualTo(400);
        assertThat(other.error()).contains("other", "py");
        Answer full = branch(id, "{'tag':'new','parent_tag':'py'}");
        assertThat(full.status()).isEqualTo(400);
        assertThat(full.error()).contains("diff");
        assertThat(branch(id, "{'tag':'new','parent_tag':'py','mode':'diff'}").status())
                .isEqualTo(201);
        assertThat(service.api().get("/v1/snapshots/new/info").text("parent_tag"))
                .isEqualTo("py");
    }

    @ParameterizedTest
    @ValueSource(strings = {"{}", "{'mode':'full'}", "{'mode':'live'}", "{'live':true}", "{'mode':null,'tag':null}"})
    void whole_one_says_what_it_is(String body) {
        String id = service.sandbox();
        Answer made = branch(id, body);
        assertThat(made.status()).as(made.text()).isEqualTo(201);
        assertThat(made.json().propertyNames())
                .containsExactlyInAnyOrder(
                        "tag",
                        "dir",
                        "created_at_unix",
                        "branched_from",
                        "pause_ms",
                        "pause_us",
                        "way",
                        "status",
                        "bootable");
        assertThat(made.text("tag")).matches("branch-" + id + "-[0-9]{10}-[0-9a-f]{4}");
        assertThat(made.text("branched_from")).isEqualTo(id);
        assertThat(made.text("status")).isEqualTo("ready");
        assertThat(service.listed(made.text("tag"))).contains(made.json());
        JsonNode source = service.api().get("/v1/sandboxes/" + id).json();
        assertThat(source.path("has_branched").booleanValue()).isTrue();
        assertThat(source.path("branch_count").intValue()).isEqualTo(1);
        assertThat(Path.of(source.path("last_branch_memory_path").stringValue()))
                .isEqualTo(Path.of(made.text("dir"), "memory.bin"))
                .exists();
    }

    @ParameterizedTest
    @ValueSource(strings = {"{'tag':'d','mode':'diff'}", "{'tag':'d','diff':true}"})
    void difference_says_what_it_takes(String body) {
        String id = service.sandbox();
        Answer made = branch(id, body);
        assertThat(made.status()).as(made.text()).isEqualTo(201);
        assertThat(made.json().propertyNames())
                .contains("pause_ms", "diff_ms", "diff_physical_bytes", "diff_logical_bytes");
        assertThat(made.json().path("diff_logical_bytes").longValue()).isEqualTo((long) MEMORY_MIB << 20);
        assertThat(made.json().path("diff_physical_bytes").longValue())
                .isPositive()
                .isLessThan(16 << 20);
        assertThat(service.listed("d")).contains(made.json());
        assertThat(Path.of(service.api().get("/v1/sandboxes/" + id).text("last_branch_memory_path")))
                .exists();
    }

    @Test
    void measured_one_is_whole_and_the_only_one() {
        String id = service.sandbox();
        Answer made = branch(id, "{'tag':'m','measure_diff':true}");
        assertThat(made.status()).as(made.text()).isEqualTo(201);
        assertThat(made.json().propertyNames()).contains("diff_ms", "diff_physical_bytes", "diff_logical_bytes");
        assertThat(service.listed("m")).contains(made.json());
        assertThat(service.api().get("/v1/snapshots").json()).hasSize(2);
        assertThat(service.api()
                        .get("/v1/snapshots/m/info")
                        .json()
                        .path("chain_depth")
                        .intValue())
                .isZero();
        JsonNode source = service.api().get("/v1/sandboxes/" + id).json();
        assertThat(source.path("branch_count").intValue()).isEqualTo(1);
        assertThat(Path.of(source.path("last_branch_memory_path").stringValue()))
                .exists();
    }

    @Test
    void failed_one_counts_for_nothing() {
        String id = service.sandbox();
        service.branch(id, "taken");
        assertThat(branch(id, "{'tag':'taken'}").status()).isEqualTo(409);
        assertThat(service.api()
                        .get("/v1/sandboxes/" + id)
                        .json()
                        .path("branch_count")
                        .intValue())
                .isEqualTo(1);
    }

    @Test
    void difference_from_what_is_gone_is_refused_and_nothing_is_left() {
        String id = service.sandbox();
        service.branch(id, "base");
        String other = service.sandbox("base");
        assertThat(service.api().delete("/v1/snapshots/base").status()).isEqualTo(204);
        assertThat(branch(other, "{'tag':'lossy','mode':'diff'}").status()).isEqualTo(409);
        assertThat(service.status("lossy")).isEqualTo("none");
        assertThat(branch(other, "{'tag':'whole'}").status()).isEqualTo(201);
    }

    @Test
    void folder_that_is_no_snapshot_is_not_written_over() throws IOException {
        Path folder = Files.createDirectories(service.snapshots().resolve("folder"));
        Files.writeString(folder.resolve("mine"), "kept");
        assertThat(branch(service.sandbox(), "{'tag':'folder'}").status()).isEqualTo(409);
        assertThat(folder.resolve("mine")).hasContent("kept");
    }

    /** An unawaited branch whose writer is stopped, so that it goes on being written. */
    private static long writing(String id, String tag) throws IOException, InterruptedException {
        service.exec(id, "dirty", "400");
        Path folder = service.snapshots().resolve(tag);
        for (int i = 0; i < 20; i++) {
            Answer made = branch(id, "{'tag':'" + tag + "','mode':'live','wait':false}");
            assertThat(made.status()).as(made.text()).isEqualTo(202);
            assertThat(made.text("status")).isEqualTo("writing");
            assertThat(made.json().path("bootable").booleanValue()).isFalse();
            for (long pid : Service.writers(folder)) {
                Service.signal("STOP", pid);
                if (service.status(tag).equals("writing")) {
                    return pid;
                }
                Service.signal("CONT", pid);
            }
            while (service.status(tag).equals("writing")) {
                Thread.onSpinWait();
            }
            assertThat(service.api().delete("/v1/snapshots/" + tag).status()).isEqualTo(204);
        }
        throw new AssertionError("it was always written before it could be stopped");
    }

    @Test
    void one_that_is_being_written_is_listed_as_that_and_used_by_nobody() throws IOException, InterruptedException {
        String id = service.sandbox();
        long writer = writing(id, "slow");
        JsonNode listed = service.listed("slow").orElseThrow();
        assertThat(listed.path("bootable").booleanValue()).isFalse();
        assertThat(listed.has("warning")).isFalse();
        Answer early = service.api().post("/v1/sandboxes", "{'snapshot_tag':'slow'}");
        assertThat(early.status()).isEqualTo(409);
        assertThat(early.error()).contains("slow", "writing");
        assertThat(branch(id, "{'tag':'slow'}").status()).isEqualTo(409);
        assertThat(service.api()
                        .post(
                                "/v1/snapshots",
                                "{'tag':'slow','kernel':'" + service.directory().resolve("agent.elf") + "','rootfs':'"
                                        + service.directory().resolve("disk.ext4") + "'}")
                        .status())
                .isEqualTo(409);
        assertThat(service.api()
                        .post("/v1/snapshots/py/compact", "{'to':'slow'}")
                        .status())
                .isEqualTo(409);
        assertThat(service.api().get("/v1/snapshots/slow/info").status()).isEqualTo(200);
        // Its place is taken until it is written: there are two.
        assertThat(service.api().get("/metrics").text()).contains("\nforkd_branches_in_flight 1\n");
        long second = writing(id, "slower");
        assertThat(branch(id, "{'tag':'third'}").status()).isEqualTo(503);
        Service.signal("CONT", writer);
        Service.signal("CONT", second);
        while (service.status("slow").equals("writing")
                || service.status("slower").equals("writing")) {
            Thread.onSpinWait();
        }
        assertThat(service.status("slow")).isEqualTo("ready");
        assertThat(service.api().get("/metrics").text()).contains("\nforkd_branches_in_flight 0\n");
        assertThat(branch(id, "{'tag':'third'}").status()).isEqualTo(201);
        assertThat(service.exec(service.sandbox("slow"), "echo", "whole")).isEqualTo("whole");
    }

    @Test
    void one_that_is_removed_while_it_is_written_does_not_come_back() throws IOException, InterruptedException {
        String id = service.sandbox();
        long writer = writing(id, "slow");
        assertThat(service.api().delete("/v1/snapshots/slow").status()).isEqualTo(204);
        assertThat(service.status("slow")).isEqualTo("none");
        Service.signal("CONT", writer);
        service.branch(id, "slow");
        assertThat(service.status("slow")).isEqualTo("ready");
        assertThat(service.api().get("/metrics").text()).contains("\nforkd_branches_in_flight 0\n");
    }

    @Test
    void one_whose_writer_dies_is_failed_and_hinders_nobody() throws IOException, InterruptedException {
        String id = service.sandbox();
        Service.signal("KILL", writing(id, "slow"));
        while (service.status("slow").equals("writing")) {
            Thread.onSpinWait();
        }
        JsonNode failed = service.listed("slow").orElseThrow();
        assertThat(failed.path("status").stringValue()).isEqualTo("failed");
        assertThat(failed.path("bootable").booleanValue()).isFalse();
        assertThat(failed.path("warning").stringValue()).contains("vmstate");
        Answer early = service.api().post("/v1/sandboxes", "{'snapshot_tag':'slow'}");
        assertThat(early.status()).isEqualTo(409);
        assertThat(early.error()).contains("failed");
        service.branch(id, "slow");
        assertThat(service.status("slow")).isEqualTo("ready");
    }

    @Test
    void one_goes_on_being_written_when_the_daemon_is_gone() throws IOException, InterruptedException {
        String id = service.sandbox();
        long writer = writing(id, "slow");
        service.restart();
        assertThat(service.status("slow")).isEqualTo("writing");
        Service.signal("CONT", writer);
        while (service.status("slow").equals("writing")) {
            Thread.onSpinWait();
        }
        assertThat(service.exec(service.sandbox("slow"), "echo", "whole")).isEqualTo("whole");
    }

    @Test
    void many_of_one_sandbox_are_each_of_one_instant() throws InterruptedException {
        String id = service.sandbox();
        service.exec(id, "set", "colour", "red");
        List<Integer> statuses = Together.of(
                6, n -> branch(id, "{'tag':'b" + n % 3 + "','mode':'live'}").status());
        assertThat(statuses).contains(201).isSubsetOf(201, 409, 503);
        for (JsonNode each : service.api().get("/v1/snapshots").json()) {
            if (!each.path("tag").stringValue().equals("py")) {
                assertThat(service.exec(service.sandbox(each.path("tag").stringValue()), "get", "colour"))
                        .isEqualTo("red");
            }
        }
    }

    @Test
    void source_that_is_ended_meanwhile_leaves_a_whole_branch_or_none() throws InterruptedException {
        for (int i = 0; i < 5; i++) {
            String id = service.sandbox();
            service.exec(id, "set", "colour", "red");
            String tag = "race" + i;
            List<Integer> statuses = Together.of(
                    2,
                    n -> n == 0
                            ? branch(id, "{'tag':'" + tag + "'}").status()
                            : service.api().delete("/v1/sandboxes/" + id).status());
            assertThat(statuses.get(0)).isIn(201, 404, 500);
            assertThat(statuses.get(1)).isEqualTo(204);
            if (statuses.get(0) == 201) {
                assertThat(service.exec(service.sandbox(tag), "get", "colour")).isEqualTo("red");
            } else {
                assertThat(service.status(tag)).isEqualTo("none");
            }
        }
    }

    @Test
    void branch_that_cannot_be_counted_is_made_all_the_same() throws IOException {
        String id = service.sandbox();
        // In the way of the file that tells of the sandbox, when that is written anew.
        Path staged = service.directory().resolve("forkd/sandboxes").resolve(id).resolve(".sandbox.json");
        Files.createDirectory(staged);
        Answer made = branch(id, "{'tag':'uncounted'}");
        assertThat(made.status()).as(made.text()).isEqualTo(201);
        assertThat(service.status("uncounted")).isEqualTo("ready");
        assertThat(service.exec(service.sandbox("uncounted"), "echo", "well")).isEqualTo("well");
        Files.delete(staged);
        assertThat(branch(id, "{}").status()).isEqualTo(201);
        assertThat(service.api()
                        .get("/v1/sandboxes/" + id)
                        .json()
                        .path("branch_count")
                        .intValue())
                .isEqualTo(1);
    }
}
