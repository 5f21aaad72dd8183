package io.forkd.pack;

import io.forkd.snapshot.SnapshotTag;
import java.time.Instant;
import java.util.List;
import java.util.Optional;

/**
 * What {@code manifest.toml}, the first file of a pack, says.
 *
 * @param links the snapshots in it, the first ancestor first; the last is what the pack is of
 * @param chained whether each has a folder of its own in the archive, as with more than one they must
 * @param rootfs the root disk, which lies beside the pack
 */
public record PackManifest(
        Optional<String> description,
        Optional<String> baseImage,
        Instant createdAt,
        String forkdVersion,
        List<Link> links,
        boolean chained,
        Optional<Rootfs> rootfs) {
    /** The name of the file. */
    public static final String FILE = "manifest.toml";

    /** The newest version that is read. Version 1 is one snapshot, version 2 a chain. */
    static final int VERSION = 2;

    /**
     * One snapshot.
     *
     * @param parent of all but the first
     */
    public record Link(SnapshotTag tag, Optional<Parent> parent, List<Member> files) {
        public Link {
            files = List.copyOf(files);
        }

        public Optional<Member> file(String name) {
            return files.stream().filter(file -> file.name().equals(name)).findFirst();
        }
    }

    /** The snapshot that another is a layer over, and what that restored to. */
    public record Parent(SnapshotTag tag, String contentHash) {}

    /** A file of a snapshot. */
    public record Member(String name, long bytes, String sha256) {}

    /**
     * The root disk.
     *
     * @param target where it was on the host that packed it; nothing is ever written there
     */
    public record Rootfs(String target, String sha256, long bytes) {
        /** The name of the file beside the pack that it is in. */
        public String sidecar() {
            return sha256.substring(0, 16) + ".rootfs.zst";
        }
    }

    public PackManifest {
        links = List.copyOf(links);
    }

    public Link head() {
        return links.get(links.size() - 1);
    }

    /** The name of a file in the archive. */
    String path(Link link, Member file) {
        return chained ? link.tag() + "/" + file.name() : file.name();
    }

    /** What all files in it come to. */
    public long bytes() {
        long sum = 0;
        for (Link link : links) {
            for (Member file : link.files()) {
                sum = Math.min(Long.MAX_VALUE - file.bytes(), sum) + file.bytes();
            }
        }
        return sum;
    }
}
