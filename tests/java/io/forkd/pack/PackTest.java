package io.forkd.pack;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.forkd.ForkdException;
import io.forkd.Limits;
import io.forkd.agent.AgentAddress;
import io.forkd.agent.AgentClient;
import io.forkd.agent.AgentClient.Output;
import io.forkd.engine.AgentSnapshot;
import io.forkd.engine.DiffRequest;
import io.forkd.engine.NetworkRequest;
import io.forkd.engine.Packs;
import io.forkd.engine.Packs.Packed;
import io.forkd.engine.Packs.Unpacked;
import io.forkd.engine.SpawnRequest;
import io.forkd.engine.VolumeConflict;
import io.forkd.files.Trees;
import io.forkd.network.Networks;
import io.forkd.rootfs.RootfsCache;
import io.forkd.sandbox.Sandbox;
import io.forkd.snapshot.Manifest;
import io.forkd.snapshot.Snapshot;
import io.forkd.snapshot.SnapshotStore;
import io.forkd.snapshot.SnapshotTag;
import io.forkd.snapshot.Volume;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Snapshots that go from one host to another. */
class PackTest {
    @TempDir
    Path folder;

    private Sample source;
    private Sample target;
    private Path pack;

    @BeforeEach
    void makeHosts() throws IOException {
        source = new Sample(folder.resolve("source"));
        target = new Sample(folder.resolve("target"));
        pack = Files.createDirectory(folder.resolve("mail")).resolve("it.forkd-snapshot.tar.zst");
    }

    private static String hash(Sample host, String tag) {
        return host.engine.snapshots().contentHash(host.engine.store().open(new SnapshotTag(tag)), Sample.call());
    }

    private Snapshot unpacked(String tag) {
        return target.store().open(new SnapshotTag(tag));
    }

    private static List<String> tags(Sample host) {
        return host.store().list().stream()
                .map(SnapshotStore.Entry::tag)
                .sorted()
                .toList();
    }

    private List<String> mail() throws IOException {
        return Trees.list(folder.resolve("mail")).stream()
                .map(file -> String.valueOf(file.getFileName()))
                .toList();
    }

    @Test
    void chain_restores_to_the_same_elsewhere() throws IOException {
        source.chain();
        List<String> hashes = List.of(hash(source, "base"), hash(source, "middle"), hash(source, "top"));
        Packed packed = source.pack("top", pack);
        assertThat(packed.links()).isEqualTo(3);
        assertThat(mail())
                .containsExactlyInAnyOrder(
                        "it.forkd-snapshot.tar.zst",
                        String.valueOf(packed.sidecar().getFileName()));
        Trees.delete(source.home);

        Unpacked unpacked = target.unpack(pack);
        assertThat(unpacked.tags()).hasToString("[base, middle, top]");
        assertThat(unpacked.missing()).isEmpty();
        assertThat(tags(target)).containsExactly("base", "middle", "top");
        assertThat(List.of(hash(target, "base"), hash(target, "middle"), hash(target, "top")))
                .isEqualTo(hashes);
        unpacked("top").requireImages();
        assertThat(unpacked("top").layer(0)).isPresent();
    }

    @Test
    void nothing_of_a_host_goes_along() throws IOException {
        source.snapshot("base", Optional.empty(), List.of());
        source.pack("base", pack);
        try (PackReader reader = PackReader.open(pack, bytes -> {})) {
            reader.readAll((link, file, content) -> {
                String text = new String(content.readAllBytes(), StandardCharsets.ISO_8859_1);
                assertThat(text).doesNotContain(source.home.toString(), "/boot", "alice", "tap-of-this-host");
            });
            assertThat(reader.manifest().rootfs().orElseThrow().target()).isEqualTo("rootfs.ext4");
            assertThat(reader.manifest().description()).contains("a \"sample\"\n\\");
            assertThat(reader.manifest().baseImage()).contains("python:3");
        }
        Unpacked unpacked = target.unpack(pack);
        Manifest here = unpacked("base").manifest();
        assertThat(here.vmstate()).isEqualTo(unpacked.directory().resolve("vmstate"));
        assertThat(here.memory()).isEqualTo(unpacked.directory().resolve("memory.bin"));
        assertThat(here.rootfs()).isEqualTo(unpacked.rootfs());
        assertThat(here.owner()).isEmpty();
        assertThat(here.rest().path("later").asInt(0)).isEqualTo(1);
        assertThat(here.machine().tap()).contains(Networks.TAP);
        assertThat(here.machine().kernel()).hasToString("vmlinux");
        assertThat(here.createdAt()).isAfter(java.time.Instant.EPOCH);
    }

