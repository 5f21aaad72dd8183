package io.forkd.rootfs;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.sun.net.httpserver.HttpServer;
import io.forkd.ForkdException;
import io.forkd.Remedy;
import io.forkd.files.Trees;
import io.forkd.image.Digest;
import io.forkd.image.OciImage;
import io.forkd.image.OciImage.Members;
import io.forkd.image.OciImage.Packing;
import io.forkd.image.Platform;
import io.forkd.image.QuietWork;
import io.forkd.image.Reach;
import io.forkd.image.Work;
import io.forkd.rootfs.RootfsCache.Request;
import io.forkd.vmm.NativeFiles;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.FileTime;
import java.nio.file.attribute.PosixFilePermissions;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.Stream;
import java.util.zip.GZIPOutputStream;
import org.apache.commons.compress.archivers.tar.TarConstants;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;

/** Disk images of images made on the spot, compared with what umoci makes of the same ones. */
class RootfsCacheTest {
    /** What every guest gets; the images of these tests have none of it. */
    private static final String OURS = "\\./(forkd-init\\.sh|dev|proc|sys|run|tmp|work|etc|etc/.*)?";

    private static final Reach ANYWHERE = new Reach(false, Optional.empty());

    @TempDir
    Path scratch;

    private final List<String> said = new ArrayList<>();
    private final AtomicInteger checksUntilInterrupt = new AtomicInteger(Integer.MAX_VALUE);
    private final List<RootfsCache> caches = new CopyOnWriteArrayList<>();
    private volatile Runnable onMerge = () -> {};
    private OciImage image;

    private final Work work = new QuietWork() {
        @Override
        public void say(String line) {
            said.add(line);
        }

        @Override
        public void check() {
            if (isOf(Merger.class)) {
                onMerge.run();
            }
            if (checksUntilInterrupt.decrementAndGet() == 0) {
                throw new ForkdException(ForkdException.Kind.FAILED, "interrupted");
            }
        }
    };

    @BeforeEach
    void make() throws IOException {
        image = new OciImage(Files.createDirectory(scratch.resolve("image")));
    }

    private static boolean isOf(Class<?> one) {
        return StackWalker.getInstance()
                .walk(frames -> frames.anyMatch(frame -> frame.getClassName().equals(one.getName())));
    }

    private RootfsCache cache(Path directory) {
        return cache(directory, Map.of());
    }

    private RootfsCache cache(Path directory, Map<String, String> environment) {
        NativeFiles files = NativeFiles.installed();
        return new RootfsCache(
                directory, files.mkfs(), files.mktree(), files.guest(), environment, work, Optional.empty());
    }

    /** In use until the end of the test. */
    private RootfsCache cache() {
        RootfsCache cache = cache(scratch.resolve("cache"));
        caches.add(cache);
        return cache;
    }

    @AfterEach
    void close() throws Exception {
        caches.forEach(RootfsCache::close);
        Tool.requireCleanFileSystems(scratch);
    }

    private static Request request(String reference, int sizeMib) {
        return new Request(reference, Platform.host(), ANYWHERE, new RootfsOptions(sizeMib, List.of()));
    }

    private void requireSameAsUmoci(Path ext4) throws Exception {
        Tool.run(
                "umoci",
                "unpack",
                "--image",
                scratch.resolve("image") + ":1",
                scratch.resolve("bundle").toString());
        assertThat(facts(Tool.listingOfImage(ext4, Files.createDirectory(scratch.resolve("mount"))), OURS))
                .isNotEmpty()
                .containsExactlyElementsOf(facts(Tool.listing(scratch.resolve("bundle/rootfs")), OURS));
    }

    private static List<String> facts(List<String> listing, String except) {
        return listing.stream()
                .filter(line -> Arrays.stream(line.split(" +")).limit(2).noneMatch(word -> word.matches(except)))
                .filter(line -> !line.startsWith(". "))
                .toList();
    }

    @Test
    void images_are_unpacked_one_after_the_other() throws Exception {
        image.layer(Packing.PLAIN, new Members().file("f", "x")).write();
        CompletableFuture<Boolean> unpacking = new CompletableFuture<>();
        CompletableFuture<Boolean> waiting = new CompletableFuture<>();
        Work first = new QuietWork() {
            @Override
            public void check() {
                // Of the merger, and not of who looks for the image.
                if (isOf(Merger.class)) {
                    unpacking.complete(true);
                    waiting.orTimeout(60, TimeUnit.SECONDS).join();
                }
            }
        };
        Work second = new QuietWork() {
            @Override
            public void say(String line) {
                if (line.startsWith("Another image is being unpacked")) {
                    waiting.complete(true);
                }
            }
        };
        NativeFiles files = NativeFiles.installed();
        String reference = "oci:" + scratch.resolve("image") + ":1";
        try (RootfsCache one = new RootfsCache(
                        scratch.resolve("one"),
                        files.mkfs(),
                        files.mktree(),
                        files.guest(),
                        Map.of(),
                        first,
                        Optional.empty());
                RootfsCache other = new RootfsCache(
                        scratch.resolve("other"),
                        files.mkfs(),
                        files.mktree(),
                        files.guest(),
                        Map.of(),
                        second,
                        Optional.empty())) {
            CompletableFuture<Rootfs> made = CompletableFuture.supplyAsync(() -> one.get(request(reference, 32)));
            unpacking.orTimeout(60, TimeUnit.SECONDS).join();
            assertThat(other.get(request(reference, 32)).file()).isRegularFile();
            assertThat(waiting).isCompleted();
            assertThat(made.get(60, TimeUnit.SECONDS).file()).isRegularFile();
        }
    }

