package io.forkd.image;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.Json;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.regex.Pattern;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.JsonNode;

/** The JSON documents of an image. Somebody else wrote them: fields we do not know are none of our business. */
final class Documents {
    /** Manifests are limited to 4 MiB by registries; a configuration is of the same kind. */
    static final int MAX_BYTES = 8 << 20;

    static final String OCI_INDEX = "application/vnd.oci.image.index.v1+json";
    static final String OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json";
    static final String DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json";
    static final String DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json";
    static final List<String> ACCEPTED = List.of(OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST);

    private static final Pattern LAYER =
            Pattern.compile("application/vnd\\.(oci\\.image\\.layer\\.v1\\.tar([+](gzip|zstd))?"
                    + "|docker\\.image\\.rootfs\\.diff\\.tar([.](gzip|zstd))?)");

    private Documents() {}

    /** Of what has to fit into memory, and does not. */
    static ForkdException tooLarge(String what) {
        return new ForkdException(Kind.DAMAGED, what + " is larger than 8 MiB, and no manifest or configuration is");
    }

    static JsonNode parse(byte[] json, String what) {
        try {
            return Json.parse(json);
        } catch (JacksonException e) {
            throw new ForkdException(Kind.DAMAGED, what + " is not JSON: " + e.getOriginalMessage());
        }
    }

    /**
     * A manifest's parts.
     *
     * @param digest of the document itself
     */
    record Manifest(Digest digest, Descriptor config, List<Descriptor> layers) {}

    /** Whether the document lists manifests, as an image for several platforms does. */
    static boolean isIndex(JsonNode document) {
        return document.path("manifests").isArray();
    }

    static List<Descriptor> index(JsonNode document, String what) {
        List<Descriptor> found = new ArrayList<>();
        for (JsonNode entry : document.path("manifests")) {
            found.add(descriptor(entry, what));
        }
        return found;
    }

    /** @param digest of the document */
    static Manifest manifest(JsonNode document, Digest digest, String what) {
        if (document.path("schemaVersion").asInt(0) != 2
                || !document.path("layers").isArray()) {
            throw new ForkdException(
                    Kind.UNSUPPORTED,
                    what + " is no image manifest of schema 2"
                            + (document.path("schemaVersion").asInt(0) == 1 ? ", but of schema 1" : ""),
                    "Push the image again with a current tool.");
        }
        List<Descriptor> layers = new ArrayList<>();
        for (JsonNode entry : document.path("layers")) {
            Descriptor layer = descriptor(entry, what);
            requireKnown(layer, what);
            layers.add(layer);
        }
        return new Manifest(digest, descriptor(document.path("config"), what), layers);
    }

    private static void requireKnown(Descriptor layer, String what) {
        String type = layer.mediaType();
        if (LAYER.matcher(type).matches()) {
            return;
        }
        String name = "layer " + layer.digest().brief() + " in " + what;
        if (type.endsWith("+encrypted")) {
            throw new ForkdException(Kind.UNSUPPORTED, name + " is encrypted (" + type + ")");
        }
        if (type.contains(".nondistributable.") || type.contains(".foreign.")) {
            throw new ForkdException(
                    Kind.UNSUPPORTED, name + " is a foreign one, which registries do not keep (" + type + ")");
        }
        throw new ForkdException(
                Kind.UNSUPPORTED,
                name + " is of no type that is known: " + (type.isEmpty() ? "it says none" : type),
                "A layer is a tar archive, as it is or packed with gzip or zstd.");
    }

    private static Descriptor descriptor(JsonNode node, String what) {
        JsonNode size = node.path("size");
        if (!node.path("digest").isString()
                || !size.isIntegralNumber()
                || !size.canConvertToLong()
                || size.asLong() < 0) {
            throw new ForkdException(Kind.DAMAGED, what + " has an entry without digest or size");
        }
        JsonNode platform = node.path("platform");
        return new Descriptor(
                node.path("mediaType").asString(""),
                digest(node.path("digest").asString(), what),
                size.asLong(),
                platform.isObject() ? Optional.of(platform(platform)) : Optional.empty(),
                Optional.of(node.path("annotations")
                                .path("org.opencontainers.image.ref.name")
                                .asString(""))
                        .filter(name -> !name.isEmpty()));
    }

    /** One that somebody else wrote: the request is not wrong when it is. */
    private static Digest digest(String text, String what) {
        try {
            return Digest.parse(text);
        } catch (ForkdException e) {
            throw new ForkdException(
                    Kind.DAMAGED, what + " has " + e.sentence().replaceFirst("^not a digest", "no digest"));
        }
    }

    private static Platform platform(JsonNode node) {
        return new Platform(
                node.path("os").asString("linux"),
                node.path("architecture").asString(""),
                node.path("variant").asString(""));
    }

    static ImageConfig config(byte[] json, String what) {
        JsonNode document = parse(json, what);
        JsonNode layers = document.path("rootfs").path("diff_ids");
        if (!layers.isArray()) {
            throw new ForkdException(Kind.UNSUPPORTED, what + " is no image configuration: it has no list of layers");
        }
        JsonNode config = document.path("config");
        return new ImageConfig(
                strings(config.path("Env")),
                config.path("WorkingDir").asString(""),
                config.path("User").asString(""),
                strings(config.path("Entrypoint")),
                strings(config.path("Cmd")),
                platform(document),
                strings(layers).stream().map(text -> digest(text, what)).toList());
    }

    static List<String> strings(JsonNode array) {
        List<String> found = new ArrayList<>();
        for (JsonNode element : array) {
            found.add(element.asString(""));
        }
        return found;
    }
}