    @Test
    void root_disk_is_the_caches_and_stays_as_long_as_it_is_needed() throws IOException {
        source.snapshot("base", Optional.empty(), List.of());
        source.pack("base", pack);
        Unpacked unpacked = target.unpack(pack);
        assertThat(unpacked.rootfs()).hasParent(target.images.resolve("images"));
        assertThat(unpacked.rootfs()).hasSameBinaryContentAs(source.disk());
        assertThat(Files.getLastModifiedTime(unpacked.rootfs())).isEqualTo(FileTime.fromMillis(Sample.MODIFIED));
        Unpacked again = target.unpack(pack, Optional.of("again"), false, List.of());
        assertThat(again.rootfs()).isEqualTo(unpacked.rootfs());

        prune();
        assertThat(unpacked.rootfs()).exists();
        target.engine.snapshots().remove(new SnapshotTag("base"), false);
        prune();
        assertThat(unpacked.rootfs()).exists();
        target.engine.snapshots().remove(new SnapshotTag("again"), false);
        prune();
        assertThat(unpacked.rootfs()).doesNotExist();
    }

    private void prune() {
        try (RootfsCache cache = target.cache()) {
            cache.prune(target.engine::diskImagesInUse, false);
        }
    }

    @Test
    void tag_that_is_taken_needs_force_and_all_of_a_chain_are_looked_at_before() throws IOException {
        source.chain();
        source.pack("top", pack);
        target.snapshot("top", Optional.empty(), List.of());
        String before = hash(target, "top");
        assertThatThrownBy(() -> target.unpack(pack))
                .isInstanceOf(ForkdException.class)
                .hasMessageContaining("the snapshot 'top' exists already");
        assertThat(tags(target)).containsExactly("top");
        assertThat(hash(target, "top")).isEqualTo(before);
        assertThatThrownBy(() -> target.unpack(pack, Optional.of("other"), false, List.of()))
                .isInstanceOf(ForkdException.class)
                .hasMessageContaining("the pack has 3 snapshots");
        target.unpack(pack, Optional.empty(), true, List.of());
        assertThat(hash(target, "top")).isEqualTo(hash(source, "top"));
        assertThat(Trees.list(target.store().root()))
                .extracting(path -> String.valueOf(path.getFileName()))
                .containsExactlyInAnyOrder(".lock", "base", "middle", "top");
    }

    @Test
    void root_disk_that_is_not_beside_it_is_said_and_can_be_brought_later() throws IOException {
        source.snapshot("base", Optional.empty(), List.of());
        Path sidecar = source.pack("base", pack).sidecar();
        Path away = Files.move(sidecar, folder.resolve("away"));
        Unpacked unpacked = target.unpack(pack);
        assertThat(unpacked.missing()).contains(sidecar);
        assertThatThrownBy(() -> unpacked("base")).hasMessageContaining("the disk image is missing");
        Files.move(away, sidecar);
        assertThat(target.unpack(pack, Optional.empty(), true, List.of()).missing())
                .isEmpty();
        unpacked("base").requireImages();
    }

    @Test
    void root_disk_is_packed_once_unless_what_is_there_is_damaged() throws IOException {
        source.snapshot("base", Optional.empty(), List.of());
        Packed first = source.pack("base", pack);
        assertThat(first.existed()).isFalse();
        FileTime time = FileTime.fromMillis(1);
        Files.setLastModifiedTime(first.sidecar(), time);
        assertThat(source.pack("base", pack).existed()).isTrue();
        assertThat(Files.getLastModifiedTime(first.sidecar())).isEqualTo(time);
        Files.write(first.sidecar(), new byte[10]);
        assertThat(source.pack("base", pack).existed()).isFalse();
        assertThat(target.unpack(pack).missing()).isEmpty();
    }

    @Test
    void volumes_are_bound_to_those_of_the_host() throws IOException {
        Path theirs = Files.write(
                folder.resolve("theirs.sqfs"), Arrays.copyOf("hsqs".getBytes(StandardCharsets.US_ASCII), 4096));
        source.snapshot("base", Optional.empty(), List.of(new Volume(theirs, "/data", true)));
        source.pack("base", pack);
        FileTime time = Files.getLastModifiedTime(theirs);
        Path ours = Files.move(theirs, folder.resolve("ours.sqfs"));
        assertVolumesRefused("do not come along: theirs.sqfs on /data, read-only");
        assertVolumesRefused("is read-only in the guest", new Volume(ours, "/data", false));
        assertVolumesRefused(
                "has no volume on /other", new Volume(ours, "/data", true), new Volume(ours, "/other", true));
        Files.write(ours, new byte[1], java.nio.file.StandardOpenOption.APPEND);
        assertVolumesRefused("has 4097 bytes", new Volume(ours, "/data", true));
        Files.write(ours, Arrays.copyOf("hsqs".getBytes(StandardCharsets.US_ASCII), 4096));
        Files.setLastModifiedTime(ours, FileTime.fromMillis(5));
        assertVolumesRefused("was last written to", new Volume(ours, "/data", true));
        Files.setLastModifiedTime(ours, time);
        target.unpack(pack, Optional.empty(), false, List.of(new Volume(ours, "/data", true)));
        assertThat(unpacked("base").manifest().volumes()).containsExactly(new Volume(ours, "/data", true));
        unpacked("base").requireImages();
    }

