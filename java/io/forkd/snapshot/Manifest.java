package io.forkd.snapshot;

import io.forkd.Limits;
import io.forkd.network.NetworkPolicy;
import java.nio.file.Path;
import java.time.Instant;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ObjectNode;

/**
 * What {@code snapshot.json} says. {@code vmstate}, {@code memory}, {@code volumes}, {@code rootfs}, {@code parent_tag}
 * and {@code parent_content_hash} are the published format; the rest is ours.
 *
 * @param memory memory.bin, or, with a parent, memory.layer: what differs from the parent's
 * @param disks in the guest's order: the root disk, then the volumes
 * @param network what the sandbox that this was branched from might reach, and its children may, too
 * @param createdAt also tells this snapshot from others that had its tag; compaction keeps it
 * @param rest every other field, kept when the manifest is written again: those that this version does not know, and whose
 *     the snapshot is
 */
public record Manifest(
        Path vmstate,
        Path memory,
        long memoryBytes,
        List<Volume> volumes,
        Path rootfs,
        Optional<Parent> parent,
        List<ManifestDisk> disks,
        Machine machine,
        Optional<NetworkPolicy> network,
        Instant createdAt,
        ObjectNode rest) {

    private static final String OWNER = "owner";

    /** The version of our own fields that this code reads and writes. */
    static final int FORMAT = 1;

    /**
     * The snapshot that this one is a layer over.
     *
     * @param contentHash of what it restored to when this one was made; see {@link ContentHash}
     */
    public record Parent(SnapshotTag tag, String contentHash) {}

    /**
     * How the guest was booted.
     *
     * @param limits that its children have where nothing else is said
     */
    public record Machine(
            int vcpus,
            Path kernel,
            Optional<Path> initrd,
            String commandLine,
            Optional<String> tap,
            Limits limits,
            String version) {
        public Machine withLimits(Limits others) {
            return new Machine(vcpus, kernel, initrd, commandLine, tap, others, version);
        }
    }

    /**
     * One disk of the guest.
     *
     * @param bytes size of the image
     * @param modified of the image, in milliseconds since 1970: an image that changed while a snapshot has it mounted is
     *     a damaged file system in every child; empty when it is not mounted in the snapshot, and may change
     * @param layer what the snapshot wrote of it, when that was known at the time of the manifest: a branch is written
     *     after its manifest, and then {@code disk-<i>.layer} is the layer if it is there
     */
    public record ManifestDisk(
            Path image, boolean readOnly, long bytes, OptionalLong modified, Optional<Layer> layer) {}

    public record Layer(String file, long bytes) {}

    public Manifest {
        volumes = List.copyOf(volumes);
        disks = List.copyOf(disks);
    }

    /** Whether it is the image of one of the disks. */
    public boolean has(Path image) {
        return disks.stream().anyMatch(disk -> disk.image().equals(image));
    }

    public static Manifest read(Path file) {
        return new ManifestFile(file).read();
    }

    /** Of bytes that are in no file of ours; {@code name} is for what is said of them. */
    public static Manifest decode(String name, byte[] json) {
        return new ManifestFile(Path.of(name)).decode(json);
    }

    public Manifest withDisks(List<ManifestDisk> others) {
        return new Manifest(
                vmstate, memory, memoryBytes, volumes, rootfs, parent, others, machine, network, createdAt, rest);
    }

    /** The same over a parent of another name, if it has one. */
    public Manifest withParent(Optional<SnapshotTag> tag) {
        return new Manifest(
                vmstate,
                memory,
                memoryBytes,
                volumes,
                rootfs,
                parent.map(old -> new Parent(tag.orElse(old.tag()), old.contentHash())),
                disks,
                machine,
                network,
                createdAt,
                rest);
    }

    public Manifest withNetwork(Optional<NetworkPolicy> policy) {
        return new Manifest(
                vmstate, memory, memoryBytes, volumes, rootfs, parent, disks, machine, policy, createdAt, rest);
    }

    public Manifest withMachine(Machine other) {
        return new Manifest(
                vmstate, memory, memoryBytes, volumes, rootfs, parent, disks, other, network, createdAt, rest);
    }

    /**
     * The user of a daemon whose it is, and whose all is that is made of it: a manifest is copied from what it is of. Without
     * one it is for all users.
     */
    public Optional<String> owner() {
        JsonNode owner = rest.path(OWNER);
        // What is no name is the name of nobody.
        return owner.isMissingNode() ? Optional.empty() : Optional.of(owner.isString() ? owner.stringValue() : "");
    }

    /** The same, of that user, when it is nobody's yet. */
    public Manifest ownedBy(Optional<String> user) {
        if (user.isEmpty() || owner().isPresent()) {
            return this;
        }
        ObjectNode owned = rest.deepCopy().put(OWNER, user.get());
        return new Manifest(
                vmstate, memory, memoryBytes, volumes, rootfs, parent, disks, machine, network, createdAt, owned);
    }

    /** The same, with other fields of those that are nothing to this class; {@code owner} is none of them. */
    public Manifest with(Map<String, JsonNode> fields) {
        if (fields.isEmpty()) {
            return this;
        }
        ObjectNode more = rest.deepCopy();
        fields.forEach(more::set);
        Manifest told = new Manifest(
                vmstate, memory, memoryBytes, volumes, rootfs, parent, disks, machine, network, createdAt, more);
        if (!told.owner().equals(owner())) {
            throw new IllegalArgumentException("whose it is cannot be told so");
        }
        return told;
    }

    /** As it is written. */
    public byte[] encode() {
        return ManifestFile.encode(this);
    }
}
