package io.forkd.hub;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.github.luben.zstd.Zstd;
import io.forkd.ForkdException;
import io.forkd.Json;
import io.forkd.files.Trees;
import io.forkd.image.Digest;
import io.forkd.image.ImageReference.InRegistry;
import io.forkd.image.QuietWork;
import io.forkd.image.Reach;
import io.forkd.image.RealRegistry;
import io.forkd.image.RegistryClient;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.Optional;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestInstance;
import org.junit.jupiter.api.TestInstance.Lifecycle;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.ObjectNode;

/** Snapshots in a real registry whose maker lies, in documents that are well formed. */
@TestInstance(Lifecycle.PER_CLASS)
class HostileArtifactTest {
    private static final byte[] NOTHING = new byte[100];

    private RealRegistry registry;
    private Host target;
    private byte[] manifest = {};
    private byte[] config = {};

    @BeforeAll
    void start(@TempDir Path folder) throws Exception {
        registry = new RealRegistry(Files.createDirectory(folder.resolve("registry-of-test")));
        Host source = new Host(folder.resolve("source"));
        target = new Host(folder.resolve("target"));
        source.boot();
        source.link("base", "child", "set note child");
        source.push("child", registry.host() + "/team/warm:1");
        try (RegistryClient client = client("1")) {
            manifest = client.manifest("1");
            Digest named = new ArtifactDocuments("it").configOf(manifest).digest();
            try (InputStream in = client.blob(named, 0)) {
                config = in.readAllBytes();
            }
        }
    }

    @AfterAll
    void stop() throws Exception {
        registry.close();
    }

    private RegistryClient client(String tag) {
        return new RegistryClient(
                InRegistry.parse(registry.host() + "/team/warm:" + tag),
                new Reach(false, Optional.empty()),
                Map.of(),
                new QuietWork());
    }

    /** What an artifact is made into. */
    interface Change {
        void make(ObjectNode manifest, ObjectNode config, RegistryClient client);
    }

    private static ObjectNode link(ObjectNode config, int index) {
        return (ObjectNode) config.path("snapshots").path(index);
    }

    private static ObjectNode file(ObjectNode config, int index, String name) {
        for (var file : link(config, index).path("files")) {
            if (file.path("name").asString("").equals(name)) {
                return (ObjectNode) file;
            }
        }
        throw new AssertionError(name);
    }

    private static ObjectNode inside(ObjectNode config, int index) {
        return (ObjectNode) link(config, index).path("manifest");
    }

    /** Another blob in the place of a chunk of a file, said to be what it is. */
    private static void replace(
            ObjectNode manifest,
            ObjectNode config,
            ObjectNode file,
            byte[] blob,
            byte[] content,
            RegistryClient client) {
        client.upload(Digest.sha256(blob), blob);
        int number = 0;
        for (var each : file.path("chunks")) {
            number = Math.max(number, each.asInt(0));
        }
        ((ObjectNode) manifest.path("layers").path(number))
                .put("digest", Digest.sha256(blob).toString())
                .put("size", blob.length);
        ((ObjectNode) config.path("chunks").path(number))
                .put("content", Digest.sha256(content).toString());
    }

    private static byte[] contentOf(ObjectNode config, ObjectNode file) {
        return new byte[file.path("bytes").asInt(0)];
    }

    private static Arguments of(String kind, String why, Change change) {
        return Arguments.of(kind, why, change);
    }

