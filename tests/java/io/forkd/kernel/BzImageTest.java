package io.forkd.kernel;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Arrays;
import java.util.Random;
import java.util.zip.GZIPOutputStream;
import org.apache.commons.compress.compressors.lz4.BlockLZ4CompressorOutputStream;
import org.apache.commons.compress.compressors.zstandard.ZstdCompressorOutputStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import org.tukaani.xz.LZMA2Options;
import org.tukaani.xz.XZOutputStream;

class BzImageTest {
    private static final int SETUP_SECTORS = 3;
    private static final int PAYLOAD_OFFSET = 100;

    /** More than one LZ4 block of the legacy frame would hold in this test. */
    private static final int LZ4_BLOCK = 50_000;

    static byte[] elf() {
        byte[] kernel = new byte[200_000];
        new Random(1).nextBytes(kernel);
        Arrays.fill(kernel, 1000, 150_000, (byte) 7);
        ByteBuffer.wrap(kernel).put(new byte[] {0x7f, 'E', 'L', 'F'});
        return kernel;
    }

    private interface Packer {
        OutputStream open(OutputStream out) throws IOException;
    }

    private static byte[] packed(Packer packer, byte[] content) throws IOException {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        try (OutputStream out = packer.open(bytes)) {
            out.write(content);
        }
        return bytes.toByteArray();
    }

    private static byte[] payload(String how, byte[] kernel) throws IOException {
        return switch (how) {
            case "none" -> kernel;
            case "gzip" -> packed(GZIPOutputStream::new, kernel);
            case "xz" -> withSize(packed(out -> new XZOutputStream(out, new LZMA2Options(1)), kernel), kernel.length);
            case "zstd" -> withSize(packed(ZstdCompressorOutputStream::new, kernel), kernel.length);
            case "lz4" -> withSize(lz4(kernel), kernel.length);
            default -> throw new IllegalArgumentException(how);
        };
    }

    private static byte[] lz4(byte[] kernel) throws IOException {
        ByteArrayOutputStream frame = new ByteArrayOutputStream();
        frame.writeBytes(littleEndian(0x184c2102));
        for (int start = 0; start < kernel.length; start += LZ4_BLOCK) {
            byte[] block = Arrays.copyOfRange(kernel, start, Math.min(kernel.length, start + LZ4_BLOCK));
            byte[] small = packed(BlockLZ4CompressorOutputStream::new, block);
            frame.writeBytes(littleEndian(small.length));
            frame.writeBytes(small);
        }
        return frame.toByteArray();
    }

    private static byte[] littleEndian(int value) {
        return ByteBuffer.allocate(4)
                .order(ByteOrder.LITTLE_ENDIAN)
                .putInt(value)
                .array();
    }

    private static byte[] withSize(byte[] packed, int size) {
        return ByteBuffer.allocate(packed.length + 4)
                .put(packed)
                .put(littleEndian(size))
                .array();
    }

    static byte[] bzImage(byte[] payload) {
        int start = (SETUP_SECTORS + 1) * 512 + PAYLOAD_OFFSET;
        ByteBuffer image = ByteBuffer.allocate(start + payload.length + 64).order(ByteOrder.LITTLE_ENDIAN);
        image.put(0x1f1, (byte) SETUP_SECTORS).putInt(0x202, 0x53726448).putShort(0x206, (short) 0x20f);
        image.putInt(0x248, PAYLOAD_OFFSET).putInt(0x24c, payload.length);
        image.position(start).put(payload);
        return image.array();
    }

    @ParameterizedTest
    @ValueSource(strings = {"none", "gzip", "xz", "zstd", "lz4"})
    void kernel_is_taken_out(String how) throws IOException {
        assertThat(BzImage.vmlinux(bzImage(payload(how, elf())), "vmlinuz")).isEqualTo(elf());
    }

    @ParameterizedTest
    @ValueSource(strings = {"gzip", "xz", "zstd", "lz4"})
    void damaged_payload_is_refused(String how) throws IOException {
        byte[] payload = payload(how, elf());
        // Kernels are packed without checksums: only damage to the structure can be seen.
        Arrays.fill(payload, 4, 12, (byte) 0xff);
        assertThatThrownBy(() -> BzImage.vmlinux(bzImage(payload), "vmlinuz-x"))
                .hasMessageContaining("cannot take the kernel out of vmlinuz-x");
    }

    @ParameterizedTest
    @ValueSource(strings = {"gzip", "xz", "zstd", "lz4"})
    void something_else_than_an_elf_file_is_refused(String how) throws IOException {
        byte[] other = elf();
        other[0] = 0;
        byte[] payload = payload(how, other);
        assertThatThrownBy(() -> BzImage.vmlinux(bzImage(payload), "vmlinuz"))
                .hasMessageContaining("not the kernel that was packed");
    }

    @ParameterizedTest
    @CsvSource({"425a6839, bzip2", "5d000000, lzma", "894c5a4f, lzo"})
    void other_packers_are_refused_by_name(String magic, String name) {
        byte[] payload = withSize(
                ByteBuffer.allocate(64).putInt((int) Long.parseLong(magic, 16)).array(), 1 << 20);
        assertThatThrownBy(() -> BzImage.vmlinux(bzImage(payload), "vmlinuz")).hasMessageContaining(name);
    }

    @Test
    void truncated_and_foreign_files_are_refused() throws IOException {
        byte[] image = bzImage(payload("gzip", elf()));
        assertThatThrownBy(() -> BzImage.vmlinux(Arrays.copyOf(image, image.length / 2), "v"))
                .hasMessageContaining("it is truncated");
        assertThatThrownBy(() -> BzImage.vmlinux(new byte[10], "v")).hasMessageContaining("it is no bzImage");
        assertThatThrownBy(() -> BzImage.vmlinux(new byte[4096], "v")).hasMessageContaining("it is no bzImage");
    }
}
