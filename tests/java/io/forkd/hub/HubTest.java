package io.forkd.hub;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.forkd.ForkdException;
import io.forkd.Json;
import io.forkd.engine.AgentSnapshot;
import io.forkd.engine.Events;
import io.forkd.files.Trees;
import io.forkd.image.Digest;
import io.forkd.image.ImageReference.InRegistry;
import io.forkd.image.QuietWork;
import io.forkd.image.Reach;
import io.forkd.image.RegistryClient;
import io.forkd.snapshot.Snapshot;
import io.forkd.snapshot.SnapshotTag;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.ObjectNode;

/** Snapshots that go through a registry from one machine to another. */
class HubTest extends TwoHosts {
    private List<String> leftovers(Host host) throws IOException {
        return Trees.list(host.engine.store().root()).stream()
                .map(path -> String.valueOf(path.getFileName()))
                .filter(name -> name.startsWith(".") && !name.equals(".lock"))
                .toList();
    }

    @Test
    void chain_goes_on_elsewhere_with_the_same_content() throws Exception {
        source.link("base", "one", "set note one");
        source.link("one", "two", "set other two");
        source.link("two", "three", "dirty 2");
        List<String> hashes =
                List.of(source.hash("base"), source.hash("one"), source.hash("two"), source.hash("three"));
        Push.Result pushed = source.push("three", ref);
        assertThat(pushed.links()).isEqualTo(4);
        Trees.delete(source.home);

        Events.Reader events = target.engine.events().reader(Optional.empty());
        Pull.Result pulled = target.pull(ref);
        assertThat(pulled.digest()).isEqualTo(pushed.digest());
        for (String made : List.of("base", "one", "two", "three")) {
            Events.Event event = events.next(Duration.ofSeconds(10)).orElseThrow();
            assertThat(event.kind()).isEqualTo(Events.Kind.SNAPSHOT_MADE);
            assertThat(event.of()).isEqualTo(made);
        }
        assertThat(pulled.links()).hasToString("[base, one, two, three]");
        assertThat(List.of(target.hash("base"), target.hash("one"), target.hash("two"), target.hash("three")))
                .isEqualTo(hashes);
        assertThat(leftovers(target)).isEmpty();
        assertThat(target.exec("three", "get note")).isEqualTo("one");
        assertThat(target.exec("three", "get other")).isEqualTo("two");
        target.link("three", "four", "set note four");
        assertThat(target.exec("four", "get note")).isEqualTo("four");
    }

    @Test
    void what_is_there_is_neither_sent_nor_fetched_again() {
        Push.Result first = source.push("base", ref);
        assertThat(source.push("base", ref).sent()).isLessThan(first.sent() / 4);
        source.link("base", "next", "set note next");
        source.engine.snapshots().compact(new SnapshotTag("next"), Host.call());
        Push.Result second = source.push("next", ref);
        assertThat(second.links()).isEqualTo(1);
        assertThat(second.sent()).isLessThan(first.bytes() / 10);

        Pull.Result old = target.pull(ref + "@" + first.digest());
        Pull.Result now = target.pull(ref);
        assertThat(now.tag()).hasToString("next");
        assertThat(now.fetched()).isLessThan(old.bytes() / 10);
        assertThat(target.exec("next", "get note")).isEqualTo("next");
    }

    @Test
    void ancestor_whose_name_is_taken_gets_another_and_one_that_is_here_is_used() {
        source.link("base", "child", "set note child");
        source.push("child", ref);
        target.pull(ref);
        Pull.Result again = target.pull(ref, Optional.of("again"), false);
        assertThat(again.links()).hasToString("[again]");
        target.engine.snapshots().remove(new SnapshotTag("again"), false);
        target.engine.snapshots().remove(new SnapshotTag("child"), false);
        target.link("base", "other", "set note other");
        target.engine.snapshots().compact(new SnapshotTag("other"), Host.call());
        target.engine
                .snapshots()
                .compact(new SnapshotTag("other"), new SnapshotTag("base"), true, java.util.Map.of(), Host.call());
        Pull.Result beside = target.pull(ref);
        String name = "base-" + source.hash("base").substring(0, 12);
        assertThat(beside.links()).hasToString("[" + name + ", child]");
        assertThat(target.exec("child", "get note")).isEqualTo("child");
    }

