package io.forkd.pack;

import static org.assertj.core.api.Assertions.assertThat;

import com.github.luben.zstd.Zstd;
import com.github.luben.zstd.ZstdInputStream;
import io.forkd.ForkdException;
import io.forkd.files.Trees;
import io.forkd.snapshot.PortableManifest;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Optional;
import java.util.Random;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Good packs with something changed at random: they are read, or refused, and never anything else. */
class PackFuzzTest {
    private static final long SEED = 20_261_130;
    private static final int ROUNDS = Integer.getInteger("forkd.fuzz.rounds", 3000);

    private static Path origin;
    private static byte[] packed;
    private static byte[] tar;
    private static byte[] toml;
    private static byte[] json;
    private static byte[] sidecar;
    private static PackManifest.Rootfs rootfs;

    @TempDir
    Path folder;

    private final Random random = new Random(SEED);

    @BeforeAll
    static void makeGoodOne() throws IOException {
        origin = Files.createTempDirectory("forkd-");
        Sample source = new Sample(origin);
        source.chain();
        Path pack = origin.resolve("top");
        sidecar = Files.readAllBytes(source.pack("top", pack).sidecar());
        packed = Files.readAllBytes(pack);
        try (ZstdInputStream in = new ZstdInputStream(new ByteArrayInputStream(packed))) {
            tar = in.readAllBytes();
        }
        int length = (int)
                TarHeader.parse(Arrays.copyOf(tar, 512), new Refusal("good")).bytes();
        toml = Arrays.copyOfRange(tar, 512, 512 + length);
        json = PortableManifest.of(source.store().read(new io.forkd.snapshot.SnapshotTag("top")))
                .encode();
        try (PackReader reader = PackReader.open(pack, bytes -> {})) {
            rootfs = reader.manifest().rootfs().orElseThrow();
        }
    }

    @AfterAll
    static void removeIt() throws IOException {
        Trees.delete(origin);
    }

    private byte[] changed(byte[] good) {
        byte[] bytes = good.clone();
        switch (random.nextInt(5)) {
            case 0 -> {
                return Arrays.copyOf(bytes, random.nextInt(bytes.length));
            }
            case 1 -> {
                int from = random.nextInt(bytes.length);
                int to = from + random.nextInt(Math.min(600, bytes.length - from));
                byte[] more = Arrays.copyOf(bytes, bytes.length + to - from);
                System.arraycopy(bytes, from, more, to, bytes.length - from);
                return more;
            }
            case 2 -> {
                int from = random.nextInt(bytes.length);
                int to = Math.min(bytes.length, from + random.nextInt(64));
                Arrays.fill(bytes, from, to, (byte) random.nextInt(256));
            }
            default -> {
                for (int i = random.nextInt(8); i >= 0; i--) {
                    bytes[random.nextInt(bytes.length)] = (byte) random.nextInt(256);
                }
            }
        }
        return bytes;
    }

    /** Where most of what is decided is: headers and the manifest. */
    private byte[] changedInFront(byte[] good) {
        byte[] front = changed(Arrays.copyOf(good, 8192));
        byte[] all = Arrays.copyOf(front, front.length + good.length - 8192);
        System.arraycopy(good, 8192, all, front.length, good.length - 8192);
        return all;
    }

    private interface Reading {
        void read() throws IOException;
    }

    /** Whether it was refused. */
    private static boolean refused(Reading reading, String start) throws IOException {
        try {
            reading.read();
            return false;
        } catch (ForkdException e) {
            assertThat(e.sentence()).startsWith(start);
            return true;
        }
    }

    private boolean refused(byte[] bytes) throws IOException {
        Path pack = Files.write(folder.resolve("pack"), bytes);
        return refused(
                () -> {
                    try (PackReader reader = PackReader.open(pack, count -> {})) {
                        reader.readAll((link, file, content) ->
                                assertThat(content.readNBytes(1 << 20)).hasSizeLessThanOrEqualTo(1 << 20));
                    }
                },
                pack + " is refused: ");
    }

    @Test
    void packed_bytes() throws IOException {
        int refused = 0;
        for (int i = 0; i < ROUNDS; i++) {
            refused += refused(changed(packed)) ? 1 : 0;
        }
        assertThat(refused).as("nearly all are under a checksum").isGreaterThan(ROUNDS * 9 / 10);
    }

