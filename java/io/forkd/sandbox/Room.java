package io.forkd.sandbox;

import java.util.Optional;

/** Whether there was room for all that a guest has written to its disks. */
public enum Room {
    LEFT,
    /** It reached the limit that it was given. */
    LIMIT_REACHED,
    HOST_FULL;

    /**
     * What that means for it; empty when there was.
     *
     * @param limit what whoever is told calls the limit
     */
    public Optional<String> problem(String whose, String limit) {
        String stopped = ", and its file systems may have stopped";
        return switch (this) {
            case LEFT -> Optional.empty();
            case HOST_FULL ->
                Optional.of("the host had no room in /var/tmp for what " + whose + " wrote to its disks" + stopped);
            case LIMIT_REACHED -> Optional.of(whose + " wrote more to its disks than " + limit + " allows" + stopped);
        };
    }
}