    @Test
    void merged_layers_are_what_umoci_makes_of_them() throws Exception {
        String longName = "a".repeat(200) + "/" + "b".repeat(250);
        Map<String, byte[]> xattrs = new TreeMap<>(
                Map.of("security.capability", OciImage.capability(), "user.text", "x=y\nz".getBytes("UTF-8")));
        image.layer(
                        Packing.GZIP,
                        new Members()
                                .directory("bin", 0755)
                                .xattrs(xattrs)
                                .file("bin/ping", 04755, 0, 0, "ping")
                                .file("bin/owned", 0640, 1000, 70_000, "owned")
                                .file("bin/empty", "")
                                .directory("replaced-by-file", 0700)
                                .file("replaced-by-file/inner", "inner")
                                .file("replaced-by-directory", "old")
                                .directory("hidden", 0755)
                                .file("hidden/one", "1")
                                .directory("opaque", 01777)
                                .file("opaque/lower", "lower")
                                .directory("opaque/below", 0755)
                                .file("opaque/below/lower", "lower")
                                .file("removed", "removed")
                                .file("first", "shared")
                                .hardLink("second", "first")
                                .symlink("absolute", "/bin/ping")
                                .symlink("out", "../../../../etc/passwd")
                                .symlink("long-link", "x".repeat(300))
                                .symlink("usr-bin", "bin")
                                .directory("a".repeat(200), 0711)
                                .file(longName, "long"))
                .layer(
                        Packing.GZIP,
                        new Members()
                                .file(".wh.removed", "")
                                .file(".wh.hidden", "")
                                .file("replaced-by-file", "now a file")
                                .directory("replaced-by-directory", 0755)
                                .file("replaced-by-directory/inner", "inner")
                                .directory("opaque", 0755)
                                .file("opaque/upper", "upper")
                                .file("opaque/.wh..wh..opq", "")
                                .hardLink("third", "first")
                                .file("usr-bin/through", "through a link")
                                .device(TarConstants.LF_CHR, "null", 1, 3)
                                .device(TarConstants.LF_BLK, "disk", 259, 70_000)
                                .device(TarConstants.LF_FIFO, "fifo", 0, 0))
                .layer(
                        Packing.PLAIN,
                        new Members()
                                .file("second", "no longer shared")
                                .directory("many", 0755)
                                .file("holes", holes()));
        Members many = new Members();
        for (int i = 0; i < 3000; i++) {
            many.file("many/file-with-a-rather-long-name-" + i, "content " + i);
        }
        image.layer(Packing.GZIP, many);

        requireSameAsUmoci(cache().get(request(image.write(), 64)).file());
    }

    /** More extents than fit into an inode. */
    private static byte[] holes() {
        byte[] content = new byte[40 * 8192 + 17];
        for (int at = 0; at < content.length; at += 16_384) {
            Arrays.fill(content, at, at + 4096 > content.length ? content.length : at + 4096, (byte) 'x');
        }
        return content;
    }

    @Test
    void same_image_gives_the_same_bytes() throws Exception {
        image.layer(Packing.GZIP, new Members().directory("d", 0755).file("d/f", holes()));
        String reference = image.write();
        Path one = cache(scratch.resolve("one")).get(request(reference, 32)).file();
        Path other = cache(scratch.resolve("other")).get(request(reference, 32)).file();
        assertThat(Files.mismatch(one, other)).isEqualTo(-1);
    }

    @Test
    void packing_of_layers_makes_no_difference() throws Exception {
        byte[] archive = new Members().directory("d", 0755).file("d/f", holes()).archive();
        Path[] made = new Path[Packing.values().length];
        for (Packing packing : Packing.values()) {
            OciImage packed = new OciImage(Files.createDirectory(scratch.resolve(packing.name())));
            String reference = packed.layer(packing, archive).write();
            made[packing.ordinal()] = cache(scratch.resolve("cache-" + packing))
                    .get(request(reference, 32))
                    .file();
        }
        assertThat(Files.mismatch(made[0], made[1])).isEqualTo(-1);
        assertThat(Files.mismatch(made[0], made[2])).isEqualTo(-1);
    }

    static Stream<Arguments> hostile() {
        Members loop = new Members().symlink("a", "b").symlink("b", "a").file("a/f", "x");
        Members deep = new Members().file("x/".repeat(2100) + "f", "x");
        return Stream.of(
                Arguments.of("../outside", "..", new Members().file("../outside", "x")),
                Arguments.of("a/../../outside", "..", new Members().file("a/../../outside", "x")),
                Arguments.of("/../outside", "..", new Members().ofType('0', "/../outside")),
                Arguments.of("a/f", "loop", loop),
                Arguments.of("link", "leads out", new Members().hardLink("link", "../../etc/passwd")),
                Arguments.of("link", "not there", new Members().hardLink("link", "missing")),
                Arguments.of("link", "itself", new Members().file("link", "x").hardLink("link", "link")),
                Arguments.of("odd", "type", new Members().ofType('Z', "odd")),
                Arguments.of("f/g", "no directory", new Members().file("f", "x").file("f/g", "x")),
                Arguments.of("x/x", "4095", deep),
                Arguments.of("y".repeat(256), "255", new Members().file("y".repeat(256), "x")),
                Arguments.of(
                        "tagged",
                        "extended attribute",
                        new Members()
                                .xattrs(new TreeMap<>(Map.of("user." + "n".repeat(251), new byte[] {1})))
                                .file("tagged", "x")));
    }

    @ParameterizedTest
    @MethodSource("hostile")
    void hostile_layer_is_refused_with_the_members_name(String name, String why, Members members) throws Exception {
        image.layer(Packing.GZIP, members);
        String reference = image.write();
        assertThatThrownBy(() -> cache().get(request(reference, 32)))
                .isInstanceOf(ForkdException.class)
                .hasMessageContaining(name)
                .hasMessageContaining(why);
        requireNothingBuilt();
    }

