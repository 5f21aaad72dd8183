package io.forkd.vmm;

import java.nio.file.Path;
import java.util.Optional;

/**
 * One block device of a VM.
 *
 * @param layer what a snapshot wrote down of the disk; only for a {@link ForkServer}
 */
public record Disk(Path image, Mode mode, Optional<Path> layer) {

    /** What becomes of the guest's writes. */
    public enum Mode {
        /** The image is never written; what the guest writes goes elsewhere. */
        PRIVATE,
        READ_ONLY,
        /** Writes go through; the image is locked. */
        SHARED
    }
}
