package io.forkd.hub;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.forkd.ForkdException;
import io.forkd.Json;
import io.forkd.hub.Artifact.Disk;
import io.forkd.hub.Artifact.Link;
import io.forkd.image.Digest;
import io.forkd.image.ImageReference.InRegistry;
import io.forkd.image.Platform;
import io.forkd.rootfs.Recipe;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.Random;
import java.util.function.Consumer;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/** The documents of a snapshot in a registry, of whoever has the registry. */
class ArtifactDocumentsTest {
    private static final ArtifactDocuments DOCUMENTS = new ArtifactDocuments("it");
    private static final int PIECE = 256 << 10;

    private static Artifact sample() {
        Digest digest = Digest.sha256("x".getBytes(StandardCharsets.US_ASCII));
        List<Chunk> chunks = List.of(
                new Chunk(digest, 100, digest, PIECE, Optional.empty()),
                new Chunk(digest, 50, Digest.sha256(new byte[1000]), 1000, Optional.of(digest)));
        ChunkedFile memory = new ChunkedFile("memory.bin", 3L * PIECE, PIECE, List.of(0, ChunkedFile.ZERO, 0));
        ChunkedFile vmstate = new ChunkedFile("vmstate", 1000, PIECE, List.of(1));
        Link link = new Link("py", "0".repeat(64), JsonNodeFactory.instance.objectNode(), 0, List.of(vmstate, memory));
        Disk disk = Disk.sent(
                digest, OptionalLong.of(7), new ChunkedFile("disk-0.image", PIECE + 1000, PIECE, List.of(0, 1)));
        Disk made = new Disk(
                digest,
                OptionalLong.empty(),
                64 << 20,
                new Artifact.Made(new Recipe(
                        InRegistry.parse("ghcr.io/team/py@" + digest), new Platform("linux", "amd64", ""), digest)));
        return new Artifact("0", List.of(link), List.of(disk, made), chunks);
    }

    private static Artifact read(byte[] manifest, byte[] config) {
        DOCUMENTS.configOf(manifest);
        return DOCUMENTS.read(manifest, config);
    }

    @Test
    void documents_say_what_they_were_made_of() {
        byte[] config = ArtifactDocuments.config(sample());
        byte[] manifest = ArtifactDocuments.manifest(sample(), config);
        assertThat(read(manifest, config)).isEqualTo(sample());
        assertThat(DOCUMENTS.configOf(manifest).digest().matches(config)).isTrue();
        assertThat(ArtifactDocuments.config(sample())).isEqualTo(config);
    }

    private static ObjectNode in(ObjectNode node, String path) {
        ObjectNode at = node;
        for (String name : path.split("/")) {
            at = (ObjectNode) (at.path(name) instanceof ArrayNode list ? list.path(0) : at.path(name));
        }
        return at;
    }

    private static Arguments manifest(String kind, String why, Consumer<ObjectNode> change) {
        return Arguments.of(kind, why, change, (Consumer<ObjectNode>) config -> {});
    }

    private static Arguments config(String kind, String why, Consumer<ObjectNode> change) {
        return Arguments.of(kind, why, (Consumer<ObjectNode>) manifest -> {}, change);
    }

    private static Arguments file(String kind, String why, Consumer<ObjectNode> change) {
        return config(
                kind,
                why,
                root -> change.accept(
                        (ObjectNode) in(root, "snapshots").path("files").path(1)));
    }

    private static Arguments made(String kind, String why, Consumer<ObjectNode> change) {
        return config(
                kind, why, root -> change.accept((ObjectNode) root.path("disks").path(1)));
    }

    private static ArrayNode list(int... numbers) {
        ArrayNode list = JsonNodeFactory.instance.arrayNode();
        for (int number : numbers) {
            list.add(number);
        }
        return list;
    }