    @Test
    void sizes_of_what_has_no_content_say_nothing() throws Exception {
        image.layer(
                Packing.GZIP,
                new Members()
                        .directory("app", 0755)
                        .file("app/lib.so", "l".repeat(1500))
                        .linkWithSize(TarConstants.LF_LINK, "app/lib.so.1", "app/lib.so", 1500)
                        .file("app/main", "main")
                        .linkWithSize(TarConstants.LF_SYMLINK, "app/link", "main", 4)
                        .file("app/config", "config")
                        .linkWithSize(TarConstants.LF_FIFO, "app/fifo", "", 10_000)
                        .file("app/last", "last"));
        Path ext4 = cache().get(request(image.write(), 32)).file();
        assertThat(debugfs(ext4, "ls -p /app").lines().filter(line -> line.startsWith("/")))
                .extracting(line -> line.split("/")[5])
                .containsExactlyInAnyOrder(".", "..", "lib.so", "lib.so.1", "main", "link", "config", "fifo", "last");
        assertThat(debugfs(ext4, "cat /app/last")).contains("last");
        assertThat(debugfs(ext4, "stat /app/lib.so.1")).contains("Links: 2", "Size: 1500");
        assertThat(debugfs(ext4, "ls -p /").lines().filter(line -> line.startsWith("/")))
                .extracting(line -> line.split("/")[5])
                .doesNotContain("config", "last");
    }

    @Test
    void header_with_a_wrong_checksum_is_refused() throws Exception {
        byte[] archive = new Members().file("one", "1").file("two", "2").archive();
        archive[1024] ^= 1;
        image.layer(Packing.GZIP, archive);
        String reference = image.write();
        assertThatThrownBy(() -> cache().get(request(reference, 32)))
                .hasMessageContaining("is refused at one: after it comes a header whose checksum is wrong");
        requireNothingBuilt();
    }

    @Test
    void names_with_a_slash_before_them_are_below_the_root() throws Exception {
        image.layer(
                Packing.GZIP,
                new Members()
                        .ofType('5', "/", 0711)
                        .directory("etc", 0755)
                        .file("etc/x", "x")
                        .ofType('0', "/nix/store/a", 0644)
                        .hardLink("/nix/store/b", "/nix/store/a"));
        image.layer(Packing.GZIP, new Members().ofType('0', "/etc/.wh.x", 0644));
        Path ext4 = cache().get(request(image.write(), 32)).file();
        assertThat(debugfs(ext4, "stat /")).contains("Mode:  0711");
        assertThat(debugfs(ext4, "stat /nix/store/b")).contains("Links: 2");
        assertThat(debugfs(ext4, "stat /etc/x")).contains("File not found");
    }

    @Test
    void file_of_more_names_than_ext4_takes_is_named() throws Exception {
        Members members = new Members().file("one", "1");
        for (int i = 0; i < 70_000; i++) {
            members.hardLink(String.format("d/%05d", i), "one");
        }
        image.layer(Packing.GZIP, members);
        String reference = image.write();
        assertThatThrownBy(() -> cache().get(request(reference, 64)))
                .hasMessage("cannot put /one into the image: it has 70001 names, and ext4 takes 65000 of one file");
        requireNothingBuilt();
    }

    @Test
    void times_that_ext4_does_not_know_are_the_nearest_it_does() throws Exception {
        image.layer(
                Packing.GZIP,
                new Members()
                        .at(-62_135_596_800L)
                        .file("early", "")
                        .at(99_999_999_999L)
                        .file("late", ""));
        Path ext4 = cache().get(request(image.write(), 32)).file();
        assertThat(debugfs(ext4, "stat /early")).contains("mtime: 0x80000000:00000000");
        assertThat(debugfs(ext4, "stat /late")).contains("mtime: 0x7fffffff:00000003");
    }

    @ParameterizedTest
    @CsvSource({"mtime,9999999999999999999", "mtime,1e999999999", "size,7"})
    void extended_header_that_means_nothing_is_refused(String key, String value) throws Exception {
        image.layer(
                Packing.GZIP,
                new Members()
                        .file("before", "x")
                        .extended(Map.of(key, value.getBytes("UTF-8")))
                        .symlink("link", "before"));
        String reference = image.write();
        assertThatThrownBy(() -> cache().get(request(reference, 32)))
                .isInstanceOf(ForkdException.class)
                .hasMessageContaining("is refused at ");
        requireNothingBuilt();
    }

    @Test
    void extended_attributes_of_other_systems_are_left_out_and_said() throws Exception {
        Map<String, byte[]> xattrs =
                new TreeMap<>(Map.of("com.apple.provenance", new byte[] {1}, "user.ours", new byte[] {'x'}));
        image.layer(
                Packing.GZIP,
                new Members().xattrs(xattrs).file("a", "a").xattrs(xattrs).file("b", "b"));
        Path ext4 = cache().get(request(image.write(), 32)).file();
        assertThat(debugfs(ext4, "ea_list /b")).contains("user.ours").doesNotContain("apple");
        assertThat(said)
                .containsExactly("Left out: extended attributes that Linux does not have, such as"
                        + " com.apple.provenance of a");
    }

    static Stream<Arguments> platforms() {
        return Stream.of(
                Arguments.of("linux/amd64", "plain"),
                Arguments.of("linux/amd64/v1", "plain"),
                Arguments.of("linux/amd64/v2", "plain"),
                Arguments.of("linux/amd64/v3", "v3"),
                Arguments.of("linux/amd64/v4", "v4"));
    }

    @ParameterizedTest
    @MethodSource("platforms")
    void of_several_levels_of_a_processor_the_one_asked_for_is_taken(String platform, String which) throws Exception {
        StringBuilder entries = new StringBuilder();
        Path folder = scratch.resolve("image");
        for (String variant : List.of("v4", "v3", "plain")) {
            new OciImage(folder)
                    .layer(Packing.PLAIN, new Members().file("which", variant))
                    .write();
            entries.append(entries.isEmpty() ? "" : ",")
                    .append(Files.readString(folder.resolve("index.json"))
                            .replaceFirst(".*\\[", "")
                            .replaceFirst(
                                    ",\"annotations.*",
                                    ",\"platform\":{\"os\":\"linux\",\"architecture\":\"amd64\""
                                            + (variant.equals("plain") ? "" : ",\"variant\":\"" + variant + "\"")
                                            + "}}"));
        }
        Files.writeString(folder.resolve("index.json"), "{\"schemaVersion\":2,\"manifests\":[" + entries + "]}");
        Path ext4 = cache().get(new Request(
                        "oci:" + folder, Platform.parse(platform), ANYWHERE, new RootfsOptions(32, List.of())))
                .file();
        assertThat(debugfs(ext4, "cat /which")).endsWith(which);
    }

