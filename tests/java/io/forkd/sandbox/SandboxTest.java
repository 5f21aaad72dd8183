package io.forkd.sandbox;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.forkd.Limit;
import io.forkd.Limits;
import io.forkd.network.NetworkPolicy;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class SandboxTest {
    private static final Origin ORIGIN = new Origin("py", Instant.parse("2026-11-22T16:00:00.123456789Z"));

    @TempDir
    Path temporary;

    private Sandbox example() throws IOException {
        return new Sandbox(
                "sb-0123abcd",
                Files.createDirectories(temporary.resolve("sb-0123abcd")),
                ORIGIN,
                new Origin("base", Instant.EPOCH),
                42,
                OptionalLong.of(7),
                Optional.of("forkd-child-1"),
                Optional.of(NetworkPolicy.parse(List.of("internet,!1.1.1.1"))),
                Optional.empty(),
                new Limits(Map.of(Limit.DISK, 100L, Limit.NET_BYTES, 0L)),
                List.of(Path.of("/v.ext4")),
                Instant.EPOCH,
                3,
                Optional.empty(),
                Lifetime.ENDLESS,
                Naming.NONE,
                Optional.empty());
    }

    @Test
    void what_was_written_is_read() throws IOException {
        example().write();
        assertThat(Sandbox.read(example().directory())).contains(example());
        Sandbox branched = example().withOneMoreBranch(Path.of("/snapshots/b"));
        branched.write();
        assertThat(Sandbox.read(example().directory())).contains(branched);
        assertThat(branched.branches()).isEqualTo(4);
    }

    @Test
    void sandbox_that_is_being_made_has_no_file() throws IOException {
        assertThat(Sandbox.read(example().directory())).isEmpty();
    }

    @ParameterizedTest
    @ValueSource(strings = {"", "[]", "{", "{}", "{\"pid\": \"x\"}"})
    void damaged_file_is_named(String json) throws IOException {
        Path file = Files.writeString(example().directory().resolve("sandbox.json"), json);
        assertThatThrownBy(() -> Sandbox.read(example().directory())).hasMessageContaining(file + " is damaged");
    }

    @ParameterizedTest
    @ValueSource(strings = {"{}", "\"\\u0000\"", "7"})
    void damaged_volume_is_no_fault_of_forkd(String volume) throws IOException {
        example().write();
        Path file = example().directory().resolve("sandbox.json");
        Files.writeString(file, Files.readString(file).replace("\"/v.ext4\"", volume));
        assertThatThrownBy(() -> Sandbox.read(example().directory())).hasMessageContaining(file + " is damaged");
    }

    @ParameterizedTest
    @ValueSource(strings = {"", "sb-", "sb-0123456", "sb-012345678", "sb-0123456G", "../sb-01234567", "py-1"})
    void other_text_is_no_id(String text) {
        assertThat(Sandbox.isId(text)).isFalse();
    }

    @Test
    void server_file_is_read_as_it_was_written() throws IOException {
        RunningServer server = new RunningServer(temporary, ORIGIN, ORIGIN, Instant.EPOCH, Optional.empty());
        assertThat(RunningServer.read(temporary)).isEmpty();
        server.write();
        assertThat(RunningServer.read(temporary)).contains(server);
        RunningServer started = server.withProcess(Optional.of(new ProcessId(42, 7)));
        started.write();
        assertThat(RunningServer.read(temporary)).contains(started);
    }
}
