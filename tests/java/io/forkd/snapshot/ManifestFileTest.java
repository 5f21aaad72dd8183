package io.forkd.snapshot;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.Limit;
import io.forkd.Limits;
import io.forkd.network.NetworkPolicy;
import io.forkd.snapshot.Manifest.Layer;
import io.forkd.snapshot.Manifest.Machine;
import io.forkd.snapshot.Manifest.ManifestDisk;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
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
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import tools.jackson.databind.node.JsonNodeFactory;

class ManifestFileTest {
    @TempDir
    Path directory;

    static Manifest example(Path directory) {
        return new Manifest(
                directory.resolve("vmstate"),
                directory.resolve("memory.bin"),
                4096,
                List.of(new Volume(Path.of("/v.ext4"), "/v", true)),
                Path.of("/r.ext4"),
                Optional.empty(),
                List.of(
                        new ManifestDisk(
                                Path.of("/r.ext4"),
                                false,
                                512,
                                OptionalLong.of(7),
                                Optional.of(new Layer("disk-0.layer", 9))),
                        new ManifestDisk(Path.of("/v.ext4"), true, 1024, OptionalLong.of(8), Optional.empty())),
                new Machine(
                        2,
                        Path.of("/k"),
                        Optional.of(Path.of("/i")),
                        "quiet",
                        Optional.of("tap0"),
                        new Limits(Map.of(Limit.DISK, 100L, Limit.DISK_BYTES, 0L)),
                        "0.1.0"),
                Optional.of(NetworkPolicy.parse(List.of("internet,!1.1.1.1"))),
                Instant.parse("2026-11-22T16:00:00Z"),
                JsonNodeFactory.instance.objectNode());
    }

    private Manifest read(String json) throws IOException {
        return new ManifestFile(Files.writeString(directory.resolve("snapshot.json"), json)).read();
    }

    private String written() {
        return new String(ManifestFile.encode(example(directory)), StandardCharsets.UTF_8);
    }

    @Test
    void what_was_written_is_read() throws IOException {
        assertThat(read(written())).isEqualTo(example(directory));
    }

    @Test
    void absent_values_are_absent_and_not_null() {
        assertThat(written()).doesNotContain("null").doesNotContain("parent_tag");
    }

    @Test
    void unknown_fields_survive_a_rewrite() throws IOException {
        Manifest manifest = read(written().replaceFirst("\\{", "{\"of_tomorrow\": {\"a\": [1]},"));
        assertThat(new String(ManifestFile.encode(manifest), StandardCharsets.UTF_8))
                .contains("of_tomorrow");
    }

    @ParameterizedTest
    @CsvSource({
        "'', it is empty",
        "[], not a JSON object",
        "{, is damaged",
        "{}, \"vmstate\" is missing",
        "'{\"vmstate\": 1}', \"vmstate\" is not a string",
    })
    void damaged_file_is_named(String json, String reason) {
        assertThatThrownBy(() -> read(json))
                .isInstanceOfSatisfying(
                        ForkdException.class, e -> assertThat(e.kind()).isEqualTo(Kind.DAMAGED))
                .hasMessageContaining(directory.resolve("snapshot.json").toString())
                .hasMessageContaining(reason);
    }

    @ParameterizedTest
    @ValueSource(strings = {"-1", "1.5", "null", "\"100\"", "1099511627777"})
    void a_limit_that_is_none_is_refused(String value) {
        assertThatThrownBy(() -> read(written().replace("\"disk_limit_mib\" : 100", "\"disk_limit_mib\" : " + value)))
                .hasMessageContaining("\"limits\"");
    }

    @Test
    void every_truncation_is_refused() {
        String json = written();
        int last = json.lastIndexOf('}');
        for (int length = 0; length <= last; length++) {
            String cut = json.substring(0, length);
            assertThatThrownBy(() -> read(cut)).isInstanceOf(ForkdException.class);
        }
    }

    @Test
    void newer_format_is_refused_as_such() {
        assertThatThrownBy(() -> read(written().replace("\"format\" : 1", "\"format\" : 2")))
                .hasMessageContaining("has format 2")
                .hasMessageContaining("newer forkd");
    }

    @Test
    void image_may_be_older_than_1970_and_nothing_else_negative() throws IOException {
        assertThat(read(written().replace("\"modified\" : 7", "\"modified\" : -7"))
                        .disks()
                        .get(0)
                        .modified())
                .hasValue(-7);
        assertThatThrownBy(() -> read(written().replace("\"memory_bytes\" : 4096", "\"memory_bytes\" : -1")))
                .hasMessageContaining("\"memory_bytes\" is negative");
    }

    @Test
    void layer_outside_of_the_snapshot_is_refused() {
        assertThatThrownBy(() -> read(written().replace("disk-0.layer", "../disk-0.layer")))
                .hasMessageContaining("is not a file name");
    }
}
