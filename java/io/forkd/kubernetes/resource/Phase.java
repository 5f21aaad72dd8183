package io.forkd.kubernetes.resource;

import java.util.Set;

/** Where a sandbox, or the children of a fork, stand. */
public final class Phase {
    /** No node has it yet. */
    public static final String PENDING = "Pending";

    /** A node is to make it. */
    public static final String SCHEDULED = "Scheduled";

    public static final String RUNNING = "Running";
    public static final String SUSPENDED = "Suspended";

    /** It ended by itself, or since its time was over. */
    public static final String ENDED = "Ended";

    /** It ran on a node that has gone. */
    public static final String LOST = "Lost";

    /** It cannot be made. */
    public static final String FAILED = "Failed";

    /** It is not made again from these. */
    public static final Set<String> OVER = Set.of(ENDED, LOST, FAILED);

    private Phase() {}
}
