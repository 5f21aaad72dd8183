package io.forkd.pack;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.github.luben.zstd.Zstd;
import io.forkd.ForkdException;
import io.forkd.files.Trees;
import io.forkd.snapshot.Volume;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.function.UnaryOperator;
import java.util.stream.Stream;
import java.util.zip.GZIPOutputStream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Packs with one thing wrong each: what it is, is said, and nothing is written. */
class HostilePackTest {
    private static Path origin;

    /** The files of a good pack of one snapshot, of one of a snapshot with a volume, and of one of a chain. */
    private static Map<String, byte[]> base;

    private static Map<String, byte[]> withVolume;
    private static Map<String, byte[]> chain;
    private static String chainToml;
    private static byte[] disk;
    private static byte[] sidecar;

    @TempDir
    Path folder;

    private Sample host;
    private Path pack;
    private Path beside;

    @BeforeAll
    static void makeGoodOnes() throws Exception {
        origin = Files.createTempDirectory("forkd-");
        Sample source = new Sample(origin);
        source.chain();
        Path volume = Files.write(origin.resolve("volume.sqfs"), Arrays.copyOf("hsqs".getBytes(), 4096));
        source.snapshot("mounted", Optional.empty(), List.of(new Volume(volume, "/data", true)));
        disk = Files.readAllBytes(source.disk());
        sidecar = Files.readAllBytes(source.pack("base", origin.resolve("base")).sidecar());
        source.pack("top", origin.resolve("top"));
        source.pack("mounted", origin.resolve("mounted"));
        base = files(origin.resolve("base"));
        withVolume = files(origin.resolve("mounted"));
        chain = files(origin.resolve("top"));
        chainToml = new String(chain.remove(PackManifest.FILE), StandardCharsets.UTF_8);
        base.remove(PackManifest.FILE);
        withVolume.remove(PackManifest.FILE);
    }

    @AfterAll
    static void removeThem() throws IOException {
        Trees.delete(origin);
    }

    /** What an archive has, in its order. */
    private static Map<String, byte[]> files(Path pack) throws IOException {
        byte[] packed = Files.readAllBytes(pack);
        byte[] tar;
        try (var in = new com.github.luben.zstd.ZstdInputStream(new java.io.ByteArrayInputStream(packed))) {
            tar = in.readAllBytes();
        }
        Map<String, byte[]> files = new LinkedHashMap<>();
        for (int at = 0; tar[at] != 0; ) {
            TarHeader header = TarHeader.parse(Arrays.copyOfRange(tar, at, at + 512), new Refusal("good"));
            files.put(header.name(), Arrays.copyOfRange(tar, at + 512, at + 512 + (int) header.bytes()));
            at += 512 + (int) (header.bytes() + 511) / 512 * 512;
        }
        return files;
    }

    @BeforeEach
    void makeHost() throws IOException {
        host = new Sample(folder.resolve("host"));
        host.snapshot("kept", Optional.empty(), List.of());
        Path mail = Files.createDirectory(folder.resolve("mail"));
        pack = mail.resolve("it");
        beside = mail.resolve(sha256(disk).substring(0, 16) + ".rootfs.zst");
        Files.write(beside, sidecar);
    }