    static Stream<Arguments> untrueManifests() {
        Claim digest = image -> image.claim(new Digest("sha256", "ab".repeat(32)));
        Claim shorter = image -> image.claim(-1, "application/vnd.oci.image.layer.v1.tar");
        Claim longer = image -> image.claim(1, "application/vnd.oci.image.layer.v1.tar");
        Claim unknown = image -> image.claim(0, "application/vnd.example.layer.v9");
        Claim encrypted = image -> image.claim(0, "application/vnd.oci.image.layer.v1.tar+gzip+encrypted");
        Claim foreign = image -> image.claim(0, "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip");
        return Stream.of(
                Arguments.of("layer sha256:abababababab of", "other content than its digest", digest),
                Arguments.of("layer sha256:", "is longer than its manifest says", shorter),
                Arguments.of("layer sha256:", "and its manifest says that it has", longer),
                Arguments.of("layer sha256:", "is of no type that is known: application/vnd.example.layer.v9", unknown),
                Arguments.of("layer sha256:", "is encrypted", encrypted),
                Arguments.of("layer sha256:", "is a foreign one", foreign));
    }

    /** What a manifest says of its last layer. */
    private interface Claim {
        OciImage make(OciImage image) throws IOException;
    }

    @ParameterizedTest
    @MethodSource("untrueManifests")
    void layer_that_is_not_as_its_manifest_says_is_refused(String name, String why, Claim claim) throws Exception {
        image.layer(Packing.PLAIN, new Members().file("f", "x"));
        String reference = claim.make(image).write();
        assertThatThrownBy(() -> cache().get(request(reference, 32)))
                .isInstanceOf(ForkdException.class)
                .hasMessageContaining(name)
                .hasMessageContaining(why);
        requireNothingBuilt();
    }

    @Test
    void manifest_that_refers_to_itself_is_named() throws Exception {
        Path archive = scratch.resolve("saved.tar");
        Files.write(
                archive,
                new Members()
                        .file(
                                "manifest.json",
                                "[{\"Config\":\"manifest.json\",\"RepoTags\":[\"a:1\"],\"Layers\":[\"l\"]}]")
                        .archive());
        assertThatThrownBy(() -> cache().get(request("docker-archive:" + archive, 32)))
                .hasMessage("manifest.json of docker-archive:" + archive + " refers to itself");
    }

    /** One ends where a buffer does, which is where a reader may take it for the last. */
    @Test
    void layer_of_several_gzip_members_is_the_same_in_an_archive() throws Exception {
        byte[] noise = new byte[200_000];
        new java.util.Random(1).nextBytes(noise);
        Members first = new Members().file("first", noise);
        Members second = new Members().file("second", "x");
        ByteArrayOutputStream whole = new ByteArrayOutputStream();
        whole.writeBytes(first.unfinished());
        whole.writeBytes(second.unfinished());
        image.packedLayer(
                List.of(padded(packed(first), 256 << 10), packed(second)), Digest.sha256(whole.toByteArray()));
        String reference = image.write();
        Path archive = scratch.resolve("image.tar");
        Tool.run("tar", "-C", scratch.resolve("image").toString(), "-cf", archive.toString(), ".");
        Path one = cache(scratch.resolve("one")).get(request(reference, 32)).file();
        Path other = cache(scratch.resolve("other"))
                .get(request("oci-archive:" + archive, 32))
                .file();
        assertThat(Files.mismatch(one, other)).isEqualTo(-1);
    }

    /** The same gzip member, longer by a field in its header. */
    private static byte[] padded(byte[] member, int length) {
        int extra = length - member.length - 2;
        ByteBuffer longer = ByteBuffer.allocate(length).order(ByteOrder.LITTLE_ENDIAN);
        longer.put(member, 0, 10).put(3, (byte) (member[3] | 4)).putShort((short) extra);
        longer.position(longer.position() + extra);
        return longer.put(member, 10, member.length - 10).array();
    }

    @Test
    void cache_is_nobody_elses_business() throws Exception {
        Path directory = scratch.resolve("cache");
        // As an older version made it.
        for (String name : List.of("locks", "images", "blobs")) {
            Files.setPosixFilePermissions(
                    Files.createDirectories(directory.resolve(name)), PosixFilePermissions.fromString("rwxr-xr-x"));
        }
        image.layer(Packing.GZIP, new Members().file("f", "secret"));
        Path ext4 = cache().get(request(image.write(), 32)).file();
        assertThat(PosixFilePermissions.toString(Files.getPosixFilePermissions(ext4)))
                .isEqualTo("r--------");
        for (String name : List.of("locks", "images")) {
            assertThat(PosixFilePermissions.toString(Files.getPosixFilePermissions(directory.resolve(name))))
                    .isEqualTo("rwx------");
        }
        Path fresh = scratch.resolve("fresh");
        cache(fresh).get(request(image.write(), 32));
        assertThat(PosixFilePermissions.toString(Files.getPosixFilePermissions(fresh)))
                .isEqualTo("rwx------");
    }

    @Test
    void folder_of_somebody_else_is_no_cache_and_is_not_pruned() throws Exception {
        image.layer(Packing.GZIP, new Members().file("f", "x"));
        String reference = image.write();
        Path layout = scratch.resolve("image");
        List<Path> before = Trees.list(layout.resolve("blobs/sha256"));
        assertThatThrownBy(() -> cache(layout).get(request(reference, 32)))
                .hasMessageContaining(layout + " is no cache of forkd's");
        cache(layout).prune(Set::of, false);
        assertThat(Trees.list(layout.resolve("blobs/sha256"))).isEqualTo(before);
    }

