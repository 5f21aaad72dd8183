package io.forkd.pack;

import io.forkd.ForkdException;
import io.forkd.files.SparseFile;
import io.forkd.pack.PackManifest.Link;
import io.forkd.pack.PackManifest.Member;
import java.io.IOException;
import java.io.InputStream;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HashMap;
import java.util.HashSet;
import java.util.HexFormat;
import java.util.Map;
import java.util.Set;
import java.util.function.LongConsumer;

/**
 * Reads a pack, which may be anybody's: nothing that it does not declare first is passed on, nothing of another size, and
 * nothing but files of the few names that a snapshot has. It writes nothing itself.
 */
public final class PackReader implements AutoCloseable {
    /** What tar may fill its last record up with, generously. */
    private static final int MOST_PADDING = 1 << 20;

    private final Refusal refusal;
    private final OneFrame archive;
    private final PackManifest manifest;

    /** Where files go. */
    public interface Target {
        /**
         * Takes a file, as much of it as it wants. That it is what the manifest says is known only when this is called for
         * the next one, or all has been read.
         */
        void take(Link link, Member file, InputStream content) throws IOException;
    }

    private PackReader(Refusal refusal, OneFrame archive) throws IOException {
        this.refusal = refusal;
        this.archive = archive;
        this.manifest = readManifest();
    }

    /**
     * Reads as far as the manifest.
     *
     * @param progress hears how many bytes more of the file were read
     */
    public static PackReader open(Path file, LongConsumer progress) {
        Refusal refusal = new Refusal(file.toString());
        try {
            OneFrame archive = new OneFrame(FileChannel.open(file, StandardOpenOption.READ), refusal, progress);
            try {
                return new PackReader(refusal, archive);
            } catch (IOException | RuntimeException e) {
                archive.close();
                throw e;
            }
        } catch (IOException e) {
            throw ForkdException.of("read " + file, e);
        }
    }

    public PackManifest manifest() {
        return manifest;
    }

    /** Says why the pack is not used. */
    public ForkdException refuse(String why) {
        return refusal.of(why);
    }

    /** The same, of another kind. */
    public ForkdException refuse(ForkdException.Kind kind, String why, String advice) {
        return refusal.of(kind, why, advice);
    }

    /** Writes a file that was read, where there is none, and waits until it is on the disk. */
    public static void store(InputStream content, Path file) throws IOException {
        SparseFile.write(content, file);
    }

    private PackManifest readManifest() throws IOException {
        byte[] block = block();
        if (isZero(block)) {
            throw refusal.of("it is empty");
        }
        TarHeader header = TarHeader.parse(block, refusal);
        if (!header.name().equals(PackManifest.FILE)) {
            throw refusal.of("its first file is " + Refusal.quoted(header.name()) + ", and not manifest.toml");
        }
        if (header.bytes() > ManifestToml.MOST_BYTES) {
            throw refusal.of(
                    "manifest.toml has " + header.bytes() + " bytes, and " + ManifestToml.MOST_BYTES + " are allowed");
        }
        byte[] toml = archive.readNBytes((int) header.bytes());
        if (toml.length < header.bytes()) {
            throw refusal.of("it ends in the midst of manifest.toml");
        }
        skipPadding(header.bytes());
        return new ManifestToml(refusal).decode(toml);
    }

    private record Declared(Link link, Member file) {}

    /** Reads everything, to the end of the file. What the target got is what the manifest says, when this returns. */
    public void readAll(Target target) throws IOException {
        Map<String, Declared> declared = new HashMap<>();
        for (Link link : manifest.links()) {
            link.files().forEach(file -> declared.put(manifest.path(link, file), new Declared(link, file)));
        }
        Set<String> seen = new HashSet<>();
        for (byte[] block = block(); !isZero(block); block = block()) {
            TarHeader header = TarHeader.parse(block, refusal);
            requireInside(header.name());
            Declared found = declared.get(header.name());
            if (found == null) {
                throw refusal.of("it has " + Refusal.quoted(header.name()) + ", which manifest.toml does not name");
            }
            if (!seen.add(header.name())) {
                throw refusal.of("it has '" + header.name() + "' twice");
            }
            if (header.bytes() != found.file().bytes()) {
                throw refusal.of("'" + header.name() + "' has " + header.bytes() + " bytes, and manifest.toml says "
                        + found.file().bytes());
            }
            read(found, header, target);
        }
        requireEnd();
        for (String name : declared.keySet().stream().sorted().toList()) {
            if (!seen.contains(name)) {
                throw refusal.of("it lacks '" + name + "', which manifest.toml names");
            }
        }
    }

