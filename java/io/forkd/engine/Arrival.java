package io.forkd.engine;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.files.Trees;
import io.forkd.image.Digest;
import io.forkd.pack.MachineState;
import io.forkd.pack.PackManifest;
import io.forkd.pack.PackManifest.Link;
import io.forkd.pack.PackManifest.Member;
import io.forkd.pack.PackManifest.Rootfs;
import io.forkd.pack.PackReader;
import io.forkd.rootfs.RootfsCache.Carried;
import io.forkd.snapshot.Manifest;
import io.forkd.snapshot.Manifest.Layer;
import io.forkd.snapshot.Manifest.ManifestDisk;
import io.forkd.snapshot.PortableManifest;
import io.forkd.snapshot.Snapshot;
import io.forkd.snapshot.SnapshotStore;
import io.forkd.snapshot.SnapshotStore.Arrived;
import io.forkd.snapshot.SnapshotTag;
import io.forkd.snapshot.Volume;
import io.forkd.vmm.Vmm;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.RandomAccessFile;
import java.io.SequenceInputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.Set;

/** The snapshots of a pack in a staged directory, from when they are read to when they are given their names. */
final class Arrival {
    /** In the place of the root disk while nothing but its size counts. */
    private static final String STUB = ".rootfs";

    private final Vmm vmm;
    private final PackReader reader;
    private final Map<Link, SnapshotTag> tags;
    private final Path staged;
    private final Map<Link, Manifest> carried = new LinkedHashMap<>();
    private final List<Arrived> arrived = new ArrayList<>();

    /** @param tags of the links, in their order */
    Arrival(Vmm vmm, PackReader reader, Map<Link, SnapshotTag> tags, Path staged) {
        this.vmm = vmm;
        this.reader = reader;
        this.tags = tags;
        this.staged = staged;
    }

    PackManifest manifest() {
        return reader.manifest();
    }

    List<SnapshotTag> tags() {
        return List.copyOf(tags.values());
    }

    SnapshotTag head() {
        return tags().get(tags.size() - 1);
    }

    /** Reads all of it; what is not of this monitor, or does not fit together, is refused. */
    void read() throws IOException {
        for (Link link : tags.keySet()) {
            Files.createDirectory(files(link));
        }
        reader.readAll(this::take);
        for (Link link : tags.keySet()) {
            for (String name : List.of(Snapshot.MANIFEST, Snapshot.VMSTATE)) {
                if (link.file(name).isEmpty()) {
                    throw reader.refuse("the snapshot '" + link.tag() + "' in it has no " + name);
                }
            }
            carried.put(link, describe(link));
        }
        Manifest head = head(carried);
        for (Link link : tags.keySet()) {
            Manifest each = manifest(link);
            ManifestDisk disk = each.disks().get(0);
            if (disk.bytes() != head.disks().get(0).bytes()
                    || !disk.modified().equals(head.disks().get(0).modified())
                    || each.memoryBytes() != head.memoryBytes()) {
                throw reader.refuse("the snapshot '" + link.tag() + "' in it has another root disk, or other memory,"
                        + " than what is a layer over it");
            }
        }
    }

    private void take(Link link, Member file, InputStream content) throws IOException {
        if (file.name().equals(Snapshot.VMSTATE)) {
            byte[] start = content.readNBytes(MachineState.HEADER);
            requireOurs(MachineState.of(start));
            PackReader.store(
                    new SequenceInputStream(new ByteArrayInputStream(start), content),
                    files(link).resolve(file.name()));
        } else {
            PackReader.store(content, files(link).resolve(file.name()));
        }
    }

    private void requireOurs(MachineState state) {
        switch (state) {
            case FORKD -> {}
            case NEWER ->
                throw reader.refuse(
                        Kind.UNSUPPORTED, "its vmstate is of a newer forkd than this one", "Use a newer forkd.");
            case FIRECRACKER ->
                throw reader.refuse(
                        Kind.UNSUPPORTED,
                        "its vmstate is Firecracker's, whose devices and state this monitor does not have, so that it"
                                + " cannot be restored here",
                        "Make the snapshot again, from the image that it was made of.");
            case UNKNOWN ->
                throw reader.refuse(
                        Kind.UNSUPPORTED,
                        "its vmstate is of another monitor, or damaged: it does not begin as forkd's do",
                        "Make the snapshot again, from the image that it was made of.");
        }
    }

    /** Its snapshot.json, which is removed: another takes its place. */
    private Manifest describe(Link link) throws IOException {
        Path file = files(link).resolve(Snapshot.MANIFEST);
        Manifest found;
        try {
            found = Manifest.decode(Snapshot.MANIFEST, Files.readAllBytes(file));
            PortableManifest.require(found);
        } catch (ForkdException e) {
            throw reader.refuse(
                    e.kind() == Kind.UNSUPPORTED ? e.kind() : Kind.DAMAGED,
                    "of the snapshot '" + link.tag() + "' in it, " + e.sentence(),
                    "");
        }
        Files.delete(file);
        if (!found.parent()
                .map(parent -> new PackManifest.Parent(parent.tag(), parent.contentHash()))
                .equals(link.parent())) {
            throw reader.refuse("the snapshot '" + link.tag() + "' in it has another parent than manifest.toml says");
        }
        requireFiles(link, found);
        return found;
    }