    static String sha256(byte[] bytes) {
        try {
            return HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(bytes));
        } catch (java.security.NoSuchAlgorithmException e) {
            throw new AssertionError(e);
        }
    }

    /** What a good manifest of these says. */
    private static String toml(Map<String, byte[]> files) {
        StringBuilder toml = new StringBuilder("""
                forkd_pack_version = 1
                tag = "base"
                created_at = "2026-01-01T00:00:00Z"
                forkd_version = "0.1.0"
                files = [
                """);
        files.forEach((name, bytes) -> toml.append(
                "{ path = \"%s\", size = %d, sha256 = \"%s\" },\n".formatted(name, bytes.length, sha256(bytes))));
        return toml.append("]\n[rootfs]\ntarget_path = \"/etc/passwd\"\nsha256 = \"%s\"\nsize = %d\n"
                        .formatted(sha256(disk), disk.length))
                .toString();
    }

    private static Archive archive(String toml, Map<String, byte[]> files) {
        Archive archive = new Archive().file(PackManifest.FILE, toml);
        files.forEach(archive::file);
        return archive;
    }

    private static Archive good() {
        return archive(toml(base), base);
    }

    /** A good one, packed. */
    private static byte[] whole() {
        return Archive.packed(good().tar());
    }

    /** One that is good but for what its manifest says. */
    private static byte[] said(UnaryOperator<String> change) {
        String toml = toml(base);
        String changed = change.apply(toml);
        assertThat(changed).isNotEqualTo(toml);
        return Archive.packed(archive(changed, base).tar());
    }

    private static byte[] said(String from, String to) {
        return said(toml -> toml.replace(from, to));
    }

    private static byte[] chained(UnaryOperator<String> change) {
        String changed = change.apply(chainToml);
        assertThat(changed).isNotEqualTo(chainToml);
        return Archive.packed(archive(changed, chain).tar());
    }

    /** A good pack of other files. */
    private static byte[] of(Map<String, byte[]> files) {
        return Archive.packed(archive(toml(files), files).tar());
    }

    private static Map<String, byte[]> with(String name, byte[] content) {
        Map<String, byte[]> files = new LinkedHashMap<>(base);
        files.put(name, content);
        return files;
    }

    private static Map<String, byte[]> without(String name) {
        Map<String, byte[]> files = new LinkedHashMap<>(base);
        files.remove(name);
        return files;
    }

    /** Another snapshot.json. */
    private static byte[] json(String from, String to) {
        String json = new String(base.get("snapshot.json"), StandardCharsets.UTF_8);
        assertThat(json).contains(from);
        return of(with("snapshot.json", json.replace(from, to).getBytes(StandardCharsets.UTF_8)));
    }

    /** A vmstate that begins so. */
    private static byte[] state(long magic, int version) {
        ByteBuffer header = ByteBuffer.allocate(40).order(ByteOrder.LITTLE_ENDIAN);
        header.putLong(magic).putInt(version).putInt(0).putLong(32);
        header.putInt(28, Sample.crc(header.array(), 0, 28));
        return of(with("vmstate", header.array()));
    }

    private static final long FORKD = 0x534d_5644_4b52_4f46L;

    /** After a good manifest, an entry of that kind. */
    private static byte[] entry(char type) {
        return Archive.packed(good().entry("odd", type, new byte[0]).tar());
    }

    private static byte[] join(byte[]... parts) {
        ByteArrayOutputStream all = new ByteArrayOutputStream();
        for (byte[] part : parts) {
            all.writeBytes(part);
        }
        return all.toByteArray();
    }

    private static byte[] layer(int at, long value, boolean number) {
        byte[] layer = base.get("disk-0.layer").clone();
        ByteBuffer file = ByteBuffer.wrap(layer).order(ByteOrder.LITTLE_ENDIAN);
        if (number) {
            file.putLong(at, value);
        } else {
            file.putInt(at, (int) value);
        }
        file.putInt(48, Sample.crc(layer, 2 * Sample.PAGE, 24));
        file.putInt(Sample.PAGE - 4, Sample.crc(layer, 0, Sample.PAGE - 4));
        return of(with("disk-0.layer", layer));
    }

    private static final byte[] SKIPPABLE = {0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4};

    private record Hostile(String name, byte[] pack, String why) {
        @Override
        public String toString() {
            return name;
        }
    }

    private static final String KIND = ", 'odd', and a pack has nothing but files";
    private static final String NO_TAR = "it is no tar archive, or a damaged one";

    static Stream<Hostile> archives() throws IOException {
        ByteArrayOutputStream gzip = new ByteArrayOutputStream();
        try (GZIPOutputStream out = new GZIPOutputStream(gzip)) {
            out.write(good().tar());
        }
        byte[] whole = whole();
        byte[] memory = base.get("memory.bin");
        List<Hostile> all = new ArrayList<>();
        all.add(new Hostile("nothing", new byte[0], "it is cut short"));
        all.add(new Hostile("not packed", good().tar(), "it is not packed by zstd"));
        all.add(new Hostile("gzip", gzip.toByteArray(), "it is not packed by zstd"));
        all.add(new Hostile("three bytes", Arrays.copyOf(whole, 3), "it is not packed by zstd"));
        all.add(new Hostile("half", Arrays.copyOf(whole, whole.length / 2), "it is cut short"));
        all.add(new Hostile("all but a byte", Arrays.copyOf(whole, whole.length - 1), "it is cut short"));
        all.add(new Hostile("a byte more", join(whole, new byte[1]), "something comes after its end"));
        all.add(new Hostile("two frames", join(whole, whole), "something comes after its end"));
        all.add(new Hostile("skippable frame before", join(SKIPPABLE, whole), "it is not packed by zstd"));
        all.add(new Hostile("skippable frame after", join(whole, SKIPPABLE), "something comes after its end"));
        all.add(new Hostile(
                "window of 2 GiB",
                new byte[] {0x28, (byte) 0xb5, 0x2f, (byte) 0xfd, 0, (byte) ((31 - 10) << 3), 1, 0, 0},
                "it cannot be unpacked by zstd: Frame requires too much memory for decoding"));
        all.add(new Hostile(
                "damaged",
                join(Arrays.copyOf(whole, 9), new byte[whole.length]),
                "it cannot be unpacked by zstd: Data corruption detected"));
        all.add(new Hostile(
                "bomb behind the end",
                Archive.packed(Arrays.copyOf(good().tar(), 1 << 26)),
                "it has more in it than it says"));
        all.add(new Hostile(
                "something behind the end",
                Archive.packed(join(good().tar(), memory)),
                "its archive has no end, or something after it"));
        all.add(new Hostile("no tar", Archive.packed("hello".repeat(1000).getBytes()), NO_TAR));
        all.add(new Hostile("half a block", Archive.packed("hello".getBytes()), "its archive has no end"));
        all.add(new Hostile("empty archive", Archive.packed(new Archive().tar()), "it is empty"));
        all.add(new Hostile("no end", Archive.packed(good().open()), "its archive has no end"));
        all.add(new Hostile(
                "half an end",
                Archive.packed(good().raw(new byte[512]).open()),
                "its archive has no end, or something after it"));
        all.add(new Hostile(
                "manifest not first",
                Archive.packed(new Archive()
                        .file("vmstate", "x")
                        .file(PackManifest.FILE, toml(base))
                        .tar()),
                "its first file is 'vmstate', and not manifest.toml"));
        all.add(new Hostile(
                "manifest twice",
                Archive.packed(good().file(PackManifest.FILE, toml(base)).tar()),
                "it has 'manifest.toml', which manifest.toml does not name"));
        all.add(new Hostile(
                "manifest of 2 MiB",
                Archive.packed(new Archive()
                        .file(PackManifest.FILE, " ".repeat(1 << 21))
                        .tar()),
                "manifest.toml has 2097152 bytes, and 1048576 are allowed"));
        all.add(new Hostile(
                "manifest cut short",
                Archive.packed(Arrays.copyOf(good().tar(), 700)),
                "it ends in the midst of manifest.toml"));
        Map.of(
                        '1', "a hard link",
                        '2', "a symbolic link",
                        '3', "a character device",
                        '4', "a block device",
                        '5', "a directory",
                        '6', "a FIFO",
                        '7', "a contiguous file",
                        'L', "a long name",
                        'K', "a long name of a link",
                        'S', "a file with holes")
                .forEach((type, kind) -> all.add(new Hostile(kind, entry(type), "it has " + kind + KIND)));
        all.add(new Hostile("global PAX header", entry('g'), "it has a global PAX header" + KIND));
        all.add(new Hostile("unknown kind", entry('?'), "it has an entry of an unknown kind" + KIND));
        all.add(new Hostile(
                "PAX header of 8 GiB",
                Archive.packed(
                        good().raw(Archive.header("odd", (1L << 33) - 1, 'x')).tar()),
                "it has a PAX header" + KIND));
        all.add(new Hostile(
                "bad checksum of a header",
                Archive.packed(good().raw(broken(Archive.header("x", 0, '0'))).tar()),
                NO_TAR));
        all.add(new Hostile(
                "header without a magic",
                Archive.packed(good().changed("x", new byte[0], header -> Arrays.fill(header, 257, 265, (byte) 0))
                        .tar()),
                NO_TAR));
        all.add(new Hostile(
                "long name",
                Archive.packed(good().changed("x", new byte[0], header -> {
                            header[262] = 0;
                            header[345] = 'p';
                        })
                        .tar()),
                "it has a name that is longer than 100 characters"));
        all.add(new Hostile("no name", Archive.packed(good().file("", "x").tar()), "it has a name that is empty"));
        all.add(new Hostile(
                "size that is no number",
                Archive.packed(good().changed("x", new byte[0], header -> header[124] = '9')
                        .tar()),
                "it has 'x', whose size is no number"));
        all.add(new Hostile(
                "negative size",
                Archive.packed(good().changed("x", new byte[0], header -> Arrays.fill(header, 124, 136, (byte) 0xff))
                        .tar()),
                "it has 'x', whose size is no number"));
        all.add(new Hostile(
                "size of 2^63",
                Archive.packed(good().changed("x", new byte[0], header -> {
                            Arrays.fill(header, 124, 136, (byte) 0);
                            header[124] = (byte) 0x80;
                            header[128] = (byte) 0x80;
                        })
                        .tar()),
                "it has 'x', whose size is no number"));
        all.add(new Hostile(
                "something in the padding",
                Archive.packed(new Archive()
                        .file(PackManifest.FILE, toml(base))
                        .raw(Archive.header("vmstate", 40, '0'))
                        .raw(join(
                                base.get("vmstate"),
                                "hidden".repeat(79).substring(0, 472).getBytes()))
                        .tar()),
                NO_TAR));
        all.add(new Hostile(
                "absolute path",
                Archive.packed(good().file("/etc/cron.d/forkd", "x").tar()),
                "it has '/etc/cron.d/forkd', which is an absolute path"));
        all.add(new Hostile(
                "path to the outside",
                Archive.packed(good().file("base/../../../x", "x").tar()),
                "it has 'base/../../../x', which leads out of the pack"));
        all.add(new Hostile(
                "undeclared file",
                Archive.packed(good().file("authorized_keys", "x").tar()),
                "it has 'authorized_keys', which manifest.toml does not name"));
        all.add(new Hostile(
                "name that changes a terminal",
                Archive.packed(good().file("\u001b]0;x\u0007", "x").tar()),
                "it has '\\u001b]0;x\\u0007', which manifest.toml does not name"));
        all.add(new Hostile(
                "file twice",
                Archive.packed(good().file("vmstate", base.get("vmstate")).tar()),
                "it has 'vmstate' twice"));
        all.add(new Hostile(
                "larger than declared",
                Archive.packed(
                        archive(toml(base), with("vmstate", new byte[41])).tar()),
                "'vmstate' has 41 bytes, and manifest.toml says 40"));
        all.add(new Hostile(
                "other content",
                Archive.packed(archive(toml(base), with("memory.bin", new byte[memory.length]))
                        .tar()),
                "'memory.bin' has the SHA-256 " + sha256(new byte[memory.length]) + ", and manifest.toml says "
                        + sha256(memory)));
        all.add(new Hostile(
                "missing file",
                Archive.packed(archive(toml(base), without("memory.bin")).tar()),
                "it lacks 'memory.bin', which manifest.toml names"));
        byte[] open = good().open();
        all.add(new Hostile(
                "file cut short",
                Archive.packed(Arrays.copyOf(open, open.length - 1000)),
                "it ends in the midst of 'memory.bin'"));
        return all.stream();
    }

    private static byte[] broken(byte[] header) {
        header[150]++;
        return header;
    }

    static Stream<Hostile> manifests() {
        List<Hostile> all = new ArrayList<>();
        all.add(new Hostile(
                "newer version",
                said("version = 1", "version = 3"),
                "it has the pack format 3, which is newer than 2, the newest that this forkd reads"));
        all.add(new Hostile(
                "version 0", said("version = 1", "version = 0"), "it has the pack format 0, which there is none of"));
        all.add(new Hostile(
                "no version", said("forkd_pack_version = 1", ""), "manifest.toml lacks \"forkd_pack_version\""));
        all.add(new Hostile(
                "version that is a text",
                said("version = 1", "version = \"1\""),
                "manifest.toml has a \"forkd_pack_version\" that is no number of bytes, or of a version"));
        all.add(new Hostile("no tag", said("tag = \"base\"", ""), "manifest.toml lacks \"tag\""));
        all.add(new Hostile(
                "tag that is a path",
                said("tag = \"base\"", "tag = \"a/../../b\""),
                "'a/../../b' is not a tag: '/' is not allowed (letters, digits, . _ - are)"));
        all.add(new Hostile(
                "tag that is hidden",
                said("tag = \"base\"", "tag = \".staging-x\""),
                "'.staging-x' is not a tag: it must begin with a letter, a digit, _ or -"));
        all.add(new Hostile(
                "tag that is an option",
                said("tag = \"base\"", "tag = \"--force\""),
                "the tag '--force' begins with -"));
        all.add(new Hostile(
                "tag with a zero byte",
                said("tag = \"base\"", "tag = \"a\\u0000b\""),
                "'a\u0000b' is not a tag: '\\u0000' is not allowed (letters, digits, . _ - are)"));
        all.add(new Hostile(
                "no file of a snapshot",
                said("\"vmstate\"", "\"../../../etc/passwd\""),
                "manifest.toml names '../../../etc/passwd', which is no file that a snapshot has"));
        all.add(new Hostile(
                "hidden file",
                said("\"vmstate\"", "\".lock\""),
                "manifest.toml names '.lock', which is no file that a snapshot has"));
        all.add(new Hostile(
                "very long name",
                said("\"vmstate\"", "\"" + "a".repeat(5000) + "\""),
                "manifest.toml names '" + "a".repeat(100) + "...', which is no file that a snapshot has"));
        all.add(new Hostile(
                "file named twice", said("\"memory.bin\"", "\"vmstate\""), "manifest.toml names 'vmstate' twice"));
        all.add(new Hostile(
                "negative size in the manifest",
                said("size = 40", "size = -40"),
                "manifest.toml has a \"size\" that is no number of bytes, or of a version"));
        all.add(new Hostile(
                "size of 2^64",
                said("size = 40", "size = 18446744073709551616"),
                "manifest.toml has a \"size\" that is no number of bytes, or of a version"));
        all.add(new Hostile(
                "hash that is none",
                said(sha256(base.get("vmstate")), "../../x"),
                "manifest.toml has a \"sha256\" that is no SHA-256"));
        all.add(new Hostile(
                "hash of the root disk that is a path",
                said(sha256(disk), "../../../../../x"),
                "manifest.toml has a \"sha256\" that is no SHA-256"));
        all.add(new Hostile(
                "snapshot.json of 2 MiB",
                of(with("snapshot.json", new byte[1 << 21])),
                "'snapshot.json' has 2097152 bytes, and 1048576 are allowed"));
        all.add(new Hostile(
                "vmstate of 1 TiB",
                said("size = 40", "size = 1099511627776"),
                "'vmstate' has 1099511627776 bytes, and 67108864 are allowed"));
        all.add(new Hostile(
                "no time",
                said("2026-01-01T00:00:00Z", "yesterday"),
                "manifest.toml has a \"created_at\" that is no time"));
        all.add(new Hostile(
                "files that are none",
                said(toml -> toml.replaceFirst("(?s)files = \\[.*?\\n]", "files = [1, 2]")),
                "manifest.toml has a \"files\" that is no list of tables"));
        all.add(new Hostile(
                "files that are a text",
                said(toml -> toml.replaceFirst("(?s)files = \\[.*?\\n]", "files = \"all\"")),
                "manifest.toml has a \"files\" that is no list of tables"));
        all.add(new Hostile(
                "no files",
                said(toml -> toml.replaceFirst("(?s)files = \\[.*?\\n]", "")),
                "it has 'snapshot.json', which manifest.toml does not name"));
        all.add(new Hostile(
                "chain, and files beside it",
                chained(toml -> toml.replaceFirst(
                        "files = \\[]",
                        "files = [{ path = \"vmstate\", size = 1, sha256 = \"" + "0".repeat(64) + "\" }]")),
                "manifest.toml has a chain and \"files\" beside it"));
        all.add(new Hostile(
                "cycle",
                chained(toml -> toml.replace("\"middle\"", "\"base\"")),
                "its chain is a cycle: 'base' is there twice"));
        all.add(new Hostile(
                "parent that is not before",
                chained(toml -> toml.replace("parent_tag = \"base\"", "parent_tag = \"elsewhere\"")),
                "the parent of 'middle' is 'elsewhere', and not 'base', which is before it"));
        all.add(new Hostile(
                "first with a parent",
                chained(toml -> toml.replace(
                        "[[chain]]\ntag = \"base\"\n",
                        "[[chain]]\ntag = \"base\"\nparent_tag = \"x\"\nparent_content_hash = \"" + "0".repeat(64)
                                + "\"\n")),
                "the parent of 'base' is 'x', and not none, although it is the first"));
        all.add(new Hostile(
                "link without a parent",
                chained(toml -> toml.replaceAll("parent_tag = \"base\"\nparent_content_hash = \"[0-9a-f]*\"\n", "")),
                "the parent of 'middle' is none, and not 'base', which is before it"));
        all.add(new Hostile(
                "parent without a hash",
                chained(toml -> toml.replaceAll("parent_content_hash = \"[0-9a-f]*\"\n", "")),
                "manifest.toml lacks \"parent_content_hash\""));
        all.add(new Hostile(
                "chain of another",
                chained(toml -> toml.replaceFirst("tag = \"top\"", "tag = \"other\"")),
                "its chain ends with 'top', and it is of 'other'"));
        all.add(new Hostile(
                "tag of a link that is a path",
                chained(toml -> toml.replace("\ntag = \"base\"", "\ntag = \"../base\"")),
                "'../base' is not a tag: it must begin with a letter, a digit, _ or -"));
        all.add(new Hostile(
                "chain of 34",
                chained(toml -> toml + "[[chain]]\ntag = \"x\"\n".repeat(31)),
                "its chain has 34 snapshots, and 33 can be forked"));
        return all.stream();
    }

    static Stream<Hostile> snapshots() {
        String of = "of the snapshot 'base' in it, ";
        String in = "the snapshot 'base' in it ";
        String json = of + "snapshot.json is damaged: ";
        String odd = of + "its snapshot.json cannot be used: ";
        List<Hostile> all = new ArrayList<>();
        all.add(new Hostile(
                "state of Firecracker",
                state(0x0710_1984_8664_0000L, 1),
                "its vmstate is Firecracker's, whose devices and state this monitor does not have, so that it cannot be"
                        + " restored here"));
        all.add(new Hostile(
                "state of nobody",
                state(0, 1),
                "its vmstate is of another monitor, or damaged: it does not begin as forkd's do"));
        all.add(new Hostile(
                "empty state",
                of(with("vmstate", new byte[0])),
                "its vmstate is of another monitor, or damaged: it does not begin as forkd's do"));
        all.add(new Hostile(
                "state of a newer forkd", state(FORKD, 2), "its vmstate is of a newer forkd than this one"));
        all.add(new Hostile("no state", of(without("vmstate")), in + "has no vmstate"));
        all.add(new Hostile("no snapshot.json", of(without("snapshot.json")), in + "has no snapshot.json"));
        all.add(new Hostile("no memory", of(without("memory.bin")), in + "has no memory.bin"));
        all.add(new Hostile(
                "snapshot.json that is a list",
                of(with("snapshot.json", "[]".getBytes(StandardCharsets.UTF_8))),
                json + "it is not a JSON object"));
        all.add(new Hostile(
                "snapshot.json of a later format",
                json("\"format\" : 1", "\"format\" : 2"),
                of + "snapshot.json has format 2, and this forkd reads 1"));
        all.add(new Hostile(
                "more processors than there are numbers",
                json("\"vcpus\" : 1", "\"vcpus\" : 4294967296"),
                json + "the field \"vcpus\" is larger than any machine"));
        all.add(new Hostile(
                "memory of another size",
                json("\"memory_bytes\" : 16384", "\"memory_bytes\" : 4096"),
                "'memory.bin' of the snapshot 'base' in it has 16384 bytes, and its snapshot.json says 4096"));
        all.add(new Hostile(
                "memory that is a file of the host",
                json("\"memory\" : \"memory.bin\"", "\"memory\" : \"/dev/mem\""),
                odd + "\"memory\" is '/dev/mem', which is no name of its memory"));
        all.add(new Hostile(
                "state that is a file of the host",
                json("\"vmstate\" : \"vmstate\"", "\"vmstate\" : \"/etc/shadow\""),
                odd + "\"vmstate\" is '/etc/shadow', and not 'vmstate'"));
        all.add(new Hostile(
                "layer of nothing",
                json("\"memory\" : \"memory.bin\"", "\"memory\" : \"memory.layer\""),
                odd + "\"memory\" is 'memory.layer', which is no name of its memory"));
        all.add(new Hostile(
                "disk that is no volume",
                json("\"disks\" : [ {", "\"disks\" : [ { \"image\" : \"/dev/sda\", \"bytes\" : 1 }, {"),
                odd + "it has 2 disks, which are not a root disk and 0 volumes"));
        all.add(new Hostile(
                "layer that is a file of the host",
                json("\"layer\" : \"disk-0.layer\"", "\"layer\" : \"/etc/shadow\""),
                json + "'/etc/shadow' is not a file name"));
        all.add(new Hostile(
                "layer that is another file",
                json("\"layer\" : \"disk-0.layer\"", "\"layer\" : \"memory.bin\""),
                odd + "the layer of disk 0 is 'memory.bin', and not 'disk-0.layer'"));
        all.add(new Hostile(
                "layer that is missing",
                of(without("disk-0.layer")),
                "'disk-0.layer' of the snapshot 'base' in it is not what its snapshot.json says"));
        all.add(new Hostile(
                "layer that is not spoken of",
                of(with("disk-1.layer", base.get("disk-0.layer"))),
                in + "has 'disk-1.layer', of which its snapshot.json does not speak"));
        all.add(new Hostile(
                "root disk inside",
                of(with("rootfs.ext4", disk)),
                in + "has 'rootfs.ext4', of which its snapshot.json does not speak"));
        all.add(new Hostile(
                "parent that the manifest does not have",
                json(
                        "\"format\"",
                        "\"parent_tag\" : \"kept\", \"parent_content_hash\" : \"" + "0".repeat(64) + "\", \"format\""),
                in + "has another parent than manifest.toml says"));
        all.add(new Hostile(
                "root disk of another size",
                said("size = " + disk.length, "size = " + (disk.length + 1)),
                "its root disk has " + (disk.length + 1) + " bytes, and its snapshot.json says " + disk.length));
        all.add(new Hostile(
                "no root disk",
                said(toml -> toml.substring(0, toml.indexOf("[rootfs]"))),
                "it comes without its root disk, and so is of use on the host that it was made on alone"));
        all.add(new Hostile(
                "layer of more pages than the disk has",
                layer(2 * Sample.PAGE, 1L << 40, true),
                "base/disk-0.layer is damaged: its table is"));
        all.add(new Hostile(
                "layer of four billion pages of zeroes",
                layer(2 * Sample.PAGE + 16, 0xffff_ffffL, false),
                "base/disk-0.layer is damaged: its table is"));
        all.add(new Hostile(
                "layer whose data are elsewhere",
                layer(2 * Sample.PAGE + 8, 7, true),
                "base/disk-0.layer is damaged: its table is"));
        all.add(new Hostile(
                "layer over another size",
                layer(16, 1L << 50, true),
                "base/disk-0.layer is damaged: it is a layer over 1125899906842624 bytes, and not over "
                        + disk.length));
        all.add(new Hostile(
                "layer that is none",
                of(with("disk-0.layer", new byte[2 * Sample.PAGE + 24])),
                "base/disk-0.layer is damaged: its header is not that of a layer"));
        return all.stream();
    }

    static Stream<Hostile> all() throws IOException {
        return Stream.of(archives(), manifests(), snapshots()).flatMap(each -> each);
    }

    /** Every file with its content, every directory, of all that is this host's. */
    private Map<String, String> inventory() throws IOException {
        Map<String, String> found = new TreeMap<>();
        try (Stream<Path> paths = Files.walk(folder)) {
            for (Path path : paths.toList()) {
                found.put(
                        folder.relativize(path).toString(),
                        Files.isRegularFile(path) ? sha256(Files.readAllBytes(path)) : "");
            }
        }
        return found;
    }

    private void assertRefused(String sentence) throws IOException {
        Map<String, String> before = inventory();
        assertThatThrownBy(() -> host.unpack(pack))
                .isInstanceOfSatisfying(
                        ForkdException.class, e -> assertThat(e.sentence()).isEqualTo(sentence));
        assertThat(inventory()).isEqualTo(before);
    }

    @ParameterizedTest
    @MethodSource("all")
    void is_refused_by_name_and_nothing_is_written(Hostile hostile) throws IOException {
        Files.write(pack, hostile.pack());
        assertRefused(pack + " is refused: " + hostile.why());
    }

    /** What makes all the others worth something. */
    @Test
    void good_ones_are_not_refused() throws IOException {
        Files.write(pack, whole());
        assertThat(host.unpack(pack).tags()).hasToString("[base]");
        Files.write(pack, chained(toml -> toml + "\n"));
        assertThat(host.unpack(pack, Optional.empty(), true, List.of()).tags()).hasToString("[base, middle, top]");
    }

    /** As other programs write them: tables of tables, whole memory in each link, a path of their host. */
    @Test
    void published_pack_is_read_to_its_end_and_said_to_be_of_another_monitor() throws IOException {
        byte[] state = ByteBuffer.allocate(40)
                .order(ByteOrder.LITTLE_ENDIAN)
                .putLong(0x0710_1984_8664_0001L)
                .array();
        byte[] json = "{\"vmstate\":\"/root/s/vmstate\",\"memory\":\"/root/s/memory.bin\",\"volumes\":[]}".getBytes();
        byte[] memory = Sample.memory();
        StringBuilder toml = new StringBuilder("""
                forkd_pack_version = 2
                tag = "child"
                created_at = "2026-06-01T10:00:00Z"
                forkd_version = "0.5.3"
                parent_tag = "root"
                files = []

                [rootfs]
                target_path = "/var/cache/forkd/python-3-12-slim.ext4"
                sha256 = "%s"
                size = %d
                """.formatted(sha256(disk), disk.length));
        Archive files = new Archive();
        for (String tag : List.of("root", "child")) {
            toml.append("\n[[chain]]\ntag = \"%s\"\n".formatted(tag));
            if (tag.equals("child")) {
                toml.append("parent_tag = \"root\"\nparent_content_hash = \"%s\"\n".formatted(sha256(memory)));
            }
            for (Map.Entry<String, byte[]> file : Map.of("snapshot.json", json, "vmstate", state, "memory.bin", memory)
                    .entrySet()) {
                toml.append("\n[[chain.files]]\npath = \"%s\"\nsize = %d\nsha256 = \"%s\"\n"
                        .formatted(file.getKey(), file.getValue().length, sha256(file.getValue())));
                files.file(tag + "/" + file.getKey(), file.getValue());
            }
        }
        Files.write(
                pack,
                Archive.packed(new Archive()
                        .file(PackManifest.FILE, toml.toString())
                        .raw(files.open())
                        .tar()));
        var checked = io.forkd.engine.Packs.check(pack, Sample.call());
        assertThat(checked.state()).isEqualTo(MachineState.FIRECRACKER);
        assertThat(checked.rootfs()).contains(true);
        assertThat(checked.isUsable()).isFalse();
        assertThat(checked.manifest().links()).hasSize(2);
        assertRefused(pack + " is refused: its vmstate is Firecracker's, whose devices and state this monitor does not"
                + " have, so that it cannot be restored here");
    }

    @Test
    void there_are_many_kinds() throws IOException {
        assertThat(all().map(Hostile::name)).hasSizeGreaterThan(100).doesNotHaveDuplicates();
    }

    @Test
    void deep_manifest_is_refused() throws IOException {
        for (String deep : List.of("[".repeat(100_000), "{a=".repeat(100_000), "a.".repeat(100_000) + "a = 1\n")) {
            Files.write(pack, said(toml -> "x = " + deep + "\n" + toml));
            Map<String, String> before = inventory();
            assertThatThrownBy(() -> host.unpack(pack))
                    .isInstanceOf(ForkdException.class)
                    .hasMessageStartingWith(pack + " is refused: manifest.toml is no TOML: ");
            assertThat(inventory()).isEqualTo(before);
        }
    }

    @Test
    void more_than_there_is_room_for_is_refused() throws IOException {
        Files.write(pack, said("size = 16384", "size = " + (1L << 60)));
        Map<String, String> before = inventory();
        assertThatThrownBy(() -> host.unpack(pack))
                .isInstanceOf(ForkdException.class)
                .hasMessageStartingWith("there is no room for what is in the pack: 11529215046068");
        assertThat(inventory()).isEqualTo(before);
    }

    @Test
    void parent_that_is_another_than_its_child_was_made_of_is_refused() throws IOException {
        Map<String, byte[]> other = new LinkedHashMap<>(chain);
        byte[] memory = chain.get("base/memory.bin").clone();
        memory[0] = 1;
        other.put("base/memory.bin", memory);
        Files.write(
                pack,
                Archive.packed(archive(chainToml.replace(sha256(chain.get("base/memory.bin")), sha256(memory)), other)
                        .tar()));
        Map<String, String> before = inventory();
        assertThatThrownBy(() -> host.unpack(pack))
                .isInstanceOf(ForkdException.class)
                .hasMessageStartingWith(
                        pack + " is refused: the parent 'base' is not what the snapshot 'middle' was made of: it has");
        assertThat(inventory()).isEqualTo(before);
    }

    @Test
    void volume_of_this_host_is_not_taken_because_a_pack_names_it() throws IOException {
        Files.write(pack, Archive.packed(archive(toml(withVolume), withVolume).tar()));
        assertRefused("the guest has volumes that do not come along: volume.sqfs on /data, read-only");
    }

    @Test
    void sidecar_that_is_not_the_disk_is_refused() throws IOException {
        byte[] other = disk.clone();
        other[0] = 1;
        Map<byte[], String> wrong = new LinkedHashMap<>();
        wrong.put(
                Zstd.compress(other),
                "the disk in it has the SHA-256 " + sha256(other) + ", and the pack says " + sha256(disk));
        wrong.put(Zstd.compress(join(disk, new byte[1])), "it has more in it than it says");
        wrong.put(Zstd.compress(new byte[1 << 26]), "it has more in it than it says");
        wrong.put(
                Zstd.compress(Arrays.copyOf(disk, 5000)),
                "the disk in it has 5000 bytes, and the pack says " + disk.length);
        wrong.put(join(sidecar, sidecar), "something comes after its end");
        wrong.put(Arrays.copyOf(sidecar, sidecar.length - 1), "it is cut short");
        wrong.put(disk, "it is not packed by zstd");
        Files.write(pack, whole());
        try (var cache = host.cache()) {
            cache.put(
                    new io.forkd.rootfs.RootfsCache.Carried( // so that the cache's own folders are there
                            io.forkd.image.Digest.sha256(new byte[1]), 1, java.util.OptionalLong.empty(), "x"),
                    file -> Files.write(file, new byte[1]));
        }
        for (Map.Entry<byte[], String> each : wrong.entrySet()) {
            Files.write(beside, each.getKey());
            assertThatThrownBy(() -> host.unpack(pack))
                    .isInstanceOfSatisfying(
                            ForkdException.class,
                            e -> assertThat(e.sentence()).isEqualTo(beside + " is refused: " + each.getValue()));
            assertThat(host.store().list()).hasSize(1);
            try (Stream<Path> names = Files.list(host.images.resolve("images"))) {
                assertThat(names).hasSize(2); // that of before
            }
            try (Stream<Path> names = Files.list(host.images)) {
                assertThat(names.filter(name -> name.getFileName().toString().startsWith(".building")))
                        .isEmpty();
            }
        }
        Files.write(beside, sidecar);
        assertThat(host.unpack(pack).missing()).isEmpty();
    }
}