    /** They would not be found anyway; but this is what is wrong with them. */
    private void requireInside(String name) {
        if (name.startsWith("/")) {
            throw refusal.of("it has " + Refusal.quoted(name) + ", which is an absolute path");
        }
        if (("/" + name + "/").contains("/../")) {
            throw refusal.of("it has " + Refusal.quoted(name) + ", which leads out of the pack");
        }
    }

    private void read(Declared declared, TarHeader header, Target target) throws IOException {
        Content content = new Content(header);
        target.take(declared.link(), declared.file(), content);
        content.finish();
        String found = HexFormat.of().formatHex(content.digest.digest());
        if (!found.equals(declared.file().sha256())) {
            throw refusal.of("'" + header.name() + "' has the SHA-256 " + found + ", and manifest.toml says "
                    + declared.file().sha256());
        }
        skipPadding(header.bytes());
    }

    /** The bytes of one file. */
    private final class Content extends InputStream {
        private final TarHeader header;
        private final MessageDigest digest = sha256();
        private long left;

        Content(TarHeader header) {
            this.header = header;
            this.left = header.bytes();
        }

        @Override
        public int read() throws IOException {
            byte[] one = new byte[1];
            return read(one, 0, 1) < 0 ? -1 : Byte.toUnsignedInt(one[0]);
        }

        @Override
        public int read(byte[] out, int offset, int length) throws IOException {
            if (left == 0) {
                return -1;
            }
            int count = archive.read(out, offset, (int) Math.min(left, length));
            if (count < 0) {
                throw refusal.of("it ends in the midst of '" + header.name() + "'");
            }
            digest.update(out, offset, count);
            left -= count;
            return count;
        }

        private void finish() throws IOException {
            byte[] rest = new byte[1 << 16];
            while (read(rest, 0, rest.length) >= 0) {
                // only to be counted, and hashed
            }
        }
    }

    static MessageDigest sha256() {
        try {
            return MessageDigest.getInstance("SHA-256");
        } catch (NoSuchAlgorithmException e) {
            throw new AssertionError("every Java has SHA-256", e);
        }
    }

    private byte[] block() throws IOException {
        byte[] block = archive.readNBytes(TarHeader.BLOCK);
        if (block.length < TarHeader.BLOCK) {
            throw refusal.of("its archive has no end");
        }
        return block;
    }

    private static boolean isZero(byte[] block) {
        for (byte each : block) {
            if (each != 0) {
                return false;
            }
        }
        return true;
    }

    /** A file ends with its block, and nothing is hidden in what is left of that. */
    private void skipPadding(long bytes) throws IOException {
        int length = (int) (-bytes & (TarHeader.BLOCK - 1));
        byte[] padding = archive.readNBytes(length);
        if (padding.length < length || !isZero(padding)) {
            throw refusal.of("it is no tar archive, or a damaged one");
        }
    }

    /** One block of zeroes has been read. A second ends an archive; the rest of a record may follow. */
    private void requireEnd() throws IOException {
        byte[] rest = archive.readNBytes(MOST_PADDING);
        if (rest.length < TarHeader.BLOCK || rest.length % TarHeader.BLOCK != 0 || !isZero(rest)) {
            throw refusal.of("its archive has no end, or something after it");
        }
        archive.requireEnd();
    }

    @Override
    public void close() {
        try {
            archive.close();
        } catch (IOException e) {
            throw ForkdException.of("close " + refusal.file(), e);
        }
    }
}