    /** It has the files that its snapshot.json speaks of, and no other. */
    private void requireFiles(Link link, Manifest found) {
        String memory = found.memory().toString();
        Member file = link.file(memory)
                .orElseThrow(() -> reader.refuse("the snapshot '" + link.tag() + "' in it has no " + memory));
        if (memory.equals(Snapshot.MEMORY) && file.bytes() != found.memoryBytes()) {
            throw reader.refuse("'" + Snapshot.MEMORY + "' of the snapshot '" + link.tag() + "' in it has "
                    + file.bytes() + " bytes, and its snapshot.json says " + found.memoryBytes());
        }
        for (int i = 0; i < found.disks().size(); i++) {
            OptionalLong said = found.disks()
                    .get(i)
                    .layer()
                    .map(Layer::bytes)
                    .map(OptionalLong::of)
                    .orElse(OptionalLong.empty());
            OptionalLong there = link.file(Snapshot.layerName(i))
                    .map(Member::bytes)
                    .map(OptionalLong::of)
                    .orElse(OptionalLong.empty());
            if (!said.equals(there)) {
                throw reader.refuse("'" + Snapshot.layerName(i) + "' of the snapshot '" + link.tag()
                        + "' in it is not what its snapshot.json says");
            }
        }
        Set<String> known = PortableManifest.files(found);
        for (Member each : link.files()) {
            if (!each.name().equals(Snapshot.MANIFEST) && !known.contains(each.name())) {
                throw reader.refuse("the snapshot '" + link.tag() + "' in it has '" + each.name()
                        + "', of which its snapshot.json does not speak");
            }
        }
    }

    /** The root disk that they need. */
    Carried rootfs(Path pack) {
        Rootfs rootfs = manifest()
                .rootfs()
                .orElseThrow(() -> reader.refuse(
                        "it comes without its root disk, and so is of use on the host that it was made on alone"));
        ManifestDisk disk = head(carried).disks().get(0);
        if (disk.bytes() != rootfs.bytes()) {
            throw reader.refuse(
                    "its root disk has " + rootfs.bytes() + " bytes, and its snapshot.json says " + disk.bytes());
        }
        return new Carried(
                new Digest("sha256", rootfs.sha256()),
                rootfs.bytes(),
                disk.modified(),
                "unpacked: " + Optional.ofNullable(pack.getFileName()).orElse(pack));
    }

    /** Gives them the paths of this host. */
    void settle(SnapshotStore store, Path rootfs, List<Volume> volumes) {
        for (Link link : tags.keySet()) {
            SnapshotTag tag = tag(link);
            Manifest here = PortableManifest.at(
                    manifest(link), store.directory(tag), files(link), rootfs, volumes, Instant.now());
            arrived.add(new Arrived(tag, files(link), here));
        }
    }

    /** Each restores to what the one over it was made of; and what their layers say can be followed. */
    void verify(Call call) throws IOException {
        try {
            restore(call);
        } catch (ForkdException e) {
            throw e.kind() == Kind.DAMAGED ? reader.refuse(e.sentence().replace(staged + "/", "")) : e;
        }
    }

    private void restore(Call call) throws IOException {
        Path stub = staged.resolve(STUB);
        try (RandomAccessFile file = new RandomAccessFile(stub.toFile(), "rw")) {
            file.setLength(head(carried).disks().get(0).bytes());
        }
        SnapshotStore own = new SnapshotStore(staged, new Nobody());
        Chains chains = new Chains(vmm, own);
        for (Arrived link : arrived) {
            Manifest here = PortableManifest.at(
                    link.manifest(),
                    link.staged(),
                    link.staged(),
                    stub,
                    link.manifest().volumes(),
                    Instant.now());
            PortableManifest.requireVolumes(here);
            Trees.writeNew(link.staged().resolve(Snapshot.MANIFEST), here.encode());
        }
        for (Arrived link : arrived) {
            Snapshot snapshot = own.open(link.tag());
            snapshot.requireLayers();
            chains.resolve(snapshot, call);
            chains.contentHash(snapshot, call);
            if (!link.tag().equals(head())) {
                Files.deleteIfExists(link.staged().resolve(Snapshot.MEMORY_FLAT)); // That of the last is for its forks.
            }
        }
        for (Arrived link : arrived) {
            Files.delete(link.staged().resolve(Snapshot.MANIFEST));
        }
        Files.delete(stub);
    }

    /** What is to have its names, in their order. */
    List<Arrived> installed() {
        return List.copyOf(arrived);
    }

    private Path files(Link link) {
        return staged.resolve(tag(link).value());
    }

    private SnapshotTag tag(Link link) {
        return Optional.ofNullable(tags.get(link)).orElseThrow();
    }

    private Manifest manifest(Link link) {
        return Optional.ofNullable(carried.get(link)).orElseThrow();
    }

    private Manifest head(Map<Link, Manifest> manifests) {
        return Optional.ofNullable(manifests.get(manifest().head())).orElseThrow();
    }

    /** What was never in a store has no users. */
    private static final class Nobody implements SnapshotStore.Writers {
        @Override
        public boolean isWriting(Snapshot snapshot) {
            return false;
        }

        @Override
        public void requireUnused(Snapshot snapshot) {}

        @Override
        public void end(Snapshot snapshot) {}
    }
}
