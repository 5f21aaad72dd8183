package io.forkd.pack;

import com.github.luben.zstd.ZstdOutputStreamNoFinalizer;
import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.pack.PackManifest.Link;
import io.forkd.pack.PackManifest.Member;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.security.MessageDigest;
import java.util.HexFormat;
import java.util.function.LongConsumer;
import org.apache.commons.compress.archivers.tar.TarArchiveEntry;
import org.apache.commons.compress.archivers.tar.TarArchiveOutputStream;

/** Writes packs: the same content gives the same bytes, whoever writes it and when. */
public final class PackWriter {
    /** What the published packs have. */
    private static final int LEVEL = 3;

    private static final int MODE = 0644;
    private static final int BUFFER = 1 << 17;

    private PackWriter() {}

    /** What is in a file of a pack. */
    public interface Content {
        InputStream open() throws IOException;

        static Content of(Path file) {
            return () -> Files.newInputStream(file, StandardOpenOption.READ);
        }

        static Content of(byte[] bytes) {
            return () -> new ByteArrayInputStream(bytes);
        }
    }

    /** Where the content of a file is found. */
    public interface Contents {
        Content of(Link link, Member file);
    }

    /** Says what the manifest has of a file. */
    public static Member measure(String name, Content content, LongConsumer progress) throws IOException {
        MessageDigest digest = PackReader.sha256();
        try (InputStream in = content.open()) {
            long bytes = copy(in, digest, OutputStream.nullOutputStream(), progress);
            return new Member(name, bytes, HexFormat.of().formatHex(digest.digest()));
        }
    }

    /**
     * Writes a new file, which is not waited for.
     *
     * @param progress hears how many bytes more of the content were packed
     */
    public static void write(PackManifest manifest, Contents contents, Path file, LongConsumer progress)
            throws IOException {
        try (OutputStream out = Files.newOutputStream(file, StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE);
                ZstdOutputStreamNoFinalizer packed = new ZstdOutputStreamNoFinalizer(out, LEVEL);
                TarArchiveOutputStream archive = new TarArchiveOutputStream(packed)) {
            packed.setChecksum(true);
            archive.setBigNumberMode(TarArchiveOutputStream.BIGNUMBER_STAR);
            byte[] toml = ManifestToml.encode(manifest);
            begin(archive, PackManifest.FILE, toml.length);
            archive.write(toml);
            archive.closeArchiveEntry();
            for (Link link : manifest.links()) {
                for (Member member : link.files()) {
                    begin(archive, manifest.path(link, member), member.bytes());
                    MessageDigest digest = PackReader.sha256();
                    try (InputStream content = contents.of(link, member).open()) {
                        copy(content, digest, archive, progress);
                    }
                    archive.closeArchiveEntry();
                    requireSame(member, digest);
                }
            }
        }
    }

    private static void begin(TarArchiveOutputStream archive, String name, long bytes) throws IOException {
        TarArchiveEntry entry = new TarArchiveEntry(name);
        entry.setSize(bytes);
        entry.setMode(MODE);
        entry.setModTime(0);
        archive.putArchiveEntry(entry);
    }

    private static void requireSame(Member member, MessageDigest digest) {
        if (!HexFormat.of().formatHex(digest.digest()).equals(member.sha256())) {
            throw new ForkdException(Kind.CONFLICT, member.name() + " has changed while it was packed", "Try again.");
        }
    }

    private static long copy(InputStream in, MessageDigest digest, OutputStream out, LongConsumer progress)
            throws IOException {
        byte[] buffer = new byte[BUFFER];
        long bytes = 0;
        int count;
        while ((count = in.read(buffer)) >= 0) {
            digest.update(buffer, 0, count);
            out.write(buffer, 0, count);
            progress.accept(count);
            bytes += count;
        }
        return bytes;
    }
}
