package io.forkd.pack;

import io.forkd.Limits;
import io.forkd.engine.Call;
import io.forkd.engine.Engine;
import io.forkd.engine.Packs;
import io.forkd.engine.Packs.PackRequest;
import io.forkd.engine.Packs.UnpackRequest;
import io.forkd.engine.Packs.Unpacked;
import io.forkd.engine.Silence;
import io.forkd.files.OwnedDirectory;
import io.forkd.files.Trees;
import io.forkd.image.QuietWork;
import io.forkd.rootfs.RootfsCache;
import io.forkd.snapshot.Manifest;
import io.forkd.snapshot.Manifest.Layer;
import io.forkd.snapshot.Manifest.Machine;
import io.forkd.snapshot.Manifest.ManifestDisk;
import io.forkd.snapshot.Manifest.Parent;
import io.forkd.snapshot.Snapshot;
import io.forkd.snapshot.SnapshotStore;
import io.forkd.snapshot.SnapshotTag;
import io.forkd.snapshot.Volume;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.zip.CRC32C;
import tools.jackson.databind.node.JsonNodeFactory;

/** A host: folders, and an engine on them. Its snapshots are of no machine, but their files are as real ones'. */
public final class Sample {
    static final int PAGE = 4096;
    static final long MODIFIED = 1_700_000_000_123L;

    final Path home;
    final Engine engine;
    final Path images;

    public Sample(Path home) throws IOException {
        this.home = Files.createDirectories(home);
        this.images = home.resolve("cache");
        Files.createDirectories(home.resolve("run"), Trees.PRIVATE);
        this.engine = Engine.of(environment());
    }

    public Map<String, String> environment() {
        Map<String, String> environment = new HashMap<>();
        environment.put("HOME", home.toString());
        environment.put("XDG_DATA_HOME", home.resolve("data").toString());
        environment.put("XDG_RUNTIME_DIR", home.resolve("run").toString());
        environment.put("FORKD_RUN_CACHE", images.toString());
        environment.put("FORKD_SERVER_IDLE_SECS", "0"); // None outlasts the folders.
        return environment;
    }

    static Call call() {
        return new Call(new Silence(), Optional.empty());
    }

    SnapshotStore store() {
        return engine.store();
    }

    RootfsCache cache() {
        return engine.images(images, Map.of(), new QuietWork());
    }

    /** A root disk of ten pages and a bit. */
    Path disk() throws IOException {
        Path file = home.resolve("disk.ext4");
        if (!Files.exists(file)) {
            byte[] content = new byte[10 * PAGE + 512];
            Arrays.fill(content, PAGE, 2 * PAGE, (byte) 'd');
            Files.write(file, content);
            Files.setLastModifiedTime(file, FileTime.fromMillis(MODIFIED));
        }
        return file;
    }

    static byte[] vmstate() {
        ByteBuffer header = ByteBuffer.allocate(40).order(ByteOrder.LITTLE_ENDIAN);
        header.put("FORKDVMS".getBytes(StandardCharsets.US_ASCII))
                .putInt(1)
                .putInt(0)
                .putLong(32);
        header.putInt(28, crc(header.array(), 0, 28));
        return header.array();
    }

    static int crc(byte[] bytes, int from, int length) {
        CRC32C crc = new CRC32C();
        crc.update(bytes, from, length);
        return (int) crc.getValue();
    }

    /** One page of it is as given. */
    static byte[] layer(long whole, long page, byte fill) {
        ByteBuffer file = ByteBuffer.allocate(2 * PAGE + 24).order(ByteOrder.LITTLE_ENDIAN);
        Arrays.fill(file.array(), PAGE, 2 * PAGE, fill);
        file.putLong(2 * PAGE, page).putLong(2 * PAGE + 8, 1).putInt(2 * PAGE + 16, 1);
        file.putInt(2 * PAGE + 20, crc(file.array(), PAGE, PAGE));
        file.put(0, "FORKDLYR".getBytes(StandardCharsets.US_ASCII)).putInt(8, 1).putInt(12, PAGE);
        file.putLong(16, whole).putLong(24, 1).putLong(32, 2 * PAGE).putLong(40, 2 * PAGE + 24);
        file.putInt(48, crc(file.array(), 2 * PAGE, 24));
        file.putInt(PAGE - 4, crc(file.array(), 0, PAGE - 4));
        return file.array();
    }

