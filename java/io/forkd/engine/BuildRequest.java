package io.forkd.engine;

import io.forkd.agent.GuestStreams;
import io.forkd.snapshot.SnapshotTag;
import java.util.Map;
import tools.jackson.databind.JsonNode;

/**
 * A snapshot to make of what somebody does in a child of another, in the place of what has that tag. It needs nothing of
 * that other.
 *
 * @param network of the child while that is done
 */
public record BuildRequest(SnapshotTag tag, NetworkRequest network, Preparation preparation) {
    /** What is done in the child. */
    @FunctionalInterface
    public interface Preparation {
        /**
         * Returns when the guest is as it is to be kept: what runs in it then runs in every child of the snapshot. A
         * cancellation interrupts the thread.
         *
         * @return what the snapshot's manifest is to say beside
         */
        Map<String, JsonNode> prepare(GuestStreams guest);
    }
}
