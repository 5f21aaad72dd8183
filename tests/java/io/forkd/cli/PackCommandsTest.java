package io.forkd.cli;

import static org.assertj.core.api.Assertions.assertThat;

import io.forkd.Json;
import io.forkd.pack.Sample;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import tools.jackson.databind.JsonNode;

/** {@code pack} and {@code unpack} as they are typed: what is said where, and with which status they end. */
class PackCommandsTest {
    @TempDir
    Path folder;

    private Map<String, String> theirs;
    private Map<String, String> ours;
    private Path pack;
    private final ByteArrayOutputStream out = new ByteArrayOutputStream();
    private final ByteArrayOutputStream err = new ByteArrayOutputStream();

    @BeforeEach
    void makeHosts() throws IOException {
        Sample source = new Sample(folder.resolve("source"));
        source.chain();
        theirs = source.environment();
        ours = new Sample(folder.resolve("target")).environment();
        pack = folder.resolve("it.tar.zst");
    }

    private int run(Map<String, String> environment, String... arguments) {
        out.reset();
        err.reset();
        return Main.run(
                Shell.of(
                        new PrintStream(out, true, StandardCharsets.UTF_8),
                        new PrintStream(err, true, StandardCharsets.UTF_8),
                        false,
                        environment),
                arguments);
    }

    private String said() {
        return err.toString(StandardCharsets.UTF_8);
    }

    private JsonNode json() {
        return Json.parse(out.toByteArray());
    }

    @Test
    void reports_are_on_stderr_and_json_on_stdout() {
        assertThat(run(theirs, "pack", "--tag", "top", "-o", pack.toString(), "--description", "what it is"))
                .as(said())
                .isZero();
        assertThat(out.size()).isZero();
        assertThat(said()).contains("snapshots: 3").contains(".rootfs.zst");
        assertThat(run(theirs, "pack", "--tag", "top", "-o", pack.toString(), "--json"))
                .isZero();
        assertThat(json().path("links").asInt(0)).isEqualTo(3);
        assertThat(json().path("rootfs_existed").asBoolean(false)).isTrue();
        assertThat(json().path("bytes").asLong(0)).isPositive();

        assertThat(run(ours, "unpack", "--check", "--json", pack.toString())).isZero();
        assertThat(json().path("machine_state").asString("")).isEqualTo("forkd");
        assertThat(json().path("usable").asBoolean(false)).isTrue();
        assertThat(run(ours, "unpack", "--check", pack.toString())).isZero();
        assertThat(out.size()).isZero();
        assertThat(said()).contains("snapshots:     base middle top");

        assertThat(run(ours, "unpack", pack.toString())).as(said()).isZero();
        assertThat(out.size()).isZero();
        assertThat(said()).contains("tag:       top").contains("based on:  base middle");
        assertThat(run(ours, "unpack", "--force", "--json", pack.toString()))
                .as(said())
                .isZero();
        assertThat(json().path("tags").size()).isEqualTo(3);
        assertThat(json().path("rootfs_missing").asBoolean(true)).isFalse();
    }

    @Test
    void failures_have_a_status_and_a_code() throws IOException {
        assertThat(run(theirs, "pack", "--json")).isEqualTo(2);
        assertThat(run(theirs, "pack", "--tag", "none", "--json")).isEqualTo(1);
        assertThat(run(theirs, "pack", "--tag", "base", "-o", pack.toString())).isZero();
        assertThat(run(ours, "unpack", folder.resolve("none").toString())).isEqualTo(1);
        assertThat(said()).contains("no such file or directory");
        assertThat(run(ours, "unpack", "--tag", "-x", pack.toString())).isEqualTo(2);
        assertThat(run(ours, "unpack", "--volume", "/a:/b", pack.toString())).isEqualTo(2);
        assertThat(said()).contains("the guest has no volume on /b");
        assertThat(run(ours, "unpack", pack.toString())).isZero();
        assertThat(run(ours, "unpack", pack.toString())).isEqualTo(1);
        assertThat(said()).contains("exists already").contains("--force");
        assertThat(run(ours, "unpack", "--tag", "other", pack.toString())).isZero();
        Files.write(pack, new byte[] {1});
        assertThat(run(ours, "unpack", "--json", pack.toString())).isEqualTo(1);
        JsonNode error = Json.parse(err.toByteArray()).path("error");
        assertThat(error.path("code").asString("")).isEqualTo("damaged");
        assertThat(error.path("message").asString("")).isEqualTo(pack + " is refused: it is not packed by zstd");
    }

    @Test
    void missing_root_disk_is_a_warning() throws IOException {
        assertThat(run(theirs, "pack", "--tag", "base", "-o", pack.toString(), "--json"))
                .isZero();
        Files.delete(Path.of(json().path("rootfs").asString("")));
        assertThat(run(ours, "unpack", "--json", pack.toString())).isZero();
        assertThat(json().path("rootfs_missing").asBoolean(false)).isTrue();
        assertThat(said()).contains("the root disk is missing").contains("--force");
    }
}