    @Test
    void file_of_the_users_choice_can_be_read_by_whom_the_umask_lets() throws Exception {
        image.layer(Packing.GZIP, new Members().file("f", "x"));
        Path file = cache().buildTo(request(image.write(), 32), scratch.resolve("x.ext4"))
                .file();
        assertThat(Files.getPosixFilePermissions(file))
                .isEqualTo(Files.getPosixFilePermissions(Files.createFile(scratch.resolve("by-umask"))));
    }

    private void requireNothingBuilt() throws IOException {
        assertThat(Trees.list(scratch.resolve("cache/images"))).isEmpty();
        assertThat(Trees.list(scratch.resolve("cache")))
                .extracting(path -> path.getFileName().toString())
                .noneMatch(name -> name.startsWith(".building-") || name.endsWith(".ext4"));
    }

    @Test
    void image_that_does_not_fit_is_told_how_much_it_needs() throws Exception {
        byte[] noise = new byte[40 << 20];
        new java.util.Random(1).nextBytes(noise);
        image.layer(
                Packing.PLAIN,
                new Members().file("a", Arrays.copyOf(noise, 20 << 20)).file("b", noise));
        String reference = image.write();
        assertThatThrownBy(() -> cache().get(request(reference, 48)))
                .isInstanceOfSatisfying(ForkdException.class, e -> {
                    int needed = (int) ((Remedy.ImageOfSize) e.remedy()).mib();
                    assertThat(needed).isBetween(60, 100);
                    Path made = cache().get(request(reference, needed)).file();
                    assertThat(made).exists();
                });
    }

    @Test
    void member_larger_than_the_image_is_refused_before_it_is_unpacked() throws Exception {
        image.layer(Packing.GZIP, new Members().file("bomb", new byte[33 << 20]));
        String reference = image.write();
        assertThatThrownBy(() -> cache().get(request(reference, 32)))
                .isInstanceOfSatisfying(
                        ForkdException.class, e -> assertThat(e.remedy()).isEqualTo(Remedy.Action.LARGER_IMAGE))
                .hasMessageContaining("bomb");
        requireNothingBuilt();
    }

    @ParameterizedTest
    @CsvSource({"gnu,", "posix,0.0", "posix,0.1", "posix,1.0"})
    void holes_that_tar_left_out_are_there_again(String format, String version) throws Exception {
        Path tree = Files.createDirectory(scratch.resolve("tree"));
        for (int size : new int[] {1, 9, 100}) {
            try (FileChannel file = FileChannel.open(
                    tree.resolve("holes" + size), StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE)) {
                for (int i = 0; i < size; i++) {
                    file.write(ByteBuffer.wrap("some data".getBytes("UTF-8")), (2 * i + 1) * 65_536L);
                }
                file.write(ByteBuffer.wrap(new byte[1]), (2L * size + 1) * 65_536);
            }
            // Some formats have whole seconds only.
            Files.setLastModifiedTime(
                    tree.resolve("holes" + size), FileTime.from(Instant.ofEpochSecond(1_600_000_000)));
        }
        Path archive = scratch.resolve("tree.tar");
        List<String> command = new ArrayList<>(List.of("tar", "--sparse", "--format=" + format));
        if (version != null) {
            command.add("--sparse-version=" + version);
        }
        command.addAll(List.of("-C", tree.toString(), "-cf", archive.toString(), "."));
        Tool.run(command.toArray(String[]::new));
        assertThat(Files.size(archive)).isLessThan(2 << 20);
        image.layer(Packing.GZIP, Files.readAllBytes(archive));
        Path ext4 = cache().get(request(image.write(), 64)).file();
        // Not with umoci, which knows no sparse members of GNU's own kind.
        assertThat(facts(Tool.listingOfImage(ext4, Files.createDirectory(scratch.resolve("mount"))), OURS))
                .hasSize(6) // a line and a checksum for each
                .containsExactlyElementsOf(facts(Tool.listing(tree), OURS));
    }

    @Test
    void layer_of_too_many_members_is_refused() throws Exception {
        Members some = new Members();
        for (int i = 0; i < 10_000; i++) {
            some.directory("d", 0755);
        }
        byte[] part = packed(some);
        image.packedLayer(Collections.nCopies(76, part), Digest.sha256(part));
        String reference = image.write();
        assertThatThrownBy(() -> cache().get(request(reference, 32))).hasMessageContaining("more than 750000 files");
        requireNothingBuilt();
    }

    @Test
    void directories_that_no_layer_has_are_counted_too() throws Exception {
        Members deep = new Members();
        for (int i = 0; i < 400; i++) {
            deep.file(i + "/" + "x/".repeat(2000) + "f", "");
        }
        image.layer(Packing.GZIP, deep);
        String reference = image.write();
        assertThatThrownBy(() -> cache().get(request(reference, 32))).hasMessageContaining("more than 750000 files");
        requireNothingBuilt();
    }

    @Test
    void names_that_would_not_fit_into_memory_are_refused() throws Exception {
        Members some = new Members();
        for (int i = 0; i < 1000; i++) {
            some.symlink("link-" + i, "t".repeat(4000));
        }
        byte[] part = packed(some);
        image.packedLayer(Collections.nCopies(17, part), Digest.sha256(part));
        String reference = image.write();
        assertThatThrownBy(() -> cache().get(request(reference, 32)))
                .hasMessageContaining("names, links and extended attributes")
                .hasMessageContaining("64 MiB");
        requireNothingBuilt();
    }

    @Test
    void layer_that_unpacks_to_far_more_than_the_image_is_refused() throws Exception {
        byte[] part = packed(new Members().file("again", new byte[31 << 20]));
        image.packedLayer(Collections.nCopies(52, part), Digest.sha256(part));
        String reference = image.write();
        assertThatThrownBy(() -> cache().get(request(reference, 32)))
                .hasMessageContaining("again")
                .hasMessageContaining("unpacks to more than 1536 MiB");
        requireNothingBuilt();
    }