    @Test
    void snapshot_that_gets_the_name_of_an_ancestor_does_not_take_its_place() {
        source.link("base", "child", "set note child");
        source.push("child", ref);
        String name = "base-" + source.hash("base").substring(0, 12);
        assertThat(target.pull(ref, Optional.of("base"), false).links()).hasToString("[" + name + ", base]");
        assertThatThrownBy(() -> target.pull(ref, Optional.of(name), true))
                .isInstanceOf(ForkdException.class)
                .hasMessageContaining("the snapshots 'base' and '" + name + "' are others than that");
        assertThat(target.exec("base", "get note")).isEqualTo("child");
    }

    @Test
    void tag_that_is_taken_needs_force() {
        source.push("base", ref);
        target.pull(ref);
        assertThatThrownBy(() -> target.pull(ref))
                .isInstanceOf(ForkdException.class)
                .hasMessageContaining("the snapshot 'base' exists already");
        assertThat(target.pull(ref, Optional.empty(), true).fetched()).isZero();
        assertThat(target.tags()).containsExactly("base");
    }

    @Test
    void what_is_no_snapshot_or_not_there_is_said() {
        assertThatThrownBy(() -> target.pull(registry.image()))
                .isInstanceOf(ForkdException.class)
                .hasMessageContaining("is no snapshot: it is ");
        assertThatThrownBy(() -> target.pull(registry.host() + "/team/none:1"))
                .isInstanceOf(ForkdException.class)
                .hasMessageContaining("the registry does not have it");
        assertThatThrownBy(() -> source.push("base", ref + "@sha256:" + "0".repeat(64)))
                .isInstanceOf(ForkdException.class)
                .hasMessageContaining("to a tag, not to a digest");
        assertThatThrownBy(() -> source.push("none", ref))
                .isInstanceOf(ForkdException.class)
                .hasMessageContaining("there is no snapshot 'none'");
        assertThat(target.tags()).isEmpty();
    }

    @Test
    void files_that_lost_a_byte_are_found() throws Exception {
        source.push("base", ref);
        target.pull(ref);
        assertThat(target.engine
                        .snapshots()
                        .verify(new SnapshotTag("base"), Host.call())
                        .snapshots())
                .allMatch(each -> each.known() && each.content().equals(source.hash("base")));
        Path memory = target.engine.store().directory(new SnapshotTag("base")).resolve(Snapshot.MEMORY);
        FileTime time = Files.getLastModifiedTime(memory);
        try (RandomAccessFile file = new RandomAccessFile(memory.toFile(), "rw")) {
            file.seek(5_000_000);
            file.write(1);
        }
        assertThat(target.hash("base")).as("has been asked for meanwhile").isNotEqualTo(source.hash("base"));
        for (int i = 0; i < 2; i++) {
            assertThatThrownBy(() -> target.engine.snapshots().verify(new SnapshotTag("base"), Host.call()))
                    .isInstanceOf(ForkdException.class)
                    .hasMessageContaining("the snapshot 'base' is damaged");
            // As a disk does it that fails: nobody has written to the file.
            Files.setLastModifiedTime(memory, time);
        }
    }

    @Test
    void root_disk_that_lost_a_byte_is_found() throws Exception {
        SnapshotTag base = new SnapshotTag("base");
        assertThat(source.engine.snapshots().verify(base, Host.call()).disks())
                .as("of a snapshot that was made here nothing is known, and then it is")
                .singleElement()
                .matches(disk -> !disk.known());
        assertThat(source.engine.snapshots().verify(base, Host.call()).disks()).allMatch(disk -> disk.known());
        source.push("base", ref);
        target.pull(ref);
        var disks = target.engine.snapshots().verify(base, Host.call()).disks();
        assertThat(disks).singleElement().matches(disk -> disk.known());
        Path image = disks.get(0).image();
        FileTime time = Files.getLastModifiedTime(image);
        try (RandomAccessFile file = new RandomAccessFile(image.toFile(), "rw")) {
            file.seek(500_000);
            file.write(1);
        }
        Files.setLastModifiedTime(image, time); // As a disk does it that fails.
        for (int i = 0; i < 2; i++) {
            assertThatThrownBy(() -> target.engine.snapshots().verify(base, Host.call()))
                    .isInstanceOf(ForkdException.class)
                    .hasMessageContaining("the root disk " + image + " of the snapshot 'base' is damaged");
        }
        assertThatThrownBy(() -> target.push("base", registry.host() + "/team/again:1"))
                .as("it is not passed on")
                .hasMessageContaining("is damaged");
    }