    @Test
    void archives() throws IOException {
        int refused = 0;
        for (int i = 0; i < ROUNDS; i++) {
            byte[] other = random.nextBoolean() ? changed(tar) : changedInFront(tar);
            refused += refused(Zstd.compress(other, 1)) ? 1 : 0;
        }
        assertThat(refused).isGreaterThan(ROUNDS / 2);
    }

    @Test
    void manifests() throws IOException {
        int refused = 0;
        for (int i = 0; i < ROUNDS; i++) {
            byte[] other = changed(toml);
            refused += refused(() -> new ManifestToml(new Refusal("it")).decode(other), "it is refused: ") ? 1 : 0;
        }
        assertThat(refused).isBetween(ROUNDS / 2, ROUNDS - 1);
    }

    @Test
    void descriptions_of_snapshots() throws IOException {
        for (int i = 0; i < ROUNDS; i++) {
            byte[] other = changed(json);
            refused(() -> PortableManifest.require(io.forkd.snapshot.Manifest.decode("snapshot.json", other)), "");
        }
    }

    @Test
    void sidecars() throws IOException {
        Path file = folder.resolve("sidecar");
        int refused = 0;
        for (int i = 0; i < ROUNDS / 10; i++) {
            Files.write(file, changed(sidecar));
            refused += refused(() -> Sidecar.check(file, rootfs, bytes -> {}), file + " is refused: ") ? 1 : 0;
        }
        assertThat(refused).isGreaterThan(ROUNDS / 20);
    }

    /** The whole way, of what a good archive carries: refused, or a snapshot as good as any. */
    @Test
    void whole_packs_with_other_descriptions() throws IOException {
        Sample host = new Sample(folder.resolve("host"));
        String text = new String(toml, StandardCharsets.UTF_8);
        int taken = 0;
        for (int i = 0; i < ROUNDS / 30; i++) {
            byte[] other = changed(baseJson());
            String said = "forkd_pack_version = 1\ntag = \"t" + i + "\"\n"
                    + text.substring(text.indexOf("created_at")).replaceFirst("(?s)parent_tag.*", "")
                    + "files = [\n" + line("snapshot.json", other) + line("vmstate", Sample.vmstate())
                    + line("disk-0.layer", layer()) + line("memory.bin", Sample.memory()) + "]\n[rootfs]\n"
                    + "target_path = \"x\"\nsha256 = \"" + rootfs.sha256() + "\"\nsize = " + rootfs.bytes() + "\n";
            Archive archive = new Archive()
                    .file(PackManifest.FILE, said)
                    .file("snapshot.json", other)
                    .file("vmstate", Sample.vmstate())
                    .file("disk-0.layer", layer())
                    .file("memory.bin", Sample.memory());
            Path pack = Files.write(folder.resolve("pack"), Archive.packed(archive.tar()));
            Files.write(folder.resolve(rootfs.sidecar()), sidecar);
            int before = host.store().list().size();
            boolean refused = refused(() -> host.unpack(pack, Optional.empty(), false, java.util.List.of()), "");
            assertThat(host.store().list()).hasSize(refused ? before : before + 1);
            taken += refused ? 0 : 1;
        }
        assertThat(taken).isPositive();
    }

    private static byte[] layer() throws IOException {
        return Files.readAllBytes(origin.resolve("data/forkd/snapshots/base/disk-0.layer"));
    }

    private static byte[] baseJson() {
        return PortableManifest.of(new SampleOf(origin).snapshot("base")).encode();
    }

    /** Looks at a sample that is there. */
    private record SampleOf(Path home) {
        io.forkd.snapshot.Snapshot snapshot(String tag) {
            Path directory = home.resolve("data/forkd/snapshots").resolve(tag);
            return new io.forkd.snapshot.Snapshot(
                    new io.forkd.snapshot.SnapshotTag(tag),
                    directory,
                    io.forkd.snapshot.Manifest.read(directory.resolve("snapshot.json")));
        }
    }

    private static String line(String name, byte[] content) {
        return "{ path = \"%s\", size = %d, sha256 = \"%s\" },\n"
                .formatted(name, content.length, HostilePackTest.sha256(content));
    }
}