    static Stream<Arguments> lies() {
        return Stream.of(
                of(
                        "a file that no snapshot has",
                        "it has a file 'evil.sh'",
                        (m, c, r) -> file(c, 1, "working-set").put("name", "evil.sh")),
                of(
                        "no memory",
                        "its memory.bin is missing",
                        (m, c, r) -> file(c, 0, "memory.bin").put("name", "disk-0.layer")),
                of("a working set without end", "its working-set has 8589934592 bytes", (m, c, r) -> {
                    ObjectNode file = file(c, 1, "working-set");
                    file.put("bytes", 8L << 30).put("piece", 16 << 20);
                    ArrayNode pieces = file.putArray("chunks");
                    for (int i = 0; i < 512; i++) {
                        pieces.add(-1);
                    }
                }),
                of(
                        "the layer of a disk that it has not",
                        "it has a file 'disk-7.layer'",
                        (m, c, r) -> file(c, 1, "working-set").put("name", "disk-7.layer")),
                of(
                        "another size of memory",
                        "and the guest 134217728",
                        (m, c, r) -> inside(c, 0).put("memory_bytes", 128 << 20)),
                of(
                        "memory of the host",
                        "\"memory\" is '/etc/shadow'",
                        (m, c, r) -> inside(c, 0).put("memory", "/etc/shadow")),
                of(
                        "a vmstate of the host",
                        "\"vmstate\" is '/dev/sda'",
                        (m, c, r) -> inside(c, 0).put("vmstate", "/dev/sda")),
                of(
                        "a layer of the host",
                        "is not a file name",
                        (m, c, r) -> ((ObjectNode) inside(c, 0).path("disks").path(0))
                                .put("layer", "../../x")
                                .put("layer_bytes", 1)),
                of("a volume", "volumes that do not come along: shadow on /mnt", (m, c, r) -> {
                    ((ArrayNode) inside(c, 0).path("volumes"))
                            .addObject()
                            .put("host_path", "/etc/shadow")
                            .put("guest_path", "/mnt")
                            .put("read_only", true);
                    ((ArrayNode) inside(c, 1).path("volumes"))
                            .addObject()
                            .put("host_path", "/etc/shadow")
                            .put("guest_path", "/mnt")
                            .put("read_only", true);
                    for (int i = 0; i < 2; i++) {
                        ((ArrayNode) inside(c, i).path("disks"))
                                .addObject()
                                .put("image", "/etc/shadow")
                                .put("read_only", true)
                                .put("bytes", 1);
                    }
                }),
                of(
                        "a disk too many",
                        "it has 2 disks",
                        (m, c, r) -> ((ArrayNode) inside(c, 0).path("disks"))
                                .addObject()
                                .put("image", "/etc/shadow")
                                .put("read_only", true)
                                .put("bytes", 1)),
                of(
                        "a disk of another size",
                        "its root disk is of another size",
                        (m, c, r) -> ((ObjectNode) inside(c, 0).path("disks").path(0)).put("bytes", 5)),
                of(
                        "the name of another disk",
                        "the root disk of localhost",
                        (m, c, r) -> ((ObjectNode) c.path("disks").path(0)).put("digest", "sha256:" + "1".repeat(64))),
                of(
                        "a parent that does not come along",
                        "its parent is not the snapshot before it",
                        (m, c, r) -> inside(c, 1).put("parent_content_hash", "0".repeat(64))),
                of("no parent", "\"memory\" is 'memory.layer'", (m, c, r) -> {
                    inside(c, 1).remove("parent_tag");
                    inside(c, 1).remove("parent_content_hash");
                }),
                of(
                        "a parent of the first",
                        "its parent is not the snapshot before it",
                        (m, c, r) ->
                                inside(c, 0).put("parent_tag", "child").put("parent_content_hash", "0".repeat(64))),
                of(
                        "another content of the first",
                        "its parent is not the snapshot before it",
                        (m, c, r) -> link(c, 0).put("content", "0".repeat(64))),
                of(
                        "another content of the last",
                        "and its configuration says 000000000000",
                        (m, c, r) -> link(c, 1).put("content", "0".repeat(64))),
                of(
                        "a manifest of a newer forkd",
                        "has format 9",
                        (m, c, r) -> inside(c, 0).put("format", 9)),
                of(
                        "processors without end",
                        "\"vcpus\" is larger than any machine",
                        (m, c, r) -> inside(c, 0).put("vcpus", 1L << 40)),
                of("a vmstate of nothing", "vmstate", (m, c, r) -> {
                    ObjectNode file = file(c, 1, "vmstate");
                    byte[] content = contentOf(c, file);
                    replace(m, c, file, Zstd.compress(content), content, r);
                }),
                of(
                        "a chunk that is not compressed",
                        "cannot be decompressed",
                        (m, c, r) -> replace(m, c, file(c, 1, "vmstate"), NOTHING, NOTHING, r)),
                of(
                        "a chunk that is a bomb",
                        "cannot be decompressed to",
                        (m, c, r) ->
                                replace(m, c, file(c, 1, "vmstate"), Zstd.compress(new byte[64 << 20]), NOTHING, r)),
                of(
                        "a chunk that is shorter",
                        "not of the length that the configuration says",
                        (m, c, r) -> replace(m, c, file(c, 1, "vmstate"), Zstd.compress(NOTHING), NOTHING, r)),
                of("a chunk of other content", "its content is not what the configuration says", (m, c, r) -> {
                    ObjectNode file = file(c, 1, "vmstate");
                    replace(m, c, file, Zstd.compress(contentOf(c, file)), NOTHING, r);
                }));
    }

