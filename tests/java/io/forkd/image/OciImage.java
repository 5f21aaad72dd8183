package io.forkd.image;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.zip.GZIPOutputStream;
import org.apache.commons.compress.archivers.tar.TarArchiveEntry;
import org.apache.commons.compress.archivers.tar.TarArchiveOutputStream;
import org.apache.commons.compress.archivers.tar.TarConstants;
import org.apache.commons.compress.compressors.zstandard.ZstdCompressorOutputStream;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/** An image made on the spot, in an OCI layout under the name {@code 1}. */
public final class OciImage {
    private static final String MANIFEST = "application/vnd.oci.image.manifest.v1+json";
    private static final long TIME = 1_600_000_000_000L;

    /** How a layer is packed. */
    public enum Packing {
        PLAIN(""),
        GZIP("+gzip"),
        ZSTD("+zstd");

        private final String suffix;

        Packing(String suffix) {
            this.suffix = suffix;
        }
    }

    private record Blob(Digest digest, long size, String mediaType) {}

    private final Path directory;
    private final List<Blob> layers = new ArrayList<>();
    private final List<Digest> contents = new ArrayList<>();
    private final ObjectNode config = JsonNodeFactory.instance.objectNode();

    public OciImage(Path directory) {
        this.directory = directory;
        config.putArray("Env").add("PATH=/bin").add("WORD=two words");
        config.put("WorkingDir", "/work").put("User", "1000:1000");
        config.putArray("Entrypoint").add("/bin/entry");
        config.putArray("Cmd").add("a").add("b");
    }

    public OciImage workingDirectory(String path) {
        config.put("WorkingDir", path);
        return this;
    }

    /** Members of a layer's archive. */
    public static final class Members {
        private final ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        private final TarArchiveOutputStream tar = new TarArchiveOutputStream(bytes, "ISO-8859-1");
        private long seconds = TIME / 1000;

        public Members() {
            tar.setLongFileMode(TarArchiveOutputStream.LONGFILE_POSIX);
            tar.setBigNumberMode(TarArchiveOutputStream.BIGNUMBER_POSIX);
        }

        public Members directory(String name, int mode) {
            TarArchiveEntry entry = new TarArchiveEntry(name + "/", TarConstants.LF_DIR, true);
            return add(entry, mode, 0, 0, new byte[0]);
        }

        public Members file(String name, int mode, int uid, int gid, String content) {
            return file(name, mode, uid, gid, content.getBytes(StandardCharsets.UTF_8));
        }

        public Members file(String name, int mode, int uid, int gid, byte[] content) {
            return add(new TarArchiveEntry(name, TarConstants.LF_NORMAL, true), mode, uid, gid, content);
        }

        public Members file(String name, String content) {
            return file(name, 0644, 0, 0, content);
        }

        public Members file(String name, byte[] content) {
            return add(new TarArchiveEntry(name, TarConstants.LF_NORMAL, true), 0644, 0, 0, content);
        }

        public Members link(byte type, String name, String target) {
            TarArchiveEntry entry = new TarArchiveEntry(name, type, true);
            entry.setLinkName(target);
            return add(entry, 0777, 0, 0, new byte[0]);
        }

        public Members symlink(String name, String target) {
            return link(TarConstants.LF_SYMLINK, name, target);
        }

        public Members hardLink(String name, String target) {
            return link(TarConstants.LF_LINK, name, target);
        }

        /** A link whose header gives it a size, as common builders write them; content follows none. */
        public Members linkWithSize(byte type, String name, String target, long size) throws IOException {
            TarArchiveEntry entry = new TarArchiveEntry(name, type, true);
            entry.setLinkName(target);
            entry.setMode(0644);
            entry.setModTime(TIME);
            entry.setSize(size);
            byte[] header = new byte[512];
            entry.writeEntryHeader(header);
            tar.flush();
            bytes.writeBytes(header);
            return this;
        }

        /** When the members that follow were changed. */
        public Members at(long time) {
            seconds = time;
            return this;
        }

        public Members device(byte type, String name, int major, int minor) {
            TarArchiveEntry entry = new TarArchiveEntry(name, type, true);
            entry.setDevMajor(major);
            entry.setDevMinor(minor);
            return add(entry, 0620, 0, 5, new byte[0]);
        }

        public Members ofType(char type, String name) {
            return ofType(type, name, 0644);
        }

        public Members ofType(char type, String name, int mode) {
            return add(new TarArchiveEntry(name, (byte) type, true), mode, 0, 0, new byte[0]);
        }

        /** Extended attributes for the member that comes next, byte by byte. */
        public Members xattrs(Map<String, byte[]> xattrs) {
            Map<String, byte[]> records = new LinkedHashMap<>();
            xattrs.forEach((name, value) -> records.put("SCHILY.xattr." + name, value));
            return extended(records);
        }

        /** An extended header for the member that comes next. */
        public Members extended(Map<String, byte[]> values) {
            ByteArrayOutputStream records = new ByteArrayOutputStream();
            values.forEach((name, value) -> {
                byte[] key = (" " + name + "=").getBytes(StandardCharsets.UTF_8);
                int length = key.length + value.length + 1;
                int digits = Integer.toString(length).length();
                digits = Integer.toString(length + digits).length();
                records.writeBytes(Integer.toString(length + digits).getBytes(StandardCharsets.US_ASCII));
                records.writeBytes(key);
                records.writeBytes(value);
                records.write('\n');
            });
            TarArchiveEntry entry = new TarArchiveEntry("PaxHeaders/x", TarConstants.LF_PAX_EXTENDED_HEADER_LC, true);
            return add(entry, 0644, 0, 0, records.toByteArray());
        }

