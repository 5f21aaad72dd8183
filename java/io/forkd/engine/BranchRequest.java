package io.forkd.engine;

import io.forkd.snapshot.SnapshotTag;
import java.util.Map;
import java.util.Optional;
import tools.jackson.databind.JsonNode;

/**
 * A branch to make of a sandbox.
 *
 * @param layer whether to write what differs from the sandbox's base only
 * @param replace whether a snapshot of that tag may be replaced
 * @param written whether and when it is on the disk
 * @param counted whether the sandbox is to tell of it, as of those that are kept
 * @param fields what its manifest is to say beside
 */
public record BranchRequest(
        String sandbox,
        Optional<SnapshotTag> tag,
        boolean layer,
        boolean replace,
        Written written,
        boolean counted,
        Map<String, JsonNode> fields) {
    /** When a branch is on the disk. */
    public enum Written {
        /** Before the call returns. */
        AT_ONCE,
        /** A while after it. */
        LATER,
        /** Not at all: it is for children that are forked now. */
        NEVER
    }

    public BranchRequest(
            String sandbox, Optional<SnapshotTag> tag, boolean layer, boolean replace, boolean untilWritten) {
        this(sandbox, tag, layer, replace, untilWritten ? Written.AT_ONCE : Written.LATER, true, Map.of());
    }

    /** Of another sandbox. */
    public BranchRequest of(String id) {
        return new BranchRequest(id, tag, layer, replace, written, counted, fields);
    }

    public BranchRequest uncounted() {
        return new BranchRequest(sandbox, tag, layer, replace, written, false, fields);
    }

    public BranchRequest with(Map<String, JsonNode> others) {
        return new BranchRequest(sandbox, tag, layer, replace, written, counted, others);
    }

    /** Whether to return only when it is on the disk. */
    public boolean untilWritten() {
        return written == Written.AT_ONCE;
    }
}