    static Stream<Arguments> hostile() {
        return Stream.of(
                manifest("another artifact", "is no snapshot: it is a/b", m -> m.put("artifactType", "a/b")),
                manifest("a control character in its type", "it is a?b", m -> m.put("artifactType", "a\u001bb")),
                manifest("an index", "is no snapshot", m -> {
                    m.remove("artifactType");
                    m.remove("config");
                    m.putArray("manifests");
                }),
                manifest(
                        "a newer configuration",
                        "and this forkd reads",
                        m -> in(m, "config").put("mediaType", "application/vnd.forkd.snapshot.config.v2+json")),
                manifest(
                        "a configuration of a GiB",
                        "\"size\" is no whole number from 1 to 8388608",
                        m -> in(m, "config").put("size", 1L << 30)),
                manifest(
                        "a configuration of nothing",
                        "\"size\"",
                        m -> in(m, "config").put("size", 0)),
                manifest(
                        "a configuration by another name",
                        "\"digest\" is no digest",
                        m -> in(m, "config").put("digest", "../../etc/passwd")),
                manifest(
                        "a digest of SHA-512",
                        "\"digest\" is no digest",
                        m -> in(m, "config").put("digest", "sha512:" + "0".repeat(128))),
                manifest(
                        "a layer more",
                        "has 3 layers, and its configuration 2 chunks",
                        m -> ((ArrayNode) m.path("layers")).addObject()),
                manifest("a layer less", "has 1 layers", m -> ((ArrayNode) m.path("layers")).remove(0)),
                manifest(
                        "a layer without a digest",
                        "\"digest\" is no digest",
                        m -> in(m, "layers").remove("digest")),
                manifest(
                        "a chunk that is larger than its content",
                        "\"size\" is no whole number",
                        m -> in(m, "layers").put("size", 1L << 40)),
                manifest(
                        "a chunk of a negative size",
                        "\"size\" is no whole number",
                        m -> in(m, "layers").put("size", -1)),
                manifest(
                        "a chunk whose size is a text",
                        "\"size\" is no whole number",
                        m -> in(m, "layers").put("size", "1")),
                made(
                        "an image without a digest",
                        "has no digest",
                        c -> in(c, "made_of").put("image", "ghcr.io/team/py:1")),
                made(
                        "an image that is a file",
                        "not an image reference",
                        c -> in(c, "made_of").put("image", "oci:/etc@sha256:" + "0".repeat(64))),
                made(
                        "an image of no name",
                        "not an image reference",
                        c -> in(c, "made_of").put("image", "")),
                made("no platform", "not a platform", c -> in(c, "made_of").remove("platform")),
                made(
                        "no builder",
                        "\"builder\" is no digest",
                        c -> in(c, "made_of").remove("builder")),
                made("made of nothing", "\"builder\" is no digest", c -> c.put("made_of", 1)),
                made("a disk of no bytes", "\"bytes\" is no whole number from 16777216", c -> c.remove("bytes")),
                made("a disk of a PiB", "\"bytes\" is no whole number", c -> c.put("bytes", 1L << 50)),
                made("half a MiB", "which are no whole MiB", c -> c.put("bytes", (64 << 20) + 4096)),
                config("a newer format", "has format 2, and this forkd reads 1", c -> c.put("format", 2)),
                config("no format", "\"format\" is no whole number", c -> c.remove("format")),
                config("no snapshots", "\"snapshots\" is no list of at most 33", c -> c.remove("snapshots")),
                config("an empty list of snapshots", "it has no snapshot", c -> c.putArray("snapshots")),
                config("34 snapshots", "\"snapshots\" is no list of at most 33", c -> {
                    ArrayNode list = (ArrayNode) c.path("snapshots");
                    for (int i = 0; i < 33; i++) {
                        list.add(in(c, "snapshots").deepCopy().put("tag", "t" + i));
                    }
                }),
                config(
                        "a snapshot twice",
                        "it has two snapshots 'py'",
                        c -> ((ArrayNode) c.path("snapshots"))
                                .add(in(c, "snapshots").deepCopy())),
                config(
                        "a tag that leads out",
                        "it is damaged",
                        c -> in(c, "snapshots").put("tag", "../py")),
                config(
                        "a tag of nothing",
                        "it is damaged",
                        c -> in(c, "snapshots").put("tag", "")),
                config(
                        "a tag with a slash",
                        "it is damaged",
                        c -> in(c, "snapshots").put("tag", "a/b")),
                config(
                        "a content hash that is none",
                        "is no SHA-256",
                        c -> in(c, "snapshots").put("content", "abc")),
                config(
                        "no manifest",
                        "'py' has no manifest",
                        c -> in(c, "snapshots").put("manifest", 1)),
                config(
                        "a disk that it has not",
                        "\"disk\" is no whole number from 0 to 1",
                        c -> in(c, "snapshots").put("disk", 2)),
                config("65 disks", "\"disks\" is no list of at most 64", c -> {
                    for (int i = 0; i < 64; i++) {
                        ((ArrayNode) c.path("disks")).add(in(c, "disks").deepCopy());
                    }
                }),
                config(
                        "a disk of another digest",
                        "\"digest\" is no digest",
                        c -> in(c, "disks").put("digest", "md5:00")),
                config(
                        "a chunk of no bytes",
                        "\"bytes\" is no whole number",
                        c -> in(c, "chunks").put("bytes", 0)),
                config(
                        "a chunk of a GiB",
                        "\"bytes\" is no whole number",
                        c -> in(c, "chunks").put("bytes", 1 << 30)),
                config(
                        "a chunk of other content",
                        "\"content\" is no digest",
                        c -> in(c, "chunks").put("content", "x")),
                config(
                        "a difference to what is not there",
                        "\"base\" is no whole number from 0 to 1",
                        c -> ((ObjectNode) c.path("chunks").path(1)).put("base", 2)),
                config(
                        "a difference to itself",
                        "to one that is a difference itself",
                        c -> ((ObjectNode) c.path("chunks").path(1)).put("base", 1)),
                config(
                        "a chain of differences",
                        "to one that is a difference itself",
                        c -> in(c, "chunks").put("base", 1)),
                config("chunks that are no list", "and its configuration 0 chunks", c -> c.put("chunks", 1)),
                file("a name that leads out", "is not the name of a file", f -> f.put("name", "../../x")),
                file("an absolute name", "is not the name of a file", f -> f.put("name", "/etc/passwd")),
                file("a hidden name", "is not the name of a file", f -> f.put("name", ".lock")),
                file("a name with a NUL", "'memory?bin' is not the name", f -> f.put("name", "memory\0bin")),
                file(
                        "a name twice",
                        "has two files 'vmstate'",
                        f -> f.put("name", "vmstate").put("bytes", 1000).set("chunks", list(1))),
                file("a negative size", "\"bytes\" is no whole number", f -> f.put("bytes", -1)),
                file("a size of a PiB", "\"bytes\" is no whole number", f -> f.put("bytes", 1L << 50)),
                file(
                        "a size that overflows",
                        "\"bytes\" is no whole number",
                        f -> f.put("bytes", new java.math.BigInteger("9".repeat(30)))),
                file("pieces of a byte", "is in pieces of 1 bytes", f -> f.put("piece", 1)),
                file("pieces of odd size", "is in pieces of 300000 bytes", f -> f.put("piece", 300_000)),
                file("pieces of a GiB", "is in pieces of", f -> f.put("piece", 1 << 30)),
                file("a piece too few", "has 786432 bytes in 2 pieces", f -> f.set("chunks", list(0, 0))),
                file("a piece too many", "in 4 pieces", f -> f.set("chunks", list(0, 0, 0, 0))),
                file(
                        "a chunk that is not there",
                        "has a piece that is none of its chunks",
                        f -> f.set("chunks", list(0, 2, 0))),
                file(
                        "a chunk below zero",
                        "has a piece that is none of its chunks",
                        f -> f.set("chunks", list(0, -2, 0))),
                file(
                        "a chunk of another length",
                        "a piece of 'memory.bin' has 1000 bytes, not 262144",
                        f -> f.set("chunks", list(0, 1, 0))));
    }