        private Members add(TarArchiveEntry entry, int mode, int uid, int gid, byte[] content) {
            try {
                entry.setMode(mode);
                entry.setUserId(uid);
                entry.setGroupId(gid);
                entry.setLastModifiedTime(FileTime.from(seconds, TimeUnit.SECONDS));
                entry.setSize(content.length);
                tar.putArchiveEntry(entry);
                tar.write(content);
                tar.closeArchiveEntry();
                return this;
            } catch (IOException e) {
                throw new UncheckedIOException(e);
            }
        }

        /** What is there so far, without the end of an archive. */
        public byte[] unfinished() throws IOException {
            tar.flush();
            return bytes.toByteArray();
        }

        public byte[] archive() {
            try {
                tar.close();
                return bytes.toByteArray();
            } catch (IOException e) {
                throw new UncheckedIOException(e);
            }
        }
    }

    public OciImage layer(Packing packing, Members members) throws IOException {
        return layer(packing, members.archive());
    }

    public OciImage layer(Packing packing, byte[] archive) throws IOException {
        ByteArrayOutputStream packed = new ByteArrayOutputStream();
        try (OutputStream out = pack(packing, packed)) {
            out.write(archive);
        }
        contents.add(Digest.sha256(archive));
        layers.add(blob(packed.toByteArray(), "application/vnd.oci.image.layer.v1.tar" + packing.suffix));
        return this;
    }

    private static OutputStream pack(Packing packing, OutputStream out) throws IOException {
        return switch (packing) {
            case PLAIN -> out;
            case GZIP -> new GZIPOutputStream(out);
            case ZSTD -> new ZstdCompressorOutputStream(out);
        };
    }

    /** Adds a layer that is packed already, in parts that come one after the other. */
    public OciImage packedLayer(List<byte[]> parts, Digest content) throws IOException {
        ByteArrayOutputStream packed = new ByteArrayOutputStream();
        for (byte[] part : parts) {
            packed.write(part);
        }
        contents.add(content);
        layers.add(blob(packed.toByteArray(), "application/vnd.oci.image.layer.v1.tar+gzip"));
        return this;
    }

    /** What the manifest says of the layer that was added last, and is not so. */
    public OciImage claim(long moreBytes, String mediaType) {
        Blob last = layers.remove(layers.size() - 1);
        layers.add(new Blob(last.digest(), last.size() + moreBytes, mediaType));
        return this;
    }

    /** The layer that was added last is under another name, which is none of its content. */
    public OciImage claim(Digest digest) throws IOException {
        Blob last = layers.remove(layers.size() - 1);
        Files.copy(file(last.digest()), file(digest));
        layers.add(new Blob(digest, last.size(), last.mediaType()));
        return this;
    }

    private Path file(Digest digest) {
        return directory.resolve("blobs").resolve("sha256").resolve(digest.hex());
    }

    /** Writes what is not a layer, and returns the reference to the image. */
    public String write() throws IOException {
        ObjectNode document = JsonNodeFactory.instance.objectNode();
        document.put("architecture", Platform.host().architecture()).put("os", "linux");
        document.set("config", config);
        ArrayNode diffIds = document.putObject("rootfs").put("type", "layers").putArray("diff_ids");
        contents.forEach(digest -> diffIds.add(digest.toString()));

        ObjectNode manifest = JsonNodeFactory.instance.objectNode();
        manifest.put("schemaVersion", 2).put("mediaType", MANIFEST);
        describe(manifest.putObject("config"), blob(bytes(document), "application/vnd.oci.image.config.v1+json"));
        ArrayNode list = manifest.putArray("layers");
        layers.forEach(layer -> describe(list.addObject(), layer));

        ObjectNode index = JsonNodeFactory.instance.objectNode();
        index.put("schemaVersion", 2);
        ObjectNode entry = index.putArray("manifests").addObject();
        describe(entry, blob(bytes(manifest), MANIFEST));
        entry.putObject("annotations").put("org.opencontainers.image.ref.name", "1");
        Files.write(directory.resolve("index.json"), bytes(index));
        Files.writeString(directory.resolve("oci-layout"), "{\"imageLayoutVersion\":\"1.0.0\"}");
        return "oci:" + directory + ":1";
    }

    private static byte[] bytes(ObjectNode json) {
        return json.toString().getBytes(StandardCharsets.UTF_8);
    }

    private static void describe(ObjectNode node, Blob blob) {
        node.put("mediaType", blob.mediaType())
                .put("digest", blob.digest().toString())
                .put("size", blob.size());
    }

    private Blob blob(byte[] bytes, String mediaType) throws IOException {
        Digest digest = Digest.sha256(bytes);
        Path file = file(digest);
        Files.createDirectories(file.getParent());
        Files.write(file, bytes);
        return new Blob(digest, bytes.length, mediaType);
    }

    /** Bytes that a file's capabilities are kept as: cap_net_raw+ep. They are no UTF-8. */
    public static byte[] capability() {
        return HexFormat.of().parseHex("0100000200200000000000000000000000000080");
    }
}
