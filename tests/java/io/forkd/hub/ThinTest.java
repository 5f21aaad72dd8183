package io.forkd.hub;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.forkd.ForkdException;
import io.forkd.Json;
import io.forkd.engine.AgentSnapshot;
import io.forkd.image.Digest;
import io.forkd.image.ImageReference.InRegistry;
import io.forkd.image.Platform;
import io.forkd.image.QuietWork;
import io.forkd.image.Reach;
import io.forkd.image.RealRegistry;
import io.forkd.image.RegistryClient;
import io.forkd.rootfs.RootfsCache;
import io.forkd.rootfs.RootfsOptions;
import io.forkd.snapshot.SnapshotTag;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.Consumer;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import tools.jackson.databind.node.ObjectNode;

/** Snapshots whose root disk stays, since who pulls them makes it again of the image that it was made of. */
class ThinTest {
    private static final Reach REACH = new Reach(false, Optional.empty());

    @TempDir
    Path folder;

    private RealRegistry registry;
    private Host source;
    private Host target;
    private Path disk;
    private String ref;

    @BeforeEach
    void start() throws Exception {
        registry = new RealRegistry(Files.createDirectory(folder.resolve("registry-of-test")));
        source = new Host(folder.resolve("source"));
        target = new Host(folder.resolve("target"));
        ref = registry.host() + "/team/warm:1";
        disk = image(source, registry.image());
        AgentSnapshot.make(source.engine, source.home, "base", 64, disk);
        source.link("base", "child", "set note child");
    }

    @AfterEach
    void stop() throws Exception {
        registry.close();
    }

    private static Path image(Host host, String reference, String... packages) {
        try (RootfsCache cache = host.engine.images(host.engine.imageCache(), Map.of(), new QuietWork())) {
            return cache.get(new RootfsCache.Request(
                            reference, Platform.host(), REACH, new RootfsOptions(64, List.of(packages))))
                    .file();
        }
    }

    private static Path diskOf(Host host, String tag) {
        return host.engine.store().open(new SnapshotTag(tag)).manifest().rootfs();
    }

    private Push.Result thin(Host host, String tag) {
        return host.push(tag, ref, Optional.empty(), true);
    }

    @Test
    void root_disk_is_made_again_of_its_image_on_an_empty_host() throws Exception {
        String content = source.hash("child");
        Push.Result whole = source.push("child", registry.host() + "/team/whole:1");
        Push.Result thin = thin(source, "child");
        assertThat(whole.madeOf()).isEmpty();
        assertThat(thin.madeOf()).singleElement().asString().startsWith(registry.host() + "/team/py@sha256:");
        // Its 300 000 bytes of noise are in the image, whatever else there is.
        assertThat(thin.sent()).isLessThan(whole.sent() - 300_000);

        Pull.Result pulled = target.pull(ref);
        assertThat(pulled.fetched()).isLessThan(thin.sent());
        assertThat(target.hash("child")).isEqualTo(content);
        assertThat(diskOf(target, "child")).hasSameBinaryContentAs(disk).isNotEqualTo(disk);
        assertThat(target.exec("child", "get note")).isEqualTo("child");
        // Nothing was made at another's expense: it goes when nobody needs it.
        target.engine.snapshots().remove(new SnapshotTag("child"), false);
        target.engine.snapshots().remove(new SnapshotTag("base"), false);
        target.prune();
        assertThat(target.images()).isEmpty();
    }

    @Test
    void what_was_made_again_can_be_pushed_thin_itself() throws Exception {
        Push.Result first = thin(source, "child");
        target.pull(ref);
        assertThat(thin(target, "child").madeOf()).hasToString(first.madeOf().toString());
        Host third = new Host(folder.resolve("third"));
        third.pull(ref);
        assertThat(third.exec("child", "get note")).isEqualTo("child");
    }

    @Test
    void image_that_is_here_is_not_made_again() {
        source.push("child", registry.host() + "/team/whole:1");
        target.pull(registry.host() + "/team/whole:1");
        thin(source, "child");
        QuietWork looking = new QuietWork() {
            @Override
            public void begin(String what, long bytes) {
                assertThat(what).doesNotContain("uilding");
            }
        };
        assertThat(target.pull(ref, Optional.of("again"), false, Optional.empty(), looking)
                        .links())
                .hasToString("[again]");
    }

    private void assertNotThin(String tag, String why) {
        assertThatThrownBy(() -> thin(source, tag))
                .isInstanceOf(ForkdException.class)
                .hasMessageContaining("the root disk ")
                .hasMessageContaining("cannot be made again elsewhere: " + why);
        try (RegistryClient client = client()) {
            assertThatThrownBy(() -> client.manifest("1"))
                    .as("nothing was sent")
                    .hasMessageContaining("the registry does not have it");
        }
    }

    private RegistryClient client() {
        return new RegistryClient(InRegistry.parse(ref), REACH, Map.of(), new QuietWork());
    }

