package io.forkd.engine;

/** What happens when a writable volume is already attached for writing. */
public enum VolumeConflict {
    /** It is an error. */
    FAIL,
    /** The guest gets a copy-on-write view of its own, which ends with it. */
    PRIVATE
}
