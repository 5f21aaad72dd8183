package io.forkd.hub;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.Json;
import io.forkd.Remedy;
import io.forkd.hub.Artifact.Disk;
import io.forkd.hub.Artifact.Link;
import io.forkd.hub.Artifact.Made;
import io.forkd.image.Digest;
import io.forkd.image.ImageReference.InRegistry;
import io.forkd.image.Platform;
import io.forkd.rootfs.Recipe;
import io.forkd.rootfs.RootfsOptions;
import io.forkd.snapshot.SnapshotTag;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.Set;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/**
 * The two documents of an artifact: the manifest, which lists the chunks as its layers, and the configuration, which says
 * what they are pieces of. Whoever wrote them may be hostile: whatever is read from them has been looked at when this
 * returns.
 */
final class ArtifactDocuments {
    static final String ARTIFACT_TYPE = "application/vnd.forkd.snapshot.v1+json";
    static final String CONFIG_TYPE = "application/vnd.forkd.snapshot.config.v1+json";
    static final String CHUNK_TYPE = "application/vnd.forkd.chunk.v1.zstd";

    static final int MAX_BYTES = 8 << 20;

    /** Registries take manifests of 4 MiB; each takes 160 bytes there. */
    static final int MAX_CHUNKS = 20_000;

    /** Of a manifest: what it takes to list so many chunks, and as much again for what others note of them. */
    static final int MANIFEST_TOKENS = 16 * MAX_CHUNKS;

    /** Of a configuration: a million pieces. As a tree each takes a hundred bytes, where two may be enough for its text. */
    private static final int CONFIG_TOKENS = 1 << 20;

    private static final String MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json";
    private static final int FORMAT = 1;
    private static final int MAX_LINKS = 33;
    private static final int MAX_FILES = 64;
    private static final long MAX_FILE_BYTES = 64L << 40;

    private final String what;

    /** @param what whose documents these are, for people */
    ArtifactDocuments(String what) {
        this.what = what;
    }

    // --- written ---

    static byte[] config(Artifact artifact) {
        ObjectNode root = JsonNodeFactory.instance.objectNode();
        root.put("format", FORMAT).put("forkd_version", artifact.version());
        ArrayNode links = root.putArray("snapshots");
        for (Link link : artifact.links()) {
            ObjectNode node = links.addObject().put("tag", link.tag()).put("content", link.content());
            node.put("disk", link.disk()).set("manifest", link.manifest());
            ArrayNode files = node.putArray("files");
            link.files().forEach(file -> put(files.addObject(), file));
        }
        ArrayNode disks = root.putArray("disks");
        for (Disk disk : artifact.disks()) {
            ObjectNode node = disks.addObject().put("digest", disk.digest().toString());
            disk.modified().ifPresent(time -> node.put("modified", time));
            disk.file().ifPresent(file -> put(node, file));
            disk.recipe()
                    .ifPresent(recipe -> node.put("bytes", disk.bytes())
                            .putObject("made_of")
                            .put("image", recipe.image().toString())
                            .put("platform", recipe.platform().toString())
                            .put("builder", recipe.builder().toString()));
        }
        ArrayNode chunks = root.putArray("chunks");
        Map<Digest, Integer> numbers = new HashMap<>();
        artifact.chunks().forEach(chunk -> numbers.put(chunk.content(), numbers.size()));
        for (Chunk chunk : artifact.chunks()) {
            ObjectNode node = chunks.addObject()
                    .put("content", chunk.content().toString())
                    .put("bytes", chunk.bytes());
            chunk.base().ifPresent(base -> node.put("base", numbers.get(base)));
        }
        return Json.bytes(root);
    }

    private static void put(ObjectNode node, ChunkedFile file) {
        node.put("name", file.name()).put("bytes", file.bytes()).put("piece", file.piece());
        ArrayNode chunks = node.putArray("chunks");
        file.chunks().forEach(chunks::add);
    }

    static byte[] manifest(Artifact artifact, byte[] config) {
        ObjectNode root = JsonNodeFactory.instance.objectNode();
        root.put("schemaVersion", 2).put("mediaType", MANIFEST_TYPE).put("artifactType", ARTIFACT_TYPE);
        descriptor(root.putObject("config"), CONFIG_TYPE, Digest.sha256(config), config.length);
        ArrayNode layers = root.putArray("layers");
        artifact.chunks().forEach(chunk -> descriptor(layers.addObject(), CHUNK_TYPE, chunk.blob(), chunk.size()));
        return Json.bytes(root);
    }

    private static void descriptor(ObjectNode node, String type, Digest digest, long size) {
        node.put("mediaType", type).put("digest", digest.toString()).put("size", size);
    }

    // --- read ---

    /** What a manifest says of its configuration. */
    record Named(Digest digest, long size) {}

