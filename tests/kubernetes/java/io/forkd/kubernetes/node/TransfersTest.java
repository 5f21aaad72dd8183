package io.forkd.kubernetes.node;

import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import org.junit.jupiter.api.Test;

/** Whose turn it is with registries. */
class TransfersTest {
    private final Transfers transfers = new Transfers(8);

    @Test
    void aNamespaceHasTwoAndAllTogetherHalfOfTheThreads() {
        assertTrue(transfers.begin("a"));
        assertTrue(transfers.begin("a"));
        assertFalse(transfers.begin("a"));
        assertTrue(transfers.begin("b"));
        assertTrue(transfers.begin("b"));
        assertFalse(transfers.begin("c"));
    }

    @Test
    void whatHasEndedLeavesItsPlace() {
        assertTrue(transfers.begin("a"));
        assertTrue(transfers.begin("a"));
        transfers.end("a");
        assertTrue(transfers.begin("a"));
        transfers.end("a");
        transfers.end("a");
        assertTrue(transfers.begin("a"));
        assertTrue(transfers.begin("a"));
        assertFalse(transfers.begin("a"));
    }
}
