package io.forkd.vmm;

import java.nio.file.Path;
import java.util.List;

/**
 * One block device of a VM.
 *
 * @param layers what snapshots wrote down of the disk, that of the first of a chain first; only for a
 *     {@link ForkServer}
 */
public record Disk(Path image, Mode mode, List<Path> layers) {

    /** What becomes of the guest's writes. */
    public enum Mode {
        /** The image is never written; what the guest writes goes elsewhere. */
        PRIVATE,
        READ_ONLY,
        /** Writes go through; the image is locked. */
        SHARED
    }

    public Disk {
        layers = List.copyOf(layers);
    }
}