    private void assertVolumesRefused(String why, Volume... volumes) {
        assertThatThrownBy(() -> target.unpack(pack, Optional.empty(), false, List.of(volumes)))
                .isInstanceOf(ForkdException.class)
                .hasMessageContaining(why);
        assertThat(tags(target)).isEmpty();
    }

    @Test
    void check_writes_nothing_and_tells_what_it_is() throws IOException {
        source.chain();
        Path sidecar = source.pack("top", pack).sidecar();
        Packs.Checked checked = Packs.check(pack, Sample.call());
        assertThat(checked.isUsable()).isTrue();
        assertThat(checked.manifest().links()).hasSize(3);
        Files.delete(sidecar);
        assertThat(Packs.check(pack, Sample.call()).isUsable()).isFalse();
        assertThat(mail()).containsExactly("it.forkd-snapshot.tar.zst");
    }

    @Test
    void snapshot_whose_disk_has_changed_is_not_packed() throws IOException {
        source.snapshot("base", Optional.empty(), List.of());
        Files.setLastModifiedTime(source.disk(), FileTime.fromMillis(1));
        assertThatThrownBy(() -> source.pack("base", pack))
                .isInstanceOf(ForkdException.class)
                .hasMessageContaining("has changed since the snapshot 'base' was taken");
        assertThat(mail()).isEmpty();
    }

    @Test
    void snapshot_that_somebody_edited_or_cut_short_is_not_packed() throws IOException {
        Path base = source.snapshot("base", Optional.empty(), List.of()).directory();
        Map<String, byte[]> good = new TreeMap<>();
        for (String name : List.of("memory.bin", "vmstate", "disk-0.layer", "snapshot.json")) {
            good.put(name, Files.readAllBytes(base.resolve(name)));
        }
        for (Map.Entry<String, byte[]> file : good.entrySet()) {
            int length = file.getValue().length;
            byte[] edited = file.getValue().clone();
            edited[file.getKey().equals("disk-0.layer") ? 2 * Sample.PAGE : 0] ^= 0x55;
            boolean memory = file.getKey().equals("memory.bin"); // has no checksum, and is any guest's
            for (byte[] bad : memory
                    ? List.of(Arrays.copyOf(edited, length - 1), new byte[0])
                    : List.of(edited, Arrays.copyOf(file.getValue(), length / 2), new byte[0])) {
                Files.write(base.resolve(file.getKey()), bad);
                assertThatThrownBy(() -> source.pack("base", pack))
                        .as(file.getKey())
                        .isInstanceOf(ForkdException.class)
                        .hasMessageContaining("damaged");
                assertThat(mail()).isEmpty();
            }
            Files.write(base.resolve(file.getKey()), file.getValue());
        }
        source.pack("base", pack);
    }

    /** Real VMs, of a guest that this machine's KVM boots. */
    @Test
    void guests_go_on_elsewhere() throws Exception {
        AgentSnapshot.make(source.engine, source.home, "base");
        link(source, "base", "one", "set note one");
        link(source, "one", "two", "set other two");
        link(source, "two", "three", "dirty 2");
        String hash = hash(source, "three");
        source.pack("three", pack);
        Trees.delete(source.home);

        target.unpack(pack);
        assertThat(hash(target, "three")).isEqualTo(hash);
        assertThat(exec("three", "get note")).isEqualTo("one");
        assertThat(exec("three", "get other")).isEqualTo("two");
        assertThat(exec("one", "get note")).isEqualTo("one");
        link(target, "three", "four", "set note four");
        assertThat(exec("four", "get note")).isEqualTo("four");
        assertThat(exec("three", "get note")).isEqualTo("one");
    }

    private static void link(Sample host, String from, String to, String command) {
        host.engine.diff(
                new DiffRequest(
                        new SnapshotTag(from),
                        new SnapshotTag(to),
                        List.of(command.split(" ")),
                        Duration.ofSeconds(60),
                        Output.into(new ByteArrayOutputStream(), new ByteArrayOutputStream()),
                        false),
                Sample.call());
    }

    private String exec(String tag, String command) {
        List<Sandbox> made = target.engine.spawn(
                new SpawnRequest(new SnapshotTag(tag), 1, NetworkRequest.OF_HOST, Limits.NONE, VolumeConflict.FAIL),
                Sample.call());
        try {
            ByteArrayOutputStream out = new ByteArrayOutputStream();
            new AgentClient(new AgentAddress.Vsock(made.get(0).vsock()))
                    .exec(
                            List.of(command.split(" ")),
                            Duration.ofSeconds(60),
                            Output.into(out, new ByteArrayOutputStream()));
            return out.toString(StandardCharsets.UTF_8).strip();
        } finally {
            target.engine.sandboxes().kill(target.engine.sandboxes().list(), Sample.call());
        }
    }

    static Stream<String> leftovers(Path directory) throws IOException {
        return Trees.list(directory).stream()
                .map(path -> String.valueOf(path.getFileName()))
                .filter(name -> name.startsWith(".") && !Set.of(".lock").contains(name));
    }
}
