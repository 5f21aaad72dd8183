package io.forkd.snapshot;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatCode;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class VolumeImagesTest {
    private static final int MIB = 1 << 20;

    @TempDir
    Path directory;

    private static void run(String... command) throws IOException, InterruptedException {
        Process process = new ProcessBuilder(command)
                .redirectErrorStream(true)
                .redirectOutput(ProcessBuilder.Redirect.DISCARD)
                .start();
        assertThat(process.waitFor()).as(String.join(" ", command)).isZero();
    }

    private Path image(String type) throws IOException, InterruptedException {
        Path image = directory.resolve("volume." + type);
        run("mke2fs", "-q", "-t", type, image.toString(), "8M");
        return image;
    }

    private void put(Path image, int offset, byte... bytes) throws IOException {
        try (FileChannel channel = FileChannel.open(image, StandardOpenOption.WRITE)) {
            channel.write(ByteBuffer.wrap(bytes), offset);
        }
    }

    private Path filled(byte[] content) throws IOException {
        return Files.write(directory.resolve("j"), content);
    }

    @ParameterizedTest
    @ValueSource(strings = {"ext2", "ext3", "ext4"})
    void clean_image_is_taken(String type) throws Exception {
        Path image = image(type);
        assertThat(Ext4Superblock.read(image)).contains(new Ext4Superblock(8L * MIB, false));
        VolumeImages.requireMountable(image, true);
        VolumeImages.requireMountable(image, false);
    }

    @Test
    void dirty_journal_is_taken_by_who_may_write_alone() throws Exception {
        Path image = image("ext4");
        run("debugfs", "-w", "-R", "feature needs_recovery", image.toString());
        VolumeImages.requireMountable(image, false);
        assertThatThrownBy(() -> VolumeImages.requireMountable(image, true))
                .hasMessageContaining(image.toString())
                .hasMessageContaining("journal")
                .hasMessageContaining("e2fsck -p " + image);
        run("e2fsck", "-fy", image.toString());
        VolumeImages.requireMountable(image, true);
    }

    @Test
    void image_without_a_journal_that_is_mounted_is_none_to_read_only() throws Exception {
        Path image = image("ext2");
        put(image, 1024 + 0x3a, (byte) 0, (byte) 0);
        assertThatThrownBy(() -> VolumeImages.requireMountable(image, true)).hasMessageContaining(image.toString());
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 512, 1024 + 0x3a, 2047, 2048, MIB})
    void what_is_no_file_system_is_named(int size) throws IOException {
        Path image = filled(new byte[size]);
        assertThatThrownBy(() -> VolumeImages.requireMountable(image, false))
                .hasMessageContaining("the volume " + image + " is no ext4 image");
    }

    @Test
    void image_of_another_magic_is_named() throws Exception {
        Path image = image("ext4");
        put(image, 1024 + 0x38, (byte) 0x54);
        assertThatThrownBy(() -> VolumeImages.requireMountable(image, false))
                .hasMessageContaining("the volume " + image + " is no ext4 image");
    }

    @Test
    void squashfs_is_taken() throws IOException {
        assertThatCode(() -> VolumeImages.requireMountable(filled("hsqs and more".getBytes("ascii")), true))
                .doesNotThrowAnyException();
    }

    @Test
    void image_that_was_cut_short_is_named() throws Exception {
        Path image = image("ext4");
        try (FileChannel channel = FileChannel.open(image, StandardOpenOption.WRITE)) {
            channel.truncate(4L * MIB);
        }
        assertThatThrownBy(() -> VolumeImages.requireMountable(image, false)).hasMessageContaining("was cut short");
    }

    @Test
    void sizes_without_sense_are_no_file_system() throws Exception {
        Path image = image("ext4");
        put(image, 1024 + 0x18, (byte) 60, (byte) 0, (byte) 0, (byte) 0); // blocks of 2^70 bytes
        assertThat(Ext4Superblock.read(image)).isEmpty();
        put(image, 1024 + 0x18, (byte) 0, (byte) 0, (byte) 0, (byte) 0xff);
        assertThat(Ext4Superblock.read(image)).isEmpty();
        put(image, 1024 + 0x18, (byte) 6, (byte) 0, (byte) 0, (byte) 0);
        byte[] high = ByteBuffer.allocate(4)
                .order(ByteOrder.LITTLE_ENDIAN)
                .putInt(Integer.MAX_VALUE)
                .array();
        put(image, 1024 + 0x150, high);
        assertThat(Ext4Superblock.read(image)).isEmpty();
    }

    private Volume volume(String image, String guest) {
        return new Volume(directory.resolve(image), guest, false);
    }

    private void requireDistinct(Volume... volumes) {
        VolumeImages.requireDistinct(directory.resolve("root"), List.of(volumes));
    }

    @Test
    void what_is_there_twice_is_named() throws IOException {
        for (String name : List.of("root", "a", "b")) {
            Files.write(directory.resolve(name), new byte[512]);
        }
        Files.createSymbolicLink(directory.resolve("soft"), directory.resolve("a"));
        Files.createLink(directory.resolve("hard"), directory.resolve("a"));
        requireDistinct(volume("a", "/m"), volume("b", "/m/n"));
        assertThatThrownBy(() -> requireDistinct(volume("a", "/m"), volume("b", "/m/../m/")))
                .hasMessageContaining("two volumes have the guest path /m")
                .hasMessageContaining(directory.resolve("b").toString());
        assertThatThrownBy(() -> requireDistinct(volume("a", "/m/n"), volume("b", "/m")))
                .hasMessageContaining("the volume on /m would hide the one on /m/n");
        for (String again : List.of("a", "soft", "hard")) {
            assertThatThrownBy(() -> requireDistinct(volume("a", "/m"), volume(again, "/n")))
                    .hasMessageContaining("is the same image as " + directory.resolve("a") + " on /m");
        }
        assertThatThrownBy(() -> requireDistinct(volume("b", "/m"), volume("root", "/n")))
                .hasMessageContaining("is the same image as the root disk");
    }
}
