package io.forkd.hub;

import io.forkd.image.Digest;
import io.forkd.rootfs.Recipe;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;
import tools.jackson.databind.node.ObjectNode;

/**
 * A snapshot with all that it is a layer over, as a registry has it; docs/formats.md has the documents.
 *
 * @param version of the forkd that made it
 * @param links the first ancestor first, the snapshot itself last
 * @param disks the images that these have, each once
 * @param chunks of which all files are made
 */
record Artifact(String version, List<Link> links, List<Disk> disks, List<Chunk> chunks) {
    /**
     * One snapshot.
     *
     * @param tag that it had
     * @param content its content hash
     * @param manifest its {@code snapshot.json} without what is of a host: see {@link io.forkd.snapshot.PortableManifest}
     * @param disk which of the artifact's images its root disk has
     */
    record Link(String tag, String content, ObjectNode manifest, int disk, List<ChunkedFile> files) {
        Link {
            files = List.copyOf(files);
        }
    }

    /**
     * The image of a disk.
     *
     * @param digest of all of it
     * @param modified what the time of its last change has to be, in milliseconds since 1970, where that matters
     * @param content its chunks, or what it can be made of again
     */
    record Disk(Digest digest, OptionalLong modified, long bytes, DiskContent content) {
        static Disk sent(Digest digest, OptionalLong modified, ChunkedFile file) {
            return new Disk(digest, modified, file.bytes(), new Sent(file));
        }

        /** The chunks, where it is of such. */
        Optional<ChunkedFile> file() {
            return content instanceof Sent sent ? Optional.of(sent.file()) : Optional.empty();
        }

        Optional<Recipe> recipe() {
            return content instanceof Made made ? Optional.of(made.recipe()) : Optional.empty();
        }
    }

    sealed interface DiskContent {}

    record Sent(ChunkedFile file) implements DiskContent {}

    record Made(Recipe recipe) implements DiskContent {}

    Artifact {
        links = List.copyOf(links);
        disks = List.copyOf(disks);
        chunks = List.copyOf(chunks);
    }

    /** The snapshot that was asked for. */
    Link head() {
        return links.get(links.size() - 1);
    }
}
