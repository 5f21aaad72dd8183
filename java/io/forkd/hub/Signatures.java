package io.forkd.hub;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.Json;
import io.forkd.image.Digest;
import io.forkd.image.ImageReference.InRegistry;
import io.forkd.image.RegistryClient;
import java.io.IOException;
import java.io.InputStream;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.Optional;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/**
 * Signatures as cosign has them: a payload that names a manifest's digest, in a manifest of its own with the tag {@code
 * sha256-DIGEST.sig} in the same repository (sigstore/cosign, specs/SIGNATURE_SPEC.md). Nothing of them is in a
 * transparency log.
 */
final class Signatures {
    private static final String PAYLOAD_TYPE = "application/vnd.dev.cosign.simplesigning.v1+json";
    private static final String CONFIG_TYPE = "application/vnd.oci.image.config.v1+json";
    private static final String MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json";
    private static final String SIGNATURE = "dev.cosignproject.cosign/signature";
    private static final String KIND = "cosign container image signature";

    /** The newest, which come last. */
    private static final int MAX_SIGNATURES = 64;

    private static final int MAX_PAYLOAD = 64 << 10;

    private final RegistryClient registry;
    private final InRegistry image;

    Signatures(RegistryClient registry, InRegistry image) {
        this.registry = registry;
        this.image = image;
    }

    private static String tag(Digest manifest) {
        return manifest.algorithm() + "-" + manifest.hex() + ".sig";
    }

    /** Adds one to those that there are. */
    void sign(Digest manifest, SigningKey key) {
        ObjectNode payload = JsonNodeFactory.instance.objectNode();
        ObjectNode critical = payload.putObject("critical");
        critical.putObject("identity").put("docker-reference", image.toString());
        critical.putObject("image").put("docker-manifest-digest", manifest.toString());
        critical.put("type", KIND);
        payload.putNull("optional");
        byte[] signed = Json.bytes(payload);
        send(signed);
        List<JsonNode> layers = new ArrayList<>(layers(manifest));
        ObjectNode layer = descriptor(PAYLOAD_TYPE, signed);
        layer.putObject("annotations").put(SIGNATURE, Base64.getEncoder().encodeToString(key.sign(signed)));
        layers.add(layer);
        registry.put(tag(manifest), manifest(layers));
    }

    /** As cosign writes it: the configuration names each payload as a layer. */
    private byte[] manifest(List<JsonNode> layers) {
        ObjectNode config = JsonNodeFactory.instance.objectNode();
        config.put("architecture", "").put("os", "").put("created", "0001-01-01T00:00:00Z");
        config.putObject("config");
        config.putArray("history").addObject().put("created", "0001-01-01T00:00:00Z");
        ArrayNode contents = config.putObject("rootfs").put("type", "layers").putArray("diff_ids");
        layers.forEach(each -> contents.add(each.path("digest").asString("")));
        byte[] bytes = Json.bytes(config);
        send(bytes);
        ObjectNode root = JsonNodeFactory.instance.objectNode();
        root.put("schemaVersion", 2).put("mediaType", MANIFEST_TYPE);
        root.set("config", descriptor(CONFIG_TYPE, bytes));
        ArrayNode list = root.putArray("layers");
        layers.forEach(list::add);
        return Json.bytes(root);
    }

    private void send(byte[] blob) {
        Digest digest = Digest.sha256(blob);
        if (!registry.has(digest)) {
            registry.upload(digest, blob);
        }
    }

    private static ObjectNode descriptor(String type, byte[] bytes) {
        return JsonNodeFactory.instance
                .objectNode()
                .put("mediaType", type)
                .put("digest", Digest.sha256(bytes).toString())
                .put("size", bytes.length);
    }

    private List<JsonNode> layers(Digest manifest) {
        try {
            JsonNode root = Json.parse(registry.manifest(tag(manifest)), ArtifactDocuments.MANIFEST_TOKENS);
            List<JsonNode> layers = new ArrayList<>();
            root.path("layers").forEach(layers::add);
            return layers.subList(Math.max(0, layers.size() - MAX_SIGNATURES), layers.size());
        } catch (ForkdException e) {
            if (e.kind() == Kind.NOT_FOUND) {
                return List.of();
            }
            throw e;
        } catch (JacksonException e) {
            return List.of();
        }
    }

    /** One that there is. */
    private static final class Signature {
        private final Optional<byte[]> payload;
        private final byte[] signature;

        /** @param payload what was signed; empty: it is of no use */
        Signature(Optional<byte[]> payload, byte[] signature) {
            this.payload = payload;
            this.signature = signature;
        }

        boolean isBy(VerifyingKey key, Digest manifest, Identity identity) {
            return payload.filter(said -> key.hasSigned(said, signature) && says(said, manifest, identity))
                    .isPresent();
        }
    }

    /** All that a manifest has, of whomever. */
    static final class Found {
        private final Digest manifest;
        private final List<Signature> all;

        private Found(Digest manifest, List<Signature> all) {
            this.manifest = manifest;
            this.all = all;
        }

        int count() {
            return all.size();
        }

        /** Whether the key has signed the manifest under a name that {@code identity} takes. */
        boolean areBy(VerifyingKey key, Identity identity) {
            return all.stream().anyMatch(each -> each.isBy(key, manifest, identity));
        }
    }

    Found find(Digest manifest) {
        return new Found(
                manifest,
                layers(manifest).stream()
                        .map(layer -> new Signature(payload(layer), signature(layer)))
                        .toList());
    }

    /** Which names a signature may be for. */
    interface Identity {
        boolean takes(String name);
    }

    private static byte[] signature(JsonNode layer) {
        try {
            return Base64.getDecoder()
                    .decode(layer.path("annotations").path(SIGNATURE).asString(""));
        } catch (IllegalArgumentException e) {
            return new byte[0];
        }
    }

    /** One that is of no use hides none beside it. */
    private Optional<byte[]> payload(JsonNode layer) {
        if (!layer.path("mediaType").asString("").equals(PAYLOAD_TYPE)) {
            return Optional.empty();
        }
        Optional<Digest> digest = digest(layer);
        if (digest.isEmpty()) {
            return Optional.empty();
        }
        try (InputStream in = registry.blob(digest.get(), 0)) {
            byte[] payload = in.readNBytes(MAX_PAYLOAD);
            return digest.filter(each -> each.matches(payload)).map(each -> payload);
        } catch (ForkdException e) {
            if (e.kind() == Kind.NOT_FOUND) {
                return Optional.empty();
            }
            throw e;
        } catch (IOException e) {
            throw ForkdException.of("read a signature of " + image, e);
        }
    }

    private static Optional<Digest> digest(JsonNode layer) {
        try {
            return Optional.of(Digest.parse(layer.path("digest").asString("")));
        } catch (ForkdException e) {
            return Optional.empty();
        }
    }

    private static boolean says(byte[] payload, Digest manifest, Identity identity) {
        try {
            JsonNode critical = Json.parse(payload).path("critical");
            return critical.path("type").asString("").equals(KIND)
                    && critical.path("image")
                            .path("docker-manifest-digest")
                            .asString("")
                            .equals(manifest.toString())
                    && identity.takes(
                            critical.path("identity").path("docker-reference").asString(""));
        } catch (JacksonException e) {
            return false;
        }
    }
}
