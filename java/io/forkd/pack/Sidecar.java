package io.forkd.pack;

import com.github.luben.zstd.ZstdOutputStreamNoFinalizer;
import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.files.SparseFile;
import io.forkd.pack.PackManifest.Rootfs;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.security.DigestInputStream;
import java.security.MessageDigest;
import java.util.HexFormat;
import java.util.function.LongConsumer;

/** The file beside a pack that the root disk is in. */
public final class Sidecar {
    /** What the published ones have; a disk is packed once, and copied often. */
    private static final int LEVEL = 19;

    private static final int MOST_WORKERS = 4;
    private static final int BUFFER = 1 << 17;

    private Sidecar() {}

    /** Packs a disk into a new file, which is not waited for. */
    public static void write(Path image, Rootfs rootfs, Path file, LongConsumer progress) throws IOException {
        MessageDigest digest = PackReader.sha256();
        try (InputStream in = Files.newInputStream(image);
                OutputStream out =
                        Files.newOutputStream(file, StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE);
                ZstdOutputStreamNoFinalizer packed = new ZstdOutputStreamNoFinalizer(out, LEVEL)) {
            packed.setChecksum(true);
            packed.setWorkers(Math.min(MOST_WORKERS, Runtime.getRuntime().availableProcessors()));
            byte[] buffer = new byte[BUFFER];
            int count;
            while ((count = in.read(buffer)) >= 0) {
                digest.update(buffer, 0, count);
                packed.write(buffer, 0, count);
                progress.accept(count);
            }
        }
        if (!HexFormat.of().formatHex(digest.digest()).equals(rootfs.sha256())) {
            throw new ForkdException(Kind.CONFLICT, image + " has changed while it was packed", "Try again.");
        }
    }

    /** Unpacks one into a new file, waits until it is on the disk, and fails unless it is the disk that was meant. */
    public static void read(Path sidecar, Rootfs rootfs, Path file, LongConsumer progress) throws IOException {
        read(sidecar, rootfs, disk -> SparseFile.write(disk, file), progress);
    }

    /** Fails unless it is the disk that was meant. */
    public static void check(Path sidecar, Rootfs rootfs, LongConsumer progress) throws IOException {
        read(sidecar, rootfs, disk -> disk.transferTo(OutputStream.nullOutputStream()), progress);
    }

    private interface Reader {
        void read(InputStream disk) throws IOException;
    }

    private static void read(Path sidecar, Rootfs rootfs, Reader reader, LongConsumer progress) throws IOException {
        Refusal refusal = new Refusal(sidecar.toString());
        MessageDigest digest = PackReader.sha256();
        try (OneFrame disk = new OneFrame(FileChannel.open(sidecar, StandardOpenOption.READ), refusal, progress)) {
            reader.read(new DigestInputStream(new Bounded(disk, rootfs.bytes(), refusal), digest));
            disk.requireEnd();
        }
        String found = HexFormat.of().formatHex(digest.digest());
        if (!found.equals(rootfs.sha256())) {
            throw refusal.of("the disk in it has the SHA-256 " + found + ", and the pack says " + rootfs.sha256());
        }
    }

    /** So many bytes, neither more nor less. */
    private static final class Bounded extends InputStream {
        private final InputStream in;
        private final Refusal refusal;
        private final long bytes;
        private long left;

        Bounded(InputStream in, long bytes, Refusal refusal) {
            this.in = in;
            this.bytes = bytes;
            this.left = bytes;
            this.refusal = refusal;
        }

        @Override
        public int read() throws IOException {
            byte[] one = new byte[1];
            return read(one, 0, 1) < 0 ? -1 : Byte.toUnsignedInt(one[0]);
        }

        @Override
        public int read(byte[] out, int offset, int length) throws IOException {
            if (left == 0) {
                return -1; // What comes after it is found by who asks for the end.
            }
            int count = in.read(out, offset, (int) Math.min(left, length));
            if (count < 0) {
                throw refusal.of("the disk in it has " + (bytes - left) + " bytes, and the pack says " + bytes);
            }
            left -= count;
            return count;
        }
    }
}