    /** Which configuration a manifest names; fails when it is no snapshot's. */
    Named configOf(byte[] manifest) {
        JsonNode root = parse(manifest, "its manifest", MANIFEST_TOKENS);
        JsonNode config = root.path("config");
        String type = text(root, "artifactType", config.path("mediaType").asString(""));
        if (!type.equals(ARTIFACT_TYPE) && !type.equals(CONFIG_TYPE)) {
            throw new ForkdException(
                    Kind.NOT_FOUND,
                    what + " is no snapshot: it is "
                            + (root.path("manifests").isArray()
                                    ? "an image for several platforms"
                                    : printable(type.isEmpty() ? "of no type" : type)),
                    Remedy.Action.SNAPSHOT_OF_IMAGE);
        }
        if (!config.path("mediaType").asString("").equals(CONFIG_TYPE)) {
            throw new ForkdException(
                    Kind.UNSUPPORTED,
                    what + " has a configuration of the type "
                            + printable(config.path("mediaType").asString("")) + ", and this forkd reads "
                            + CONFIG_TYPE,
                    "Use a newer forkd.");
        }
        long size = number(config, "size", 1, MAX_BYTES);
        return new Named(digest(config, "digest"), size);
    }

    Artifact read(byte[] manifest, byte[] config) {
        JsonNode root = parse(config, "its configuration", CONFIG_TOKENS);
        if (number(root, "format", 1, Integer.MAX_VALUE) != FORMAT) {
            throw new ForkdException(
                    Kind.UNSUPPORTED,
                    what + " has format " + root.path("format").asLong() + ", and this forkd reads " + FORMAT,
                    "Use a newer forkd.");
        }
        List<Chunk> chunks =
                chunks(parse(manifest, "its manifest", MANIFEST_TOKENS).path("layers"), root.path("chunks"));
        List<Disk> disks = new ArrayList<>();
        for (JsonNode node : list(root, "disks", MAX_FILES)) {
            disks.add(disk(node, chunks));
        }
        List<Link> links = new ArrayList<>();
        Set<String> tags = new HashSet<>();
        for (JsonNode node : list(root, "snapshots", MAX_LINKS)) {
            Link link = link(node, disks.size(), chunks);
            if (!tags.add(link.tag())) {
                throw damaged("it has two snapshots '" + link.tag() + "'");
            }
            links.add(link);
        }
        if (links.isEmpty()) {
            throw damaged("it has no snapshot");
        }
        return new Artifact(printable(text(root, "forkd_version", "")), links, disks, chunks);
    }

    private Disk disk(JsonNode node, List<Chunk> chunks) {
        Digest digest = digest(node, "digest");
        OptionalLong modified = node.has("modified")
                ? OptionalLong.of(number(node, "modified", Long.MIN_VALUE, Long.MAX_VALUE))
                : OptionalLong.empty();
        if (!node.has("made_of")) {
            return Disk.sent(digest, modified, file(node, chunks));
        }
        long bytes = number(node, "bytes", (long) RootfsOptions.LEAST_MIB << 20, (long) RootfsOptions.MOST_MIB << 20);
        if (bytes % (1 << 20) != 0) {
            throw damaged("a root disk that is to be made has " + bytes + " bytes, which are no whole MiB");
        }
        return new Disk(digest, modified, bytes, new Made(recipe(node.path("made_of"))));
    }

    private Recipe recipe(JsonNode node) {
        Digest builder = digest(node, "builder");
        try {
            InRegistry image = InRegistry.parse(text(node, "image", ""));
            if (image.digest().isPresent()) {
                return new Recipe(image, Platform.parse(text(node, "platform", "")), builder);
            }
        } catch (ForkdException e) {
            throw damaged("what its root disk is made of is " + printable(e.sentence()));
        }
        throw damaged("what its root disk is made of has no digest");
    }

    private List<Chunk> chunks(JsonNode layers, JsonNode contents) {
        if (!layers.isArray() || !contents.isArray() || layers.size() != contents.size()) {
            throw damaged("its manifest has " + layers.size() + " layers, and its configuration " + contents.size()
                    + " chunks");
        }
        if (layers.size() > MAX_CHUNKS) {
            throw damaged("it has " + layers.size() + " chunks, and " + MAX_CHUNKS + " are the most");
        }
        List<Chunk> chunks = new ArrayList<>();
        for (int i = 0; i < layers.size(); i++) {
            int bytes = (int) number(contents.path(i), "bytes", 1, ChunkedFile.MOST_PIECE);
            chunks.add(new Chunk(
                    digest(layers.path(i), "digest"),
                    number(layers.path(i), "size", 1, Chunk.mostCompressed(bytes)),
                    digest(contents.path(i), "content"),
                    bytes,
                    base(contents, i)));
        }
        return chunks;
    }

