package io.forkd.kernel;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.zip.GZIPInputStream;
import org.apache.commons.compress.compressors.lz4.BlockLZ4CompressorInputStream;
import org.apache.commons.compress.compressors.zstandard.ZstdCompressorInputStream;
import org.tukaani.xz.SingleXZInputStream;

/**
 * Takes the ELF kernel out of a {@code vmlinuz}. Its place is in the setup header (Documentation/arch/x86/boot.rst in
 * Linux): {@code payload_offset} and {@code payload_length}, from protocol 2.08 on. The payload's last four bytes are
 * the size of what it unpacks to, so that a wrong result cannot pass.
 */
final class BzImage {
    private static final int SETUP_SECTS = 0x1f1;
    private static final int MAGIC = 0x202;
    private static final int PROTOCOL = 0x206;
    private static final int PAYLOAD_OFFSET = 0x248;
    private static final int PAYLOAD_LENGTH = 0x24c;
    private static final int HEADER_END = 0x250;
    private static final int HDRS = 0x53726448;
    private static final int ELF = 0x464c457f;
    private static final int LZ4_LEGACY = 0x184c2102;
    private static final int MAX_SIZE = 1 << 30;

    private BzImage() {}

    /** @param name for error messages */
    static byte[] vmlinux(byte[] vmlinuz, String name) {
        ByteBuffer image = ByteBuffer.wrap(vmlinuz).order(ByteOrder.LITTLE_ENDIAN);
        if (vmlinuz.length < HEADER_END || image.getInt(MAGIC) != HDRS || image.getShort(PROTOCOL) < 0x208) {
            throw damaged(name, "it is no bzImage");
        }
        int sectors = vmlinuz[SETUP_SECTS] == 0 ? 4 : Byte.toUnsignedInt(vmlinuz[SETUP_SECTS]);
        long start = (sectors + 1) * 512L + Integer.toUnsignedLong(image.getInt(PAYLOAD_OFFSET));
        long end = start + Integer.toUnsignedLong(image.getInt(PAYLOAD_LENGTH));
        if (end > vmlinuz.length || end - start < 8) {
            throw damaged(name, "it is truncated");
        }
        byte[] payload = Arrays.copyOfRange(vmlinuz, (int) start, (int) end);
        ByteBuffer head = ByteBuffer.wrap(payload).order(ByteOrder.LITTLE_ENDIAN);
        if (head.getInt(0) == ELF) {
            return payload;
        }
        int size = head.getInt(payload.length - 4);
        if (size <= 0 || size > MAX_SIZE) {
            throw damaged(name, "its kernel would have " + Integer.toUnsignedLong(size) + " bytes");
        }
        byte[] kernel = unpack(payload, size, name);
        if (kernel.length != size
                || ByteBuffer.wrap(kernel).order(ByteOrder.LITTLE_ENDIAN).getInt(0) != ELF) {
            throw damaged(name, "what it unpacks to is not the kernel that was packed");
        }
        return kernel;
    }

    private static byte[] unpack(byte[] payload, int size, String name) {
        // gzip keeps the size at its end itself; after the others it has been appended.
        byte[] packed = Arrays.copyOf(payload, payload.length - 4);
        try {
            return switch (HexFormat.of().formatHex(payload, 0, 2)) {
                case "1f8b" -> read(new GZIPInputStream(new ByteArrayInputStream(payload)), size);
                case "28b5" -> read(new ZstdCompressorInputStream(new ByteArrayInputStream(packed)), size);
                case "fd37" -> read(new SingleXZInputStream(new ByteArrayInputStream(packed)), size);
                case "0221" -> lz4(packed, size);
                case "425a" -> throw unsupported(name, "bzip2");
                case "5d00" -> throw unsupported(name, "lzma");
                case "894c" -> throw unsupported(name, "lzo");
                default -> throw damaged(name, "its kernel is packed in a way that is not known");
            };
        } catch (IOException e) {
            throw damaged(name, "its kernel does not unpack: " + e.getMessage());
        }
    }

    private static byte[] read(InputStream in, int size) throws IOException {
        try (in) {
            return in.readNBytes(size + 1);
        }
    }

    /** The legacy frame: the magic, then blocks, each after its packed size. */
    private static byte[] lz4(byte[] packed, int size) throws IOException {
        ByteBuffer in = ByteBuffer.wrap(packed).order(ByteOrder.LITTLE_ENDIAN);
        ByteArrayOutputStream out = new ByteArrayOutputStream(size);
        if (in.getInt() != LZ4_LEGACY) {
            throw new IOException("not a legacy LZ4 frame");
        }
        while (in.remaining() >= 4) {
            int length = in.getInt();
            if (length <= 0 || length > in.remaining()) {
                throw new IOException("an LZ4 block of " + length + " bytes");
            }
            try (InputStream block =
                    new BlockLZ4CompressorInputStream(new ByteArrayInputStream(packed, in.position(), length))) {
                block.transferTo(out);
            }
            in.position(in.position() + length);
        }
        return out.toByteArray();
    }

    private static ForkdException damaged(String name, String why) {
        return new ForkdException(Kind.DAMAGED, "cannot take the kernel out of " + name + ": " + why);
    }

    private static ForkdException unsupported(String name, String how) {
        return new ForkdException(
                Kind.UNSUPPORTED,
                "cannot take the kernel out of " + name + ": it is packed with " + how,
                "gzip, xz, zstd and lz4 are understood. Linux's scripts/extract-vmlinux unpacks others.");
    }
}
