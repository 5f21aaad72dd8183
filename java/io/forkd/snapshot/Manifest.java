package io.forkd.snapshot;

import java.nio.file.Path;
import java.time.Instant;
import java.util.List;
import java.util.Optional;
import tools.jackson.databind.node.ObjectNode;

/**
 * What {@code snapshot.json} says. {@code vmstate}, {@code memory}, {@code volumes}, {@code rootfs} and
 * {@code parent_tag} are the published format; the rest is ours.
 *
 * @param disks in the guest's order: the root disk, then the volumes
 * @param rest every field that this version does not know, kept when the manifest is written again
 */
public record Manifest(
        Path vmstate,
        Path memory,
        long memoryBytes,
        List<Volume> volumes,
        Path rootfs,
        Optional<String> parentTag,
        List<ManifestDisk> disks,
        Machine machine,
        Instant createdAt,
        ObjectNode rest) {

    /** The version of our own fields that this code reads and writes. */
    static final int FORMAT = 1;

    /** How the parent was booted. */
    public record Machine(
            int vcpus, Path kernel, Optional<Path> initrd, String commandLine, Optional<String> tap, String version) {}

    /**
     * One disk of the parent.
     *
     * @param bytes size of the image
     * @param modified of the image, in milliseconds since 1970: an image that changed under a snapshot is a damaged
     *     file system in every child
     * @param layer file name in the snapshot's directory; none when the parent wrote nothing
     */
    public record ManifestDisk(Path image, boolean readOnly, long bytes, long modified, Optional<Layer> layer) {}

    public record Layer(String file, long bytes) {}

    public Manifest {
        volumes = List.copyOf(volumes);
        disks = List.copyOf(disks);
    }
}