    @Test
    void signature_of_the_right_key_is_needed_where_the_policy_says_so() throws Exception {
        Path mine = key("mine");
        Path other = key("other");
        Path policy = folder.resolve("policy.json");
        String scope = registry.host() + "/team";
        Files.writeString(
                policy,
                "{\"default\":[{\"type\":\"reject\"}],\"transports\":{\"docker\":{\"" + scope
                        + "\":[{\"type\":\"sigstoreSigned\",\"keyPath\":\"" + mine.resolveSibling("mine.pub")
                        + "\"}]}}}");
        source.push("base", ref);
        assertRefused(policy, ref, "it has no signature");
        source.push("base", ref, Optional.of(SigningKey.read(other)));
        assertRefused(policy, ref, "it has 1 other");
        source.push("base", ref, Optional.of(SigningKey.read(mine)));
        target.pull(ref, Optional.of("signed"), false, Optional.of(policy));
        source.link("base", "changed", "set note changed");
        source.push("changed", ref);
        assertRefused(policy, ref, "it has no signature");
        // One repository's signature is not another's.
        source.push("base", registry.host() + "/elsewhere/warm:1", Optional.of(SigningKey.read(mine)));
        assertRefused(policy, registry.host() + "/elsewhere/warm:1", "is not to be pulled: the policy");
        assertThat(target.tags()).containsExactly("signed");
    }

    private void assertRefused(Path policy, String from, String why) {
        assertThatThrownBy(() -> target.pull(from, Optional.of("no"), false, Optional.of(policy)))
                .isInstanceOf(ForkdException.class)
                .hasMessageContaining(why);
    }

    /** As openssl writes it. */
    private Path key(String name) throws Exception {
        Path key = folder.resolve(name + ".pem");
        run("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", key.toString());
        run(
                "openssl",
                "pkey",
                "-in",
                key.toString(),
                "-pubout",
                "-out",
                folder.resolve(name + ".pub").toString());
        return key;
    }

    private static void run(String... command) throws Exception {
        assertThat(new ProcessBuilder(command).inheritIO().start().waitFor()).isZero();
    }

    private String signedBy(String identity) {
        return "{\"default\":[{\"type\":\"sigstoreSigned\",\"keyPath\":\"" + folder.resolve("mine.pub")
                + "\",\"signedIdentity\":" + identity + "}]}";
    }

    @Test
    void policy_that_may_not_be_looked_for_is_no_missing_one() throws Exception {
        Path containers = Files.createDirectories(target.home.resolve(".config/containers"));
        Files.createSymbolicLink(containers.resolve("policy.json"), Path.of("policy.json"));
        source.push("base", ref);
        assertThatThrownBy(() -> target.pull(ref))
                .isInstanceOf(ForkdException.class)
                .hasMessageContaining("cannot read the policy " + containers.resolve("policy.json"));
        assertThat(target.tags()).isEmpty();
    }