    private Optional<Digest> base(JsonNode contents, int chunk) {
        if (!contents.path(chunk).has("base")) {
            return Optional.empty();
        }
        JsonNode base = contents.path((int) number(contents.path(chunk), "base", 0, contents.size() - 1L));
        if (base.has("base")) {
            throw damaged("a chunk is the difference to one that is a difference itself");
        }
        return Optional.of(digest(base, "content"));
    }

    private Link link(JsonNode node, int disks, List<Chunk> chunks) {
        String tag = text(node, "tag", "");
        try {
            tag = new SnapshotTag(tag).value();
        } catch (ForkdException e) {
            throw damaged(e.sentence());
        }
        String content = text(node, "content", "");
        if (!content.matches("[0-9a-f]{64}")) {
            throw damaged("the content hash of '" + tag + "' is no SHA-256");
        }
        if (!(node.path("manifest") instanceof ObjectNode manifest)) {
            throw damaged("'" + tag + "' has no manifest");
        }
        List<ChunkedFile> files = new ArrayList<>();
        Set<String> names = new HashSet<>();
        for (JsonNode each : list(node, "files", MAX_FILES)) {
            ChunkedFile file = file(each, chunks);
            if (!names.add(file.name())) {
                throw damaged("'" + tag + "' has two files '" + file.name() + "'");
            }
            files.add(file);
        }
        return new Link(tag, content, manifest, (int) number(node, "disk", 0, disks - 1L), files);
    }

    private ChunkedFile file(JsonNode node, List<Chunk> chunks) {
        String name = text(node, "name", "");
        if (!name.matches("[a-z0-9][a-z0-9.-]{0,63}")) {
            throw damaged("'" + printable(name) + "' is not the name of a file of a snapshot");
        }
        long bytes = number(node, "bytes", 0, MAX_FILE_BYTES);
        int piece = (int) number(node, "piece", 1, Integer.MAX_VALUE);
        if (!ChunkedFile.isPiece(piece)) {
            throw damaged("'" + name + "' is in pieces of " + piece + " bytes");
        }
        JsonNode pieces = node.path("chunks");
        if (!pieces.isArray() || pieces.size() != ChunkedFile.pieces(bytes, piece)) {
            throw damaged("'" + name + "' has " + bytes + " bytes in " + pieces.size() + " pieces of " + piece);
        }
        List<Integer> numbers = new ArrayList<>();
        for (JsonNode number : pieces) {
            if (!number.isIntegralNumber()
                    || !number.canConvertToInt()
                    || number.intValue() < ChunkedFile.ZERO
                    || number.intValue() >= chunks.size()) {
                throw damaged("'" + name + "' has a piece that is none of its chunks");
            }
            numbers.add(number.intValue());
        }
        ChunkedFile file = new ChunkedFile(name, bytes, piece, numbers);
        for (int i = 0; i < numbers.size(); i++) {
            if (numbers.get(i) != ChunkedFile.ZERO && chunks.get(numbers.get(i)).bytes() != file.length(i)) {
                throw damaged("a piece of '" + name + "' has "
                        + chunks.get(numbers.get(i)).bytes() + " bytes, not " + file.length(i));
            }
        }
        return file;
    }

    private JsonNode parse(byte[] json, String which, int tokens) {
        try {
            JsonNode root = Json.parse(json, tokens);
            if (root.isObject()) {
                return root;
            }
        } catch (JacksonException e) {
            throw damaged(which + " is not JSON: " + printable(e.getOriginalMessage()));
        }
        throw damaged(which + " is no JSON object");
    }

    private JsonNode list(JsonNode node, String field, int most) {
        JsonNode list = node.path(field);
        if (!list.isArray() || list.size() > most) {
            throw damaged("\"" + field + "\" is no list of at most " + most);
        }
        return list;
    }

    private static String text(JsonNode node, String field, String missing) {
        JsonNode value = node.path(field);
        return value.isString() ? value.stringValue() : missing;
    }

    private long number(JsonNode node, String field, long low, long high) {
        JsonNode value = node.path(field);
        if (!value.isIntegralNumber()
                || !value.canConvertToLong()
                || value.longValue() < low
                || value.longValue() > high) {
            throw damaged("\"" + field + "\" is no whole number from " + low + " to " + high);
        }
        return value.longValue();
    }

    private Digest digest(JsonNode node, String field) {
        try {
            Digest digest = Digest.parse(text(node, field, ""));
            if (digest.algorithm().equals("sha256")) {
                return digest;
            }
        } catch (ForkdException e) {
            // As what is none of ours.
        }
        throw damaged("\"" + field + "\" is no digest sha256:...");
    }

    private static String printable(String text) {
        return text.replaceAll("\\p{C}", "?");
    }

    private ForkdException damaged(String why) {
        return new ForkdException(Kind.DAMAGED, what + " is damaged: " + why, "Push the snapshot again.");
    }
}
