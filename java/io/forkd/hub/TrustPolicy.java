package io.forkd.hub;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.Json;
import io.forkd.files.Home;
import io.forkd.image.Digest;
import io.forkd.image.ImageReference.InRegistry;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.JsonNode;

/**
 * Whose signatures a pull needs: the file of containers-policy.json(5), which skopeo and podman read, with its requirements
 * {@code insecureAcceptAnything}, {@code reject} and {@code sigstoreSigned} with a key. What this does not know is refused:
 * a policy that is half understood protects nobody.
 */
public final class TrustPolicy {
    private static final Path SYSTEM = Path.of("/etc/containers/policy.json");
    private static final int MOST_BYTES = 1 << 20;

    private static final Set<String> OF_FILE = Set.of("default", "transports");
    private static final Set<String> OF_SIGNED = Set.of("type", "keyPath", "keyPaths", "keyData", "signedIdentity");

    private final Optional<Path> file;
    private final JsonNode root;

    private TrustPolicy(Optional<Path> file, JsonNode root) {
        this.file = file;
        this.root = root;
    }

    /** The file that is named, else the user's, else the system's; where there is none, all is taken. */
    public static TrustPolicy of(Optional<Path> named, Map<String, String> environment) {
        Path own = Home.of(environment, "XDG_CONFIG_HOME").resolve(".config/containers/policy.json");
        String config = environment.getOrDefault("XDG_CONFIG_HOME", "");
        Path user = config.isEmpty() ? own : Path.of(config).resolve("containers/policy.json");
        // One that we may not look for may be there.
        Optional<Path> file = named.or(() -> Optional.of(user).filter(each -> !Files.notExists(each)))
                .or(() -> Optional.of(SYSTEM).filter(each -> !Files.notExists(each)));
        return file.map(TrustPolicy::read).orElseGet(() -> new TrustPolicy(Optional.empty(), Json.parse(bytes("{}"))));
    }

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    private static TrustPolicy read(Path file) {
        try {
            if (Files.size(file) > MOST_BYTES) {
                throw wrong(file, "it is larger than a MiB");
            }
            JsonNode root = Json.parse(Files.readAllBytes(file));
            if (!root.isObject() || !root.path("default").isArray()) {
                throw wrong(file, "it has no \"default\"");
            }
            requireKnown(file, root, OF_FILE);
            return new TrustPolicy(Optional.of(file), root);
        } catch (IOException e) {
            throw ForkdException.of("read the policy " + file, e);
        } catch (JacksonException e) {
            throw wrong(file, e.getOriginalMessage());
        }
    }

    private static void requireKnown(Path file, JsonNode node, Set<String> known) {
        for (Map.Entry<String, JsonNode> field : node.properties()) {
            if (!known.contains(field.getKey())) {
                throw wrong(file, "'" + field.getKey() + "' means nothing here");
            }
        }
    }

    private static ForkdException wrong(Path file, String why) {
        return new ForkdException(Kind.FAILED, "the policy " + file + " cannot be used: " + why);
    }

    /** Fails unless all is as the policy wants it for that. */
    void require(InRegistry image, Digest manifest, Signatures signatures) {
        if (file.isEmpty()) {
            return;
        }
        JsonNode requirements = requirements(image);
        if (!requirements.isArray() || requirements.isEmpty()) {
            throw wrong(file.get(), "it requires nothing for " + image + ", not even insecureAcceptAnything");
        }
        Optional<Signatures.Found> found = Optional.empty();
        for (JsonNode requirement : requirements) {
            if (requirement.path("type").asString("").equals("sigstoreSigned") && found.isEmpty()) {
                found = Optional.of(signatures.find(manifest));
            }
            require(requirement, image, manifest, found);
        }
    }

    /** Fails unless the policy takes what has no signature and comes from no registry: what it says where it says nothing else. */
    void requireNoSignature(String what) {
        if (file.isEmpty()) {
            return;
        }
        JsonNode requirements = root.path("default");
        for (JsonNode requirement : requirements) {
            if (!requirement.path("type").asString("").equals("insecureAcceptAnything")) {
                throw new ForkdException(
                        Kind.FAILED,
                        what + " is not to be pulled: a pack has no signature, and the policy " + file.get()
                                + " wants one",
                        "Have it pushed to a registry, signed.");
            }
        }
        if (requirements.isEmpty()) {
            throw wrong(file.get(), "it requires nothing by default, not even insecureAcceptAnything");
        }
    }

    /** The most specific that there is: of the tag or digest, the repository, what it is in, its registry, the default. */
    private JsonNode requirements(InRegistry image) {
        JsonNode docker = root.path("transports").path("docker");
        for (String scope : scopes(image)) {
            if (docker.has(scope)) {
                return docker.path(scope);
            }
        }
        return docker.has("") ? docker.path("") : root.path("default");
    }