    /** What cosign signs is a repository, whatever its tags. */
    @Test
    void name_that_is_signed_counts_as_podman_has_it() throws Exception {
        Path mine = key("mine");
        Digest digest = source.push("base", ref).digest();
        String repository = registry.host() + "/team/warm";
        sign(mine, digest, repository);
        Path policy = folder.resolve("policy.json");
        for (String missing : List.of("", ",\"signedIdentity\":{\"type\":\"matchRepoDigestOrExact\"}")) {
            Files.writeString(
                    policy,
                    "{\"default\":[{\"type\":\"sigstoreSigned\",\"keyPath\":\"" + folder.resolve("mine.pub") + "\""
                            + missing + "}]}");
            assertRefused(policy, ref, "it has 1 other");
            target.pull(repository + "@" + digest, Optional.of("digest"), true, Optional.of(policy));
        }
        Files.writeString(policy, signedBy("{\"type\":\"matchRepository\"}"));
        target.pull(ref, Optional.of("repository"), false, Optional.of(policy));
        // Ours names the tag, so that no other leads to what was signed for it.
        Files.writeString(
                policy,
                "{\"default\":[{\"type\":\"sigstoreSigned\",\"keyPath\":\"" + folder.resolve("mine.pub") + "\"}]}");
        source.push("base", ref, Optional.of(SigningKey.read(mine)));
        target.pull(ref, Optional.of("tag"), false, Optional.of(policy));
        source.push("base", repository + ":2");
        assertRefused(policy, repository + ":2", "it has 2 others");
    }

    /** As cosign does it. */
    private void sign(Path key, Digest manifest, String repository) throws Exception {
        byte[] payload = ("{\"critical\":{\"identity\":{\"docker-reference\":\"" + repository
                        + "\"},\"image\":{\"docker-manifest-digest\":\"" + manifest
                        + "\"},\"type\":\"cosign container image signature\"},\"optional\":null}")
                .getBytes(java.nio.charset.StandardCharsets.US_ASCII);
        try (RegistryClient client = new RegistryClient(
                InRegistry.parse(ref), new Reach(false, Optional.empty()), Map.of(), new QuietWork())) {
            byte[] config = "{}".getBytes(java.nio.charset.StandardCharsets.US_ASCII);
            client.upload(Digest.sha256(payload), payload);
            client.upload(Digest.sha256(config), config);
            ObjectNode document = tools.jackson.databind.node.JsonNodeFactory.instance.objectNode();
            document.put("schemaVersion", 2).put("mediaType", "application/vnd.oci.image.manifest.v1+json");
            document.putObject("config")
                    .put("mediaType", "application/vnd.oci.image.config.v1+json")
                    .put("digest", Digest.sha256(config).toString())
                    .put("size", config.length);
            document.putArray("layers")
                    .addObject()
                    .put("mediaType", "application/vnd.dev.cosign.simplesigning.v1+json")
                    .put("digest", Digest.sha256(payload).toString())
                    .put("size", payload.length)
                    .putObject("annotations")
                    .put(
                            "dev.cosignproject.cosign/signature",
                            java.util.Base64.getEncoder()
                                    .encodeToString(SigningKey.read(key).sign(payload)));
            client.put("sha256-" + manifest.hex() + ".sig", Json.bytes(document));
        }
    }

    /** Whoever may write to the repository may put others beside it. */
    @Test
    void signature_is_found_among_others_and_such_as_are_none() throws Exception {
        Path mine = key("mine");
        Path other = key("other");
        Path policy = Files.writeString(folder.resolve("policy.json"), signedBy("{\"type\":\"matchRepository\"}"));
        Digest digest =
                source.push("base", ref, Optional.of(SigningKey.read(other))).digest();
        try (RegistryClient client = new RegistryClient(
                InRegistry.parse(ref), new Reach(false, Optional.empty()), Map.of(), new QuietWork())) {
            String tag = "sha256-" + digest.hex() + ".sig";
            ObjectNode manifest = (ObjectNode) Json.parse(client.manifest(tag));
            ArrayNode layers = (ArrayNode) manifest.path("layers");
            JsonNode one = layers.path(0);
            for (int i = 0; i < 100; i++) {
                layers.add(one.deepCopy());
            }
            ((ObjectNode) layers.path(50)).withObject("annotations").put("dev.cosignproject.cosign/signature", "MAYC");
            client.put(tag, Json.bytes(manifest));
        }
        assertRefused(policy, ref, "it has 64 others");
        source.push("base", ref, Optional.of(SigningKey.read(mine)));
        target.pull(ref, Optional.of("signed"), false, Optional.of(policy));
        assertThat(target.tags()).containsExactly("signed");
    }

