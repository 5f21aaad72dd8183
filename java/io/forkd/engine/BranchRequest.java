package io.forkd.engine;

import io.forkd.snapshot.SnapshotTag;
import java.util.Optional;

/**
 * A branch to make of a sandbox.
 *
 * @param layer whether to write what differs from the sandbox's base only
 * @param replace whether a snapshot of that tag may be replaced
 * @param untilWritten whether to return only when it is on the disk
 * @param counted whether the sandbox is to tell of it, as of those that are kept
 */
public record BranchRequest(
        String sandbox,
        Optional<SnapshotTag> tag,
        boolean layer,
        boolean replace,
        boolean untilWritten,
        boolean counted) {
    public BranchRequest(
            String sandbox, Optional<SnapshotTag> tag, boolean layer, boolean replace, boolean untilWritten) {
        this(sandbox, tag, layer, replace, untilWritten, true);
    }

    /** Of another sandbox. */
    public BranchRequest of(String id) {
        return new BranchRequest(id, tag, layer, replace, untilWritten, counted);
    }

    public BranchRequest uncounted() {
        return new BranchRequest(sandbox, tag, layer, replace, untilWritten, false);
    }
}