    private static List<String> scopes(InRegistry image) {
        List<String> scopes = new ArrayList<>();
        String whole = image.toString();
        scopes.add(whole);
        String name = whole.substring(
                0,
                whole.length()
                        - (image.digest().isPresent()
                                ? image.digest().get().toString().length() + 1
                                : image.tag().length() + 1));
        for (String scope = name; ; scope = scope.substring(0, scope.lastIndexOf('/'))) {
            scopes.add(scope);
            if (scope.indexOf('/') < 0) {
                break;
            }
        }
        String host = scopes.get(scopes.size() - 1).replaceAll(":[0-9]+$", "");
        for (int dot = host.indexOf('.'); dot >= 0; dot = host.indexOf('.', dot + 1)) {
            scopes.add("*" + host.substring(dot));
        }
        return scopes;
    }

    private void require(
            JsonNode requirement, InRegistry image, Digest manifest, Optional<Signatures.Found> signatures) {
        Path policy = file.orElseThrow();
        String type = requirement.path("type").asString("");
        switch (type) {
            case "insecureAcceptAnything" -> {}
            case "reject" ->
                throw new ForkdException(
                        Kind.FAILED, image + " is not to be pulled: the policy " + policy + " says so");
            case "sigstoreSigned" -> {
                requireKnown(policy, requirement, OF_SIGNED);
                List<VerifyingKey> keys = keys(requirement);
                Signatures.Identity identity = identity(requirement.path("signedIdentity"), image);
                Signatures.Found found = signatures.orElseThrow();
                if (keys.stream().noneMatch(key -> found.areBy(key, identity))) {
                    int count = found.count();
                    throw new ForkdException(
                            Kind.FAILED,
                            image + " (" + manifest.brief() + ") is not signed by whom the policy " + policy
                                    + " wants: it has "
                                    + (count == 0 ? "no signature" : count + (count == 1 ? " other" : " others")),
                            "Have it signed, or ask its maker for the key.");
                }
            }
            default -> throw wrong(policy, "it requires '" + type + "', which this forkd cannot look at");
        }
    }

    private List<VerifyingKey> keys(JsonNode requirement) {
        List<VerifyingKey> keys = new ArrayList<>();
        if (requirement.path("keyPath").isString()) {
            keys.add(VerifyingKey.read(Path.of(requirement.path("keyPath").stringValue())));
        }
        for (JsonNode path : requirement.path("keyPaths")) {
            keys.add(VerifyingKey.read(Path.of(path.asString(""))));
        }
        if (requirement.path("keyData").isString()) {
            try {
                String pem = new String(
                        Base64.getDecoder().decode(requirement.path("keyData").stringValue()),
                        StandardCharsets.US_ASCII);
                keys.add(VerifyingKey.parse(pem, "of keyData"));
            } catch (IllegalArgumentException e) {
                throw wrong(file.orElseThrow(), "its keyData is not base64");
            }
        }
        if (keys.isEmpty()) {
            throw wrong(file.orElseThrow(), "a sigstoreSigned has none of keyPath, keyPaths and keyData");
        }
        return keys;
    }

    /** As containers-policy.json(5) has them: a tag is signed, unless the policy is content with its repository. */
    private Signatures.Identity identity(JsonNode signed, InRegistry image) {
        String whole = image.toString();
        String repository = scopes(image).get(1);
        String type = signed.path("type").asString(signed.isMissingNode() ? "matchRepoDigestOrExact" : "");
        requireKnown(
                file.orElseThrow(),
                signed,
                type.equals("exactRepository") ? Set.of("type", "dockerRepository") : Set.of("type"));
        return switch (type) {
            case "matchRepository" -> name -> strip(name).equals(repository);
            case "matchRepoDigestOrExact" ->
                image.digest().isPresent() ? name -> strip(name).equals(repository) : name -> name.equals(whole);
            case "exactRepository" -> {
                String given = signed.path("dockerRepository").asString("");
                if (given.isEmpty()) {
                    throw wrong(file.orElseThrow(), "its signedIdentity has no \"dockerRepository\"");
                }
                yield name -> strip(name).equals(given);
            }
            default ->
                throw wrong(
                        file.orElseThrow(), "its signedIdentity is '" + type + "', which this forkd cannot look at");
        };
    }

    /** Without a tag. */
    private static String strip(String name) {
        int colon = name.lastIndexOf(':');
        return colon > name.lastIndexOf('/') ? name.substring(0, colon) : name;
    }
}
