package io.forkd.snapshot;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.forkd.ForkdException;
import io.forkd.Limits;
import io.forkd.snapshot.Manifest.Machine;
import io.forkd.snapshot.Manifest.ManifestDisk;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import java.time.Instant;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.TreeMap;
import java.util.stream.Stream;
import java.util.zip.CRC32C;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import tools.jackson.databind.node.JsonNodeFactory;

class ContentHashTest {
    private static final int PAGE = 4096;

    @TempDir
    Path directory;

    private Snapshot snapshot;

    @BeforeEach
    void makeSnapshot() throws IOException {
        Path memory = Files.write(directory.resolve("memory.bin"), memory(3));
        Path vmstate = Files.write(directory.resolve("vmstate"), new byte[] {1});
        snapshot = new Snapshot(
                new SnapshotTag("py"),
                directory,
                new Manifest(
                        vmstate,
                        memory,
                        3 * PAGE,
                        List.of(),
                        Path.of("/r.ext4"),
                        Optional.empty(),
                        List.of(new ManifestDisk(
                                Path.of("/r.ext4"), false, 8 * PAGE, OptionalLong.of(7), Optional.empty())),
                        new Machine(1, Path.of("/k"), Optional.empty(), "", Optional.empty(), Limits.NONE, "0"),
                        Optional.empty(),
                        Instant.EPOCH,
                        JsonNodeFactory.instance.objectNode()));
    }

    /** Three pages, the second all zeroes, the last filled with a byte. */
    private static byte[] memory(int fill) {
        byte[] memory = new byte[3 * PAGE];
        memory[5] = 1;
        Arrays.fill(memory, 2 * PAGE, 3 * PAGE, (byte) fill);
        return memory;
    }

    private String hash(Path... layers) {
        return ContentHash.calculate(snapshot, snapshot.memory(), List.of(List.of(layers)), percent -> {});
    }

    /** Writes a layer of the pages, each filled with a byte; a zero has no data. */
    private Path layer(String name, Map<Integer, Integer> pages) throws IOException {
        TreeMap<Integer, Integer> sorted = new TreeMap<>(pages);
        int data = (int) sorted.values().stream().filter(fill -> fill != 0).count();
        ByteBuffer file =
                ByteBuffer.allocate(PAGE * (1 + data) + 24 * sorted.size()).order(ByteOrder.LITTLE_ENDIAN);
        int table = PAGE * (1 + data);
        int at = 1;
        int entry = table;
        for (Map.Entry<Integer, Integer> page : sorted.entrySet()) {
            file.putLong(entry, page.getKey()).putLong(entry + 8, page.getValue() == 0 ? -1 : at);
            file.putInt(entry + 16, 1);
            if (page.getValue() != 0) {
                Arrays.fill(
                        file.array(),
                        at * PAGE,
                        (at + 1) * PAGE,
                        page.getValue().byteValue());
                file.putInt(entry + 20, crc(file.slice(at * PAGE, PAGE)));
                at++;
            }
            entry += 24;
        }
        file.put(0, "FORKDLYR".getBytes(StandardCharsets.US_ASCII));
        file.putInt(8, 1).putInt(12, PAGE).putLong(16, 8 * PAGE).putLong(24, sorted.size());
        file.putLong(32, table).putLong(40, file.capacity());
        file.putInt(48, crc(file.slice(table, 24 * sorted.size())));
        file.putInt(PAGE - 4, crc(file.slice(0, PAGE - 4)));
        return Files.write(directory.resolve(name), file.array());
    }

    private static int crc(ByteBuffer bytes) {
        CRC32C crc = new CRC32C();
        crc.update(bytes);
        return (int) crc.getValue();
    }

    @Test
    void layers_and_what_they_merge_to_have_one_hash() throws IOException {
        Path first = layer("first", Map.of(1, 10, 2, 20, 5, 50));
        Path second = layer("second", Map.of(2, 21, 3, 30, 5, 0));
        Path merged = layer("merged", Map.of(1, 10, 2, 21, 3, 30, 5, 0));
        assertThat(hash(first, second)).isEqualTo(hash(merged)).isNotEqualTo(hash(second, first));
    }

    @Test
    void each_part_counts() throws IOException {
        String hash = hash(layer("a", Map.of(1, 1)));
        assertThat(hash(layer("b", Map.of(1, 2)))).isNotEqualTo(hash);
        assertThat(hash(layer("c", Map.of(2, 1)))).isNotEqualTo(hash);
        assertThat(hash()).isNotEqualTo(hash);
        Files.write(directory.resolve("memory.bin"), memory(4));
        assertThat(hash(directory.resolve("a"))).isNotEqualTo(hash);
        Files.write(directory.resolve("memory.bin"), memory(3));
        assertThat(hash(directory.resolve("a"))).isEqualTo(hash);
        Files.write(directory.resolve("vmstate"), new byte[] {2});
        assertThat(hash(directory.resolve("a"))).isNotEqualTo(hash);
    }

    @Test
    void hash_is_noted_until_a_file_changes() throws IOException {
        assertThat(ContentHash.noted(snapshot)).isEmpty();
        String hash = hash();
        assertThat(ContentHash.noted(snapshot)).contains(hash);
        Files.setLastModifiedTime(directory.resolve("memory.bin"), FileTime.from(Instant.EPOCH));
        assertThat(ContentHash.noted(snapshot)).isEmpty();
    }

    @Test
    void damaged_note_is_as_none() throws IOException {
        hash();
        Files.writeString(directory.resolve("content.json"), "{");
        assertThat(ContentHash.noted(snapshot)).isEmpty();
    }

    @Test
    void note_that_cannot_be_written_or_read_is_done_without() throws IOException {
        Path inTheWay = Files.createDirectory(directory.resolve("content.json"));
        Files.createFile(inTheWay.resolve("file"));
        String hash = hash();
        assertThat(ContentHash.noted(snapshot)).isEmpty();
        assertThat(hash()).isEqualTo(hash);
        try (Stream<Path> left = Files.list(directory)) {
            assertThat(left.map(file -> file.getFileName().toString()))
                    .containsExactlyInAnyOrder("memory.bin", "vmstate", "content.json");
        }
    }

    @Test
    void damage_of_header_or_table_is_refused() throws IOException {
        Path layer = layer("a", Map.of(1, 1, 4, 4));
        byte[] whole = Files.readAllBytes(layer);
        for (int i : new int[] {0, 16, 24, 32, 48, 100, PAGE - 1, whole.length - 1, whole.length - 48}) {
            byte[] damaged = whole.clone();
            damaged[i] ^= 1;
            Files.write(layer, damaged);
            assertThatThrownBy(() -> hash(layer))
                    .isInstanceOf(ForkdException.class)
                    .hasMessageContaining("a is damaged");
        }
        Files.write(layer, Arrays.copyOf(whole, whole.length - 24));
        assertThatThrownBy(() -> hash(layer)).hasMessageContaining("is damaged");
    }
}
