package io.forkd.pack;

import com.github.luben.zstd.Zstd;
import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.function.Consumer;

/** A pack put together byte by byte, so that anything can be wrong with it. */
final class Archive {
    private final ByteArrayOutputStream tar = new ByteArrayOutputStream();

    static byte[] header(String name, long bytes, char type) {
        byte[] block = new byte[512];
        put(block, 0, name, 100);
        put(block, 100, "0000644", 8);
        put(block, 108, "0000000", 8);
        put(block, 116, "0000000", 8);
        put(block, 124, String.format("%011o", bytes), 12);
        put(block, 136, "00000000000", 12);
        block[156] = (byte) type;
        put(block, 257, "ustar  ", 8);
        return sealed(block);
    }

    private static void put(byte[] block, int at, String text, int most) {
        byte[] bytes = text.getBytes(StandardCharsets.ISO_8859_1);
        System.arraycopy(bytes, 0, block, at, Math.min(most, bytes.length));
    }

    /** With the checksum of what is in it now. */
    static byte[] sealed(byte[] block) {
        long sum = 0;
        for (int i = 0; i < 512; i++) {
            sum += i >= 148 && i < 156 ? ' ' : Byte.toUnsignedInt(block[i]);
        }
        put(block, 148, String.format("%06o\0 ", sum), 8);
        return block;
    }

    Archive file(String name, byte[] content) {
        return raw(header(name, content.length, '0')).raw(content).padding(content.length);
    }

    Archive file(String name, String content) {
        return file(name, content.getBytes(StandardCharsets.UTF_8));
    }

    /** A file whose header was changed. */
    Archive changed(String name, byte[] content, Consumer<byte[]> change) {
        byte[] block = header(name, content.length, '0');
        change.accept(block);
        return raw(sealed(block)).raw(content).padding(content.length);
    }

    Archive entry(String name, char type, byte[] content) {
        return raw(header(name, content.length, type)).raw(content).padding(content.length);
    }

    Archive raw(byte[] bytes) {
        tar.writeBytes(bytes);
        return this;
    }

    private Archive padding(long bytes) {
        return raw(new byte[(int) (-bytes & 511)]);
    }

    /** With the end that an archive has. */
    byte[] tar() {
        raw(new byte[1024]);
        return tar.toByteArray();
    }

    /** Without. */
    byte[] open() {
        return tar.toByteArray();
    }

    static byte[] packed(byte[] tar) {
        return Zstd.compress(tar);
    }

    static void write(Path file, byte[]... parts) throws java.io.IOException {
        ByteArrayOutputStream all = new ByteArrayOutputStream();
        for (byte[] part : parts) {
            all.writeBytes(part);
        }
        Files.write(file, all.toByteArray());
    }
}
