package io.forkd.engine;

/** What a guest sees of the host's processor. */
public enum CpuTemplate {
    /** All of it. */
    HOST,
    /** What all processors of its vendor have, so that the snapshot moves between hosts. */
    BASELINE
}