    static byte[] memory() {
        byte[] memory = new byte[4 * PAGE];
        Arrays.fill(memory, 2 * PAGE, 3 * PAGE, (byte) 'm');
        return memory;
    }

    /** A snapshot of its own, or a layer over another, each of which writes one page of memory and one of the disk. */
    public Snapshot snapshot(String name, Optional<String> parent, List<Volume> volumes) throws IOException {
        SnapshotTag tag = new SnapshotTag(name);
        Path directory = store().directory(tag);
        Path disk = disk();
        Optional<Parent> over = Optional.empty();
        if (parent.isPresent()) {
            over = Optional.of(new Parent(
                    new SnapshotTag(parent.get()),
                    engine.snapshots().contentHash(engine.store().open(new SnapshotTag(parent.get())), call())));
        }
        try (OwnedDirectory staged = store().stage(tag)) {
            byte fill = (byte) name.charAt(0);
            String memory = over.isPresent() ? Snapshot.MEMORY_LAYER : Snapshot.MEMORY;
            Files.write(staged.path().resolve(memory), over.isPresent() ? layer(4 * PAGE, 1, fill) : memory());
            Files.write(staged.path().resolve(Snapshot.VMSTATE), vmstate());
            Files.write(staged.path().resolve("disk-0.layer"), layer(Files.size(disk), 3, fill));
            List<ManifestDisk> disks = new ArrayList<>(List.of(new ManifestDisk(
                    disk,
                    false,
                    Files.size(disk),
                    OptionalLong.of(MODIFIED),
                    Optional.of(new Layer("disk-0.layer", 2 * PAGE + 24)))));
            for (Volume volume : volumes) {
                disks.add(new ManifestDisk(
                        volume.hostPath(),
                        volume.readOnly(),
                        Files.size(volume.hostPath()),
                        OptionalLong.of(
                                Files.getLastModifiedTime(volume.hostPath()).toMillis()),
                        Optional.empty()));
            }
            store().install(
                            staged,
                            tag,
                            new Manifest(
                                    directory.resolve(Snapshot.VMSTATE),
                                    directory.resolve(memory),
                                    4 * PAGE,
                                    volumes,
                                    disk,
                                    over,
                                    disks,
                                    new Machine(
                                            1,
                                            Path.of("/boot/vmlinux"),
                                            Optional.of(Path.of("/boot/initrd")),
                                            "console=ttyS0",
                                            Optional.of("tap-of-this-host"),
                                            Limits.NONE,
                                            "0"),
                                    Optional.empty(),
                                    Instant.EPOCH,
                                    JsonNodeFactory.instance
                                            .objectNode()
                                            .put("owner", "alice")
                                            .put("later", 1)),
                            true);
        }
        return store().read(tag);
    }

    /** {@code base}, {@code middle} over it, {@code top} over that. */
    public void chain() throws IOException {
        snapshot("base", Optional.empty(), List.of());
        snapshot("middle", Optional.of("base"), List.of());
        snapshot("top", Optional.of("middle"), List.of());
    }

    Packs.Packed pack(String tag, Path file) {
        return engine.packs()
                .pack(
                        new PackRequest(
                                new SnapshotTag(tag),
                                file,
                                Optional.of("a \"sample\"\n\\"),
                                Optional.of("python:3"),
                                rootfs -> false),
                        call());
    }

    Unpacked unpack(Path pack) {
        return unpack(pack, Optional.empty(), false, List.of());
    }

    Unpacked unpack(Path pack, Optional<String> tag, boolean replace, List<Volume> volumes) {
        try (RootfsCache cache = cache()) {
            return engine.packs()
                    .unpack(
                            new UnpackRequest(
                                    pack, tag.map(SnapshotTag::new), replace, volumes, cache, Packs.Beside.NOTHING),
                            call());
        }
    }
}
