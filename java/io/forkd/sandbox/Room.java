package io.forkd.sandbox;

/** Whether there was room for all that a guest has written to its disks. */
public enum Room {
    LEFT,
    /** It reached the limit that it was given. */
    LIMIT_REACHED,
    HOST_FULL
}
