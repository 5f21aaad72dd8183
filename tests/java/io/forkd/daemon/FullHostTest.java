package io.forkd.daemon;

import static org.assertj.core.api.Assertions.assertThat;

import io.forkd.daemon.Api.Answer;
import io.forkd.engine.Engine;
import io.forkd.engine.SnapshotRequest;
import io.forkd.engine.VolumeConflict;
import io.forkd.http.HttpOptions;
import io.forkd.http.Limits;
import io.forkd.kernel.GuestKernel;
import io.forkd.snapshot.SnapshotTag;
import io.forkd.vmm.MemoryVmm;
import io.forkd.vmm.NativeError;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What the daemon tells of a sandbox for whose writes the host has no room. */
class FullHostTest {
    private final MemoryVmm vmm = new MemoryVmm();

    @TempDir
    Path scratch;

    private Daemon daemon;
    private Api api;

    @BeforeEach
    void start() throws IOException {
        Engine engine = new Engine(
                vmm,
                Map.of(
                        "XDG_DATA_HOME",
                        scratch.toString(),
                        "XDG_RUNTIME_DIR",
                        scratch.toString(),
                        "FORKD_NET_RANGE",
                        "none for tests"));
        engine.snapshot(
                new SnapshotRequest(
                        new SnapshotTag("base"),
                        new GuestKernel(Files.write(scratch.resolve("vmlinux"), new byte[1]), Optional.empty()),
                        Files.write(scratch.resolve("rootfs.ext4"), new byte[512]),
                        false,
                        Optional.empty(),
                        1,
                        1,
                        io.forkd.Limits.NONE,
                        List.of(),
                        VolumeConflict.FAIL,
                        Optional.empty(),
                        Duration.ofSeconds(60),
                        false,
                        false),
                Service.call());
        daemon = Daemon.start(
                engine,
                new DaemonOptions(
                        new HttpOptions(
                                Optional.of(HttpOptions.address("127.0.0.1:0")),
                                Optional.empty(),
                                Optional.empty(),
                                Optional.empty(),
                                Optional.empty(),
                                Limits.STANDARD),
                        scratch.resolve("state.json"),
                        "localhost",
                        1,
                        List.of(),
                        1 << 30));
        api = new Api(daemon.address().orElseThrow());
    }

    @AfterEach
    void stop() {
        daemon.close();
        vmm.close();
    }

    private Answer made() {
        Answer made = api.post("/v1/sandboxes", "{'snapshot_tag':'base'}");
        assertThat(made.status()).as(made.text()).isEqualTo(201);
        return made;
    }

    @Test
    void sandbox_that_is_asked_is_full() {
        String id = made().json().get(0).path("id").stringValue();
        int pid = api.get("/v1/sandboxes/" + id).json().path("pid").intValue();
        assertThat(api.get("/v1/sandboxes/" + id + "?ask=true").text("state")).isEqualTo("running");
        vmm.fill(pid);
        assertThat(api.get("/v1/sandboxes/" + id + "?ask=true").text("state")).isEqualTo("full");
        assertThat(api.get("/v1/sandboxes/" + id).text("state")).isEqualTo("running");
    }

    @Test
    void command_that_fails_says_so_and_one_that_does_not_need_not() {
        String id = made().json().get(0).path("id").stringValue();
        String exec = "/v1/sandboxes/" + id + "/exec";
        assertThat(api.post(exec, "{'args':['false']}").json().has("warning")).isFalse();
        vmm.fill(api.get("/v1/sandboxes/" + id).json().path("pid").intValue());
        Answer failed = api.post(exec, "{'args':['false']}");
        assertThat(failed.status()).isEqualTo(200);
        assertThat(failed.json().path("exit_code").intValue()).isEqualTo(1);
        assertThat(failed.text("warning")).contains("no room", id);
        assertThat(failed.text("stderr")).isEmpty();
        assertThat(api.post(exec, "{'args':['true']}").json().has("warning")).isFalse();
    }

    @Test
    void what_another_vm_has_is_a_conflict() {
        vmm.plan((number, step) ->
                step == MemoryVmm.Step.FORK ? new MemoryVmm.Fault.Fails(NativeError.EBUSY) : MemoryVmm.Fault.NONE);
        Answer busy = api.post("/v1/sandboxes", "{'snapshot_tag':'base'}");
        assertThat(busy.status()).as(busy.text()).isEqualTo(409);
        assertThat(busy.error()).contains("did not come up");
        vmm.plan((number, step) -> MemoryVmm.Fault.NONE);
        assertThat(made().status()).isEqualTo(201);
    }

    @Test
    void guest_that_does_not_answer_for_it_is_an_error_that_says_so() {
        String id = made().json().get(0).path("id").stringValue();
        vmm.fill(api.get("/v1/sandboxes/" + id).json().path("pid").intValue());
        vmm.plan((number, step) -> step == MemoryVmm.Step.AGENT ? new MemoryVmm.Fault.Fails(-5) : MemoryVmm.Fault.NONE);
        Answer failed = api.post("/v1/sandboxes/" + id + "/eval", "{'code':'1'}");
        assertThat(failed.status()).as(failed.text()).isEqualTo(200);
        assertThat(failed.text("error")).contains("as planned");
        assertThat(failed.text("warning")).contains("no room", id);
        vmm.plan((number, step) -> step == MemoryVmm.Step.AGENT ? MemoryVmm.Fault.HANGS : MemoryVmm.Fault.NONE);
        Answer silent = api.post("/v1/sandboxes/" + id + "/ping");
        assertThat(silent.status()).isEqualTo(500);
        assertThat(silent.error()).contains("no room", id);
    }
}