    @Test
    void disk_that_is_of_no_image_is_not_left_out() throws Exception {
        AgentSnapshot.make(source.engine, Files.createDirectory(source.home.resolve("own")), "own");
        assertNotThin("own", "nothing says that it was made of an image");
    }

    @Test
    void disk_of_an_image_that_is_in_no_registry_is_not_left_out() throws Exception {
        Path local = image(source, "oci:" + registry.layout() + ":1");
        // The same image comes to the same disk: what it was made of first is what is known of it.
        assertThat(local).isEqualTo(disk);
        Path other = Files.copy(disk, disk.resolveSibling("other.ext4"));
        Files.writeString(
                disk.resolveSibling("other.json"),
                noted(json -> json.put("reference", "oci:/x:1").remove("manifest")));
        AgentSnapshot.make(source.engine, source.home, "own", 64, other);
        assertNotThin("own", "it was not made of an image of a registry");
    }

    private String noted(Consumer<ObjectNode> change) throws Exception {
        ObjectNode json = (ObjectNode) Json.parse(Files.readAllBytes(
                disk.resolveSibling(disk.getFileName().toString().replace("ext4", "json"))));
        change.accept(json);
        return Json.text(json);
    }

    private void note(Consumer<ObjectNode> change) throws Exception {
        Files.writeString(disk.resolveSibling(disk.getFileName().toString().replace("ext4", "json")), noted(change));
    }

    @Test
    void disk_with_packages_or_of_another_version_is_not_left_out() throws Exception {
        note(json -> json.putArray("packages").add("git"));
        assertNotThin("child", "it has packages that were installed here");
        note(json -> json.putArray("packages"));
        note(json -> json.put("builder", "sha256:" + "0".repeat(64)));
        assertNotThin("child", "another version of this program made it");
        note(json -> json.remove("builder"));
        assertNotThin("child", "another version of this program made it");
        Files.writeString(disk.resolveSibling(disk.getFileName().toString().replace("ext4", "json")), "{");
        assertNotThin("child", disk.getParent().toString());
    }

    @Test
    void disk_whose_image_has_gone_from_the_registry_is_not_left_out() throws Exception {
        Path blobs = folder.resolve("registry-of-test/registry/docker/registry/v2/repositories/team/py/_layers/sha256");
        Path config;
        try (RegistryClient client =
                new RegistryClient(InRegistry.parse(registry.image()), REACH, Map.of(), new QuietWork())) {
            config = blobs.resolve(Json.parse(client.manifest("1"))
                    .path("layers")
                    .path(0)
                    .path("digest")
                    .asString("")
                    .substring(7));
        }
        assertThat(config).isDirectory();
        Files.delete(config.resolve("link"));
        assertNotThin("child", "the registry has lost sha256:");
        Path tags = folder.resolve("registry-of-test/registry/docker/registry/v2/repositories/team/py/_manifests");
        io.forkd.files.Trees.delete(tags);
        assertNotThin("child", "cannot read the manifest of " + registry.host() + "/team/py@sha256:");
    }

    /** Changes what the registry says of the disk. */
    private void lie(Consumer<ObjectNode> change) throws Exception {
        try (RegistryClient client = client()) {
            ObjectNode manifest = (ObjectNode) Json.parse(client.manifest("1"));
            Digest named = Digest.parse(manifest.path("config").path("digest").asString(""));
            ObjectNode config;
            try (InputStream in = client.blob(named, 0)) {
                config = (ObjectNode) Json.parse(in.readAllBytes());
            }
            change.accept((ObjectNode) config.path("disks").path(0));
            byte[] bytes = Json.bytes(config);
            client.upload(Digest.sha256(bytes), bytes);
            ((ObjectNode) manifest.path("config"))
                    .put("digest", Digest.sha256(bytes).toString())
                    .put("size", bytes.length);
            client.put("1", Json.bytes(manifest));
        }
    }

    private void assertNotPulled(String why) {
        assertThatThrownBy(() -> target.pull(ref))
                .isInstanceOf(ForkdException.class)
                .hasMessageContaining(why);
        assertThat(target.tags()).isEmpty();
        assertThat(target.images()).isEmpty();
    }

    @Test
    void disk_that_comes_to_something_else_is_not_believed() throws Exception {
        thin(source, "child");
        lie(said -> said.put("digest", "sha256:" + "1".repeat(64)));
        assertNotPulled("comes to here: that has the content");
        lie(said -> said.put("digest", "sha256:" + "1".repeat(64))
                .withObject("made_of")
                .put("builder", "sha256:" + "0".repeat(64)));
        assertNotPulled("another version of this program than the one that made it builds another");
    }

    @Test
    void image_that_went_after_the_push_is_named() throws Exception {
        thin(source, "child");
        lie(said -> said.withObject("made_of").put("image", registry.host() + "/team/py@sha256:" + "2".repeat(64)));
        assertNotPulled("cannot read the manifest of " + registry.host() + "/team/py@sha256:2222");
    }
}