    /** Without the end of an archive, so that more can follow. */
    private static byte[] packed(Members members) throws IOException {
        ByteArrayOutputStream packed = new ByteArrayOutputStream();
        try (GZIPOutputStream out = new GZIPOutputStream(packed)) {
            out.write(members.unfinished());
        }
        return packed.toByteArray();
    }

    @Test
    void full_disk_is_said_and_leaves_nothing() throws Exception {
        byte[] noise = new byte[20 << 20];
        new java.util.Random(1).nextBytes(noise);
        image.layer(Packing.PLAIN, new Members().file("noise", noise));
        String reference = image.write();
        Path small = Files.createDirectory(scratch.resolve("cache"));
        Tool.run("mount", "-t", "tmpfs", "-o", "size=8m", "forkd-test", small.toString());
        try (RootfsCache cache = cache(small)) {
            assertThatThrownBy(() -> cache.get(request(reference, 64)))
                    .isInstanceOf(ForkdException.class)
                    .hasMessageContaining("No space left on device");
            requireNothingBuilt();
        } finally {
            Tool.run("umount", small.toString());
        }
    }

    @Test
    void layer_with_other_content_than_the_configuration_says_is_refused() throws Exception {
        image.layer(Packing.PLAIN, new Members().file("f", "good"));
        String reference = image.write();
        try (Stream<Path> blobs = Files.list(scratch.resolve("image/blobs/sha256"))) {
            for (Path blob : blobs.toList()) {
                if (Files.size(blob) > 1024) {
                    byte[] bytes = Files.readAllBytes(blob);
                    bytes[512] = 'b';
                    Files.write(blob, bytes);
                }
            }
        }
        assertThatThrownBy(() -> cache().get(request(reference, 32))).hasMessageContaining("other content");
        requireNothingBuilt();
    }

    @Test
    void cut_archive_is_refused() throws Exception {
        byte[] archive = new Members().file("whole", new byte[5000]).archive();
        image.layer(Packing.GZIP, Arrays.copyOf(archive, 3000));
        String reference = image.write();
        assertThatThrownBy(() -> cache().get(request(reference, 32)))
                .hasMessageContaining("whole")
                .hasMessageContaining("cut short");
    }

    /** Podman's service speaks Docker's protocol, and is a sixth of Docker's size. */
    @Test
    void image_of_a_docker_daemon_is_the_same() throws Exception {
        image.layer(Packing.GZIP, new Members().directory("d", 0700).file("d/f", holes()))
                .layer(Packing.PLAIN, new Members().symlink("link", "d/f").hardLink("other", "d/f"))
                .write();
        String layout = "oci:" + scratch.resolve("image") + ":1";
        Path socket = scratch.resolve("docker.sock");
        List<String> podman =
                List.of(("podman --storage-driver vfs --cgroup-manager cgroupfs --events-backend none --root "
                                + scratch.resolve("podman") + " --runroot " + scratch.resolve("podman-run"))
                        .split(" "));
        for (String tag : List.of("1", "latest")) {
            Path saved = scratch.resolve(tag + ".tar");
            Tool.run("skopeo", "copy", "-q", layout, "docker-archive:" + saved + ":team/app:" + tag);
            Tool.run(and(podman, "load", "-q", "-i", saved.toString()));
        }
        try (RootfsCache cache = cache(scratch.resolve("cache"), Map.of("DOCKER_HOST", "unix://" + socket))) {
            assertThatThrownBy(() -> cache.get(request("docker-daemon:team/app:1", 32)))
                    .hasMessageContaining("there is no Docker daemon: " + socket + " does not exist");

            Process daemon = new ProcessBuilder(and(podman, "system", "service", "--time", "0", "unix://" + socket))
                    .redirectErrorStream(true)
                    .redirectOutput(scratch.resolve("podman.log").toFile())
                    .start();
            try {
                awaitConnection(socket, daemon);
                Rootfs made = cache.get(request("docker-daemon:team/app:1", 32));
                requireSameAsUmoci(made.file());
                assertThat(cache.get(request("docker-daemon:team/app", 32)).cached())
                        .isTrue();
                assertThatThrownBy(() -> cache.get(request("docker-daemon:team/other:1", 32)))
                        .hasMessageContaining("does not give team/other:1")
                        .hasMessageContaining("image not known");
            } finally {
                daemon.destroy();
                daemon.waitFor();
            }
            Files.deleteIfExists(socket);
            // What a daemon leaves that was killed.
            ServerSocketChannel.open(StandardProtocolFamily.UNIX)
                    .bind(UnixDomainSocketAddress.of(socket))
                    .close();
            assertThatThrownBy(() -> cache.get(request("docker-daemon:team/app:1", 32)))
                    .hasMessageContaining("cannot talk to the Docker daemon at " + socket)
                    .hasMessageContaining("Connection refused");
        }
        try (RootfsCache cache = cache(scratch.resolve("cache"), Map.of("DOCKER_HOST", "tcp://127.0.0.1:2375"))) {
            assertThatThrownBy(() -> cache.get(request("docker-daemon:team/app:1", 32)))
                    .hasMessageContaining("DOCKER_HOST is tcp://127.0.0.1:2375")
                    .hasMessageContaining("docker save");
        }
    }

    /** A socket is there a moment before anybody listens at it. */
    private void awaitConnection(Path socket, Process daemon) throws Exception {
        for (long end = System.nanoTime() + TimeUnit.MINUTES.toNanos(1); ; Thread.sleep(100)) {
            try (SocketChannel connected = SocketChannel.open(UnixDomainSocketAddress.of(socket))) {
                return;
            } catch (IOException e) {
                assertThat(daemon.isAlive() && System.nanoTime() < end)
                        .as("podman does not serve: " + e + ": " + Files.readString(scratch.resolve("podman.log")))
                        .isTrue();
            }
        }
    }