    /** As a second one of the same machine sees it. */
    @Test
    void parent_that_goes_while_its_layer_is_pulled_leaves_no_layer_without_one() throws Exception {
        source.link("base", "child", "set note child");
        source.push("child", ref);
        target.pull(ref);
        target.engine.snapshots().remove(new SnapshotTag("child"), false);
        QuietWork removing = new QuietWork() {
            @Override
            public void begin(String what, long bytes) {
                if (what.startsWith("Pulling ")) {
                    target.engine.snapshots().remove(new SnapshotTag("base"), false);
                }
            }
        };
        assertThatThrownBy(() -> target.pull(ref, Optional.empty(), false, Optional.empty(), removing))
                .isInstanceOf(ForkdException.class)
                .hasMessageContaining("'base' was replaced or removed while a layer over it was pulled");
        assertThat(target.tags()).isEmpty();
        assertThat(leftovers(target)).hasSize(1);
        assertThat(target.pull(ref).links()).hasToString("[base, child]");
        assertThat(target.exec("child", "get note")).isEqualTo("child");
    }

    /** The last of it finds that somebody else was faster. */
    @Test
    void chain_gets_its_names_all_at_once_or_none() throws Exception {
        source.link("base", "one", "set note one");
        source.link("one", "two", "set note two");
        source.push("two", ref);
        Path own = Files.createDirectory(target.home.resolve("own"));
        QuietWork faster = new QuietWork() {
            @Override
            public void begin(String what, long bytes) {
                if (what.startsWith("Pulling ")) {
                    try {
                        AgentSnapshot.make(target.engine, own, "two");
                    } catch (IOException | InterruptedException e) {
                        throw new AssertionError(e);
                    }
                }
            }
        };
        assertThatThrownBy(() -> target.pull(ref, Optional.empty(), false, Optional.empty(), faster))
                .isInstanceOf(ForkdException.class)
                .hasMessageContaining("the snapshot 'two' exists already");
        assertThat(target.tags()).containsExactly("two");
        assertThat(leftovers(target)).as("what was fetched").hasSize(1);
        assertThat(target.pull(ref, Optional.of("three"), false).links()).hasToString("[base, one, three]");
        assertThat(target.exec("three", "get note")).isEqualTo("two");
    }

    @Test
    void disk_image_that_is_here_stays_while_its_snapshot_is_pulled() {
        source.push("base", ref);
        target.pull(ref);
        target.engine.snapshots().remove(new SnapshotTag("base"), false);
        QuietWork pruning = new QuietWork() {
            @Override
            public void begin(String what, long bytes) {
                if (what.startsWith("Pulling ")) {
                    assertThatThrownBy(() -> target.prune()).hasMessageContaining("is in use");
                }
            }
        };
        target.pull(ref, Optional.empty(), false, Optional.empty(), pruning);
        assertThat(target.exec("base", "get note")).isNotNull();
    }

    @Test
    void policy_that_is_not_understood_protects_by_refusing() throws Exception {
        key("mine");
        source.push("base", ref);
        for (String text : List.of(
                "{}",
                "{\"default\":[]}",
                "{\"default\":[{\"type\":\"signedBy\"}]}",
                "{\"default\":[{\"type\":\"sigstoreSigned\"}]}",
                "{\"default\":[{\"type\":\"sigstoreSigned\",\"keyPath\":\"/nonexistent\"}]}",
                "{\"default\":[{\"type\":\"sigstoreSigned\",\"fulcio\":{}}]}",
                signedBy("{\"type\":\"exactRepository\"}"),
                signedBy("{\"type\":\"matchRepository\",\"dockerRepository\":\"x\"}"),
                "{\"defaults\":[]}",
                "[")) {
            Path policy = Files.writeString(folder.resolve("policy.json"), text);
            assertThatThrownBy(() -> target.pull(ref, Optional.empty(), false, Optional.of(policy)))
                    .as(text)
                    .isInstanceOf(ForkdException.class);
        }
        assertThat(target.tags()).isEmpty();
    }
}
