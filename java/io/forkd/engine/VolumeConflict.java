package io.forkd.engine;

/** What becomes of what a guest writes to a volume. */
public enum VolumeConflict {
    /** It goes to the image, which nobody else may have meanwhile: that somebody has it is an error. */
    FAIL,
    /** The guest has a copy-on-write view of its own, which ends with it. */
    PRIVATE
}