    private static String[] and(List<String> command, String... more) {
        return Stream.concat(command.stream(), Stream.of(more)).toArray(String[]::new);
    }

    @Test
    void second_time_it_is_there_and_what_goes_in_decides() throws Exception {
        image.layer(Packing.GZIP, new Members().file("f", "x"));
        String reference = image.write();
        Rootfs first = cache().get(request(reference, 32));
        Rootfs again = cache().get(request(reference, 32));
        Rootfs larger = cache().get(request(reference, 48));
        assertThat(first.cached()).isFalse();
        assertThat(again.cached()).isTrue();
        assertThat(again.file()).isEqualTo(first.file());
        assertThat(larger.cached()).isFalse();
        assertThat(larger.file()).isNotEqualTo(first.file());
        Path slug = Trees.list(scratch.resolve("cache")).stream()
                .filter(path -> path.toString().endsWith(".ext4"))
                .findFirst()
                .orElseThrow();
        assertThat(slug.toRealPath()).isEqualTo(larger.file().toRealPath());
        assertThat(cache().list()).hasSize(2);
    }

    @Test
    void image_that_changed_under_its_name_is_built_anew() throws Exception {
        image.layer(Packing.GZIP, new Members().file("f", "old"));
        Path old = cache().get(request(image.write(), 32)).file();
        image.layer(Packing.GZIP, new Members().file("f", "new"));
        Rootfs fresh = cache().get(request(image.write(), 32));
        assertThat(fresh.cached()).isFalse();
        assertThat(fresh.file()).isNotEqualTo(old);
        assertThat(old).exists();
    }

    @Test
    void builds_of_the_same_image_wait_for_one_another() throws Exception {
        image.layer(Packing.PLAIN, new Members().file("f", new byte[20 << 20]));
        Request request = request(image.write(), 64);
        CompletableFuture<Rootfs> one = CompletableFuture.supplyAsync(() -> cache().get(request));
        CompletableFuture<Rootfs> other = CompletableFuture.supplyAsync(() -> cache().get(request));
        assertThat(Stream.of(one.get(), other.get()).map(Rootfs::cached)).containsExactlyInAnyOrder(true, false);
    }

    @Test
    void interrupt_at_any_step_leaves_nothing() throws Exception {
        Members members = new Members();
        for (int i = 0; i < 20; i++) {
            members.file("f" + i, "x");
        }
        image.layer(Packing.GZIP, members);
        Request request = request(image.write(), 32);
        for (int steps = 1; steps <= 20; steps += 3) {
            checksUntilInterrupt.set(steps);
            assertThatThrownBy(() -> cache().get(request)).hasMessage("interrupted");
            requireNothingBuilt();
        }
    }

    @Test
    void image_of_a_chosen_name_leaves_what_else_is_in_its_folder() throws Exception {
        image.layer(Packing.GZIP, new Members().file("f", "x"));
        Path folder = Files.createDirectory(scratch.resolve("folder"));
        Path lock = Files.createFile(folder.resolve(".lock"));
        Path file = folder.resolve("x");
        cache().buildTo(request(image.write(), 32), file);
        assertThat(Trees.list(folder)).containsExactly(lock, file);
        Files.delete(lock);
        cache().buildTo(request(image.write(), 32), file);
        assertThat(Trees.list(folder)).containsExactly(file);
    }

    @Test
    void pruning_keeps_what_snapshots_use() throws Exception {
        image.layer(Packing.GZIP, new Members().file("f", "x"));
        String reference = image.write();
        RootfsCache cache = cache(scratch.resolve("cache"));
        Path used = cache.get(request(reference, 32)).file().toRealPath();
        cache.close();
        Path unused;
        try (RootfsCache other = cache(scratch.resolve("cache"))) {
            unused = other.get(request(reference, 48)).file();
            assertThatThrownBy(() -> cache.prune(Set::of, true)).hasMessageContaining("is in use");
            assertThat(unused).exists();
        }
        cache.prune(() -> Set.of(used), true);
        assertThat(unused).exists();
        cache.prune(() -> Set.of(used), false);
        assertThat(used).exists();
        assertThat(unused).doesNotExist();
    }

    private RootfsCache bounded(long mib, Set<Path> inUse) {
        NativeFiles files = NativeFiles.installed();
        return new RootfsCache(
                scratch.resolve("cache"),
                files.mkfs(),
                files.mktree(),
                files.guest(),
                Map.of(),
                work,
                Optional.of(new RootfsCache.Bound(mib << 20, () -> inUse)));
    }

    /** Each with 8 MiB that no other has. */
    private String imageOf(int number) throws IOException {
        byte[] noise = new byte[8 << 20];
        new java.util.Random(number).nextBytes(noise);
        return new OciImage(Files.createDirectory(scratch.resolve("image" + number)))
                .layer(Packing.PLAIN, new Members().file("f", noise))
                .write();
    }

    @Test
    void cache_that_is_full_gives_up_what_was_not_asked_for_the_longest() throws Exception {
        List<Path> files = new ArrayList<>();
        for (int i = 0; i < 4; i++) {
            // Room for two, and for one that is made, which may take 32 MiB: in the end each takes some 12.
            try (RootfsCache cache = bounded(60, Set.of())) {
                files.add(cache.get(request(imageOf(i), 32)).file());
                if (i == 1) {
                    assertThat(files).allSatisfy(file -> assertThat(file).exists());
                    assertThat(cache.get(request(imageAgain(0), 32)).cached()).isTrue();
                }
            }
        }
        assertThat(files.get(0)).exists();
        assertThat(files.get(1)).doesNotExist();
        assertThat(files.get(3)).exists();
    }

    private String imageAgain(int number) {
        return "oci:" + scratch.resolve("image" + number) + ":1";
    }