    @Test
    void what_a_lie_is_to_take_the_place_of_stays(@TempDir Path folder) throws Exception {
        Host host = new Host(folder);
        host.boot();
        host.link("base", "child", "set note mine");
        String mine = host.hash("child");
        String ref = put("replacing", (m, c, r) -> link(c, 1).put("content", "0".repeat(64)));
        assertThatThrownBy(() -> host.pull(ref, Optional.of("child"), true))
                .isInstanceOf(ForkdException.class)
                .hasMessageContaining("and its configuration says 000000000000");
        assertThat(host.hash("child")).isEqualTo(mine);
        assertThat(host.exec("child", "get note")).isEqualTo("mine");
    }

    /** What somebody else said of chunks is no part of what is pushed over it. */
    @Test
    void push_over_a_lie_says_what_is_so(@TempDir Path folder) throws Exception {
        Host host = new Host(folder.resolve("host"));
        host.boot();
        host.link("base", "child", "set note mine");
        String first = registry.host() + "/team/over:1";
        host.push("child", first);
        // Its newer version has differences to it, and the lie is told of both.
        host.link("child", "next", "set note next");
        host.engine.snapshots().compact(new io.forkd.snapshot.SnapshotTag("next"), Host.call());
        host.push("next", first);
        ObjectNode said;
        ObjectNode lie;
        try (RegistryClient client = new RegistryClient(
                InRegistry.parse(first), new Reach(false, Optional.empty()), Map.of(), new QuietWork())) {
            lie = (ObjectNode) Json.parse(client.manifest("1"));
            Digest named =
                    new ArtifactDocuments("it").configOf(client.manifest("1")).digest();
            try (InputStream in = client.blob(named, 0)) {
                said = (ObjectNode) Json.parse(in.readAllBytes());
            }
            // Each chunk is said to be in the blob of another.
            ArrayNode chunks = (ArrayNode) said.path("chunks");
            for (int i = 0; i + 1 < chunks.size(); i += 2) {
                String one = chunks.path(i).path("content").asString("");
                ((ObjectNode) chunks.path(i))
                        .put("content", chunks.path(i + 1).path("content").asString(""));
                ((ObjectNode) chunks.path(i + 1)).put("content", one);
            }
            byte[] bytes = Json.bytes(said);
            client.upload(Digest.sha256(bytes), bytes);
            ((ObjectNode) lie.path("config"))
                    .put("digest", Digest.sha256(bytes).toString())
                    .put("size", bytes.length);
            client.put("1", Json.bytes(lie));
        }
        assertThat(said.path("chunks").size()).isGreaterThan(3);
        host.push("next", first);
        Host other = new Host(folder.resolve("other"));
        other.pull(first);
        assertThat(other.hash("next")).isEqualTo(host.hash("next"));
        assertThat(other.exec("next", "get note")).isEqualTo("next");
    }

    /** Where it is then. */
    private String put(String tag, Change change) {
        ObjectNode changed = (ObjectNode) Json.parse(manifest);
        ObjectNode said = (ObjectNode) Json.parse(config);
        try (RegistryClient client = client(tag)) {
            change.make(changed, said, client);
            byte[] bytes = Json.bytes(said);
            client.upload(Digest.sha256(bytes), bytes);
            ((ObjectNode) changed.path("config"))
                    .put("digest", Digest.sha256(bytes).toString())
                    .put("size", bytes.length);
            client.put(tag, Json.bytes(changed));
        }
        return registry.host() + "/team/warm:" + tag;
    }

    @ParameterizedTest(name = "{0}")
    @MethodSource
    void lies(String kind, String why, Change change) throws Exception {
        String tag = "lie-"
                + Digest.sha256(kind.getBytes(StandardCharsets.UTF_8)).hex().substring(0, 12);
        String lie = put(tag, change);
        assertThatThrownBy(() -> target.pull(lie))
                .as(kind)
                .isInstanceOf(ForkdException.class)
                .hasMessageContaining(why);
        assertThat(target.tags()).doesNotContain("child");
        assertThat(target.images()).noneMatch(image -> image.contains("11111111"));
        assertThat(Trees.list(target.engine.store().root()))
                .extracting(path -> String.valueOf(path.getFileName()))
                .isSubsetOf(".lock", "base");
        assertThatThrownBy(() -> target.pull(
                        lie, Optional.empty(), false, Optional.empty(), new QuietWork(), Optional.of(early -> {})))
                .as(kind + ", with an early start")
                .isInstanceOf(ForkdException.class);
        target.engine
                .store()
                .failed()
                .forEach(tagOfIt -> target.engine.snapshots().remove(tagOfIt, true));
        assertThat(target.tags()).doesNotContain("child");
    }
}