    @ParameterizedTest(name = "{0}")
    @MethodSource
    void hostile(String kind, String why, Consumer<ObjectNode> ofManifest, Consumer<ObjectNode> ofConfig) {
        ObjectNode config = (ObjectNode) Json.parse(ArtifactDocuments.config(sample()));
        ofConfig.accept(config);
        ObjectNode manifest =
                (ObjectNode) Json.parse(ArtifactDocuments.manifest(sample(), ArtifactDocuments.config(sample())));
        ofManifest.accept(manifest);
        assertThatThrownBy(() -> read(Json.bytes(manifest), Json.bytes(config)))
                .as(kind)
                .isInstanceOf(ForkdException.class)
                .hasMessageContaining(why);
    }

    /** As a tree, of which every list takes a hundred bytes. */
    @Test
    void documents_of_little_but_lists_are_refused_before_they_fill_the_memory() {
        byte[] config = ArtifactDocuments.config(sample());
        byte[] manifest = ArtifactDocuments.manifest(sample(), config);
        byte[] lists = ("{\"lists\":[" + "[],".repeat(2_700_000) + "[]]}")
                .getBytes(java.nio.charset.StandardCharsets.US_ASCII);
        assertThat(lists).hasSizeLessThan(ArtifactDocuments.MAX_BYTES);
        assertThatThrownBy(() -> DOCUMENTS.configOf(lists))
                .hasMessageContaining("its manifest is not JSON: Token count");
        assertThatThrownBy(() -> read(manifest, lists))
                .hasMessageContaining("its configuration is not JSON: Token count");
    }

    /** Whatever it is made to, it is either an artifact or refused in words. */
    @Test
    void changed_bytes_are_never_a_surprise() {
        long seed = System.nanoTime();
        Random random = new Random(seed);
        byte[] config = ArtifactDocuments.config(sample());
        byte[] manifest = ArtifactDocuments.manifest(sample(), config);
        for (int i = 0; i < 20_000; i++) {
            byte[] one = changed(manifest, random);
            byte[] other = changed(config, random);
            try {
                read(one, other);
            } catch (ForkdException e) {
                assertThat(e.sentence()).isNotEmpty();
            } catch (RuntimeException e) {
                throw new AssertionError("seed " + seed + ", round " + i, e);
            }
        }
    }

    private static byte[] changed(byte[] from, Random random) {
        byte[] bytes = from.clone();
        for (int i = random.nextInt(4); i > 0; i--) {
            bytes[random.nextInt(bytes.length)] = (byte)
                    (random.nextBoolean() ? random.nextInt(256) : "0123456789\"{}[],:-e".charAt(random.nextInt(19)));
        }
        return bytes;
    }
}