    @Test
    void cache_that_is_full_keeps_what_snapshots_use_and_refuses_the_next() throws Exception {
        Path used;
        try (RootfsCache cache = bounded(130, Set.of())) {
            used = cache.get(request(imageOf(0), 32)).file().toRealPath();
        }
        try (RootfsCache cache = bounded(40, Set.of(used))) {
            assertThatThrownBy(() -> cache.get(request(imageOf(1), 32)))
                    .isInstanceOfSatisfying(
                            NoRoomException.class,
                            e -> assertThat(e.isPassing()).isFalse())
                    .hasMessageContaining("33 MiB")
                    .hasMessageContaining("of the 40 MiB");
            assertThat(used).exists();
            assertThat(cache.list()).hasSize(1);
            assertThat(cache.get(request(imageAgain(0), 32)).cached()).isTrue();
        }
    }

    @Test
    void room_that_another_build_is_going_to_take_is_taken_by_nobody() throws Exception {
        String small = imageOf(0);
        String large = imageOf(1);
        try (RootfsCache one = bounded(130, Set.of());
                RootfsCache other = bounded(130, Set.of())) {
            CompletableFuture<Boolean> building = new CompletableFuture<>();
            CompletableFuture<Boolean> refused = new CompletableFuture<>();
            onMerge = () -> {
                building.complete(true);
                refused.orTimeout(60, TimeUnit.SECONDS).join();
            };
            CompletableFuture<Rootfs> made = CompletableFuture.supplyAsync(() -> one.get(request(large, 100)));
            building.orTimeout(60, TimeUnit.SECONDS).join();
            assertThatThrownBy(() -> other.get(request(small, 32)))
                    .isInstanceOfSatisfying(
                            NoRoomException.class,
                            e -> assertThat(e.isPassing()).isTrue());
            onMerge = () -> {};
            refused.complete(true);
            assertThat(made.get(60, TimeUnit.SECONDS).file()).exists();
            // What it has not taken after all is free again.
            assertThat(other.get(request(small, 32)).cached()).isFalse();
        }
    }

    @Test
    void image_that_is_pulled_slowly_keeps_nobody_from_being_unpacked() throws Exception {
        image.layer(Packing.PLAIN, new Members().file("f", "x")).write();
        CountDownLatch asked = new CountDownLatch(1);
        CountDownLatch go = new CountDownLatch(1);
        HttpServer slow = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
        slow.setExecutor(task -> new Thread(task, "slow-registry").start());
        Path layout = scratch.resolve("image");
        String manifest =
                Files.readString(layout.resolve("index.json")).replaceFirst("(?s).*?sha256:([0-9a-f]{64}).*", "$1");
        Path layer = largest(layout.resolve("blobs/sha256"));
        slow.createContext("/v2/py/", exchange -> {
            try (exchange) {
                String last = exchange.getRequestURI().getPath().replaceFirst(".*/(sha256:)?", "");
                byte[] blob =
                        Files.readAllBytes(layout.resolve("blobs/sha256").resolve(last.equals("1") ? manifest : last));
                exchange.sendResponseHeaders(200, blob.length);
                if (last.equals(layer.getFileName().toString())) {
                    asked.countDown();
                    go.await();
                }
                exchange.getResponseBody().write(blob);
            } catch (InterruptedException e) {
                throw new IOException(e);
            }
        });
        slow.start();
        try (RootfsCache one = cache(scratch.resolve("one"));
                RootfsCache other = cache(scratch.resolve("other"))) {
            String reference = "127.0.0.1:" + slow.getAddress().getPort() + "/py:1";
            CompletableFuture<Rootfs> made = CompletableFuture.supplyAsync(() -> one.get(request(reference, 32)));
            assertThat(asked.await(60, TimeUnit.SECONDS)).isTrue();
            CompletableFuture<Rootfs> fast =
                    CompletableFuture.supplyAsync(() -> other.get(request("oci:" + layout + ":1", 32)));
            assertThat(fast.get(60, TimeUnit.SECONDS).file()).isRegularFile();
            go.countDown();
            assertThat(made.get(60, TimeUnit.SECONDS).file()).isRegularFile();
        } finally {
            go.countDown();
            slow.stop(0);
        }
    }

    private static Path largest(Path directory) throws IOException {
        return Trees.list(directory).stream()
                .max(Comparator.comparing(file -> file.toFile().length()))
                .orElseThrow();
    }

    @Test
    void guest_finds_how_the_image_wants_to_be_started() throws Exception {
        image.layer(
                Packing.GZIP,
                new Members().symlink("etc/resolv.conf", "/run/missing").file("etc/hosts", ""));
        Path ext4 = cache().get(request(image.write(), 32)).file();
        assertThat(debugfs(ext4, "cat /etc/forkd/image.json"))
                .contains("\"working_dir\":\"/work\"", "\"user\":\"1000:1000\"", "\"WORD=two words\"", "/bin/entry");
        assertThat(debugfs(ext4, "cat /etc/resolv.conf")).contains("nameserver");
        assertThat(debugfs(ext4, "cat /etc/hosts")).contains("127.0.0.1\tlocalhost");
        assertThat(debugfs(ext4, "cat /etc/hostname")).contains("forkd");
        assertThat(debugfs(ext4, "stat /forkd-init.sh")).contains("Mode:  0755");
    }

    @Test
    void working_directory_is_made_where_it_is_missing() throws Exception {
        image.layer(Packing.GZIP, new Members().symlink("srv", "data").directory("data", 0700));
        Path ext4 = cache().get(
                        request(image.workingDirectory("../srv/./a//x/../b/").write(), 32))
                .file();
        assertThat(debugfs(ext4, "cat /etc/forkd/image.json")).contains("\"working_dir\":\"/srv/a/b\"");
        assertThat(debugfs(ext4, "stat /data/a/b")).contains("Type: directory    Mode:  0755");
    }

    private static String debugfs(Path ext4, String command) throws Exception {
        return Tool.run("debugfs", "-R", command, ext4.toString());
    }
}
