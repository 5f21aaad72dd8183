package io.forkd.vmm;

import java.util.Optional;

/**
 * How a fork server is.
 *
 * @param children that live, without the parked ones
 * @param parked that are forked in advance
 * @param error there when {@code written} is {@link Written#FAILED}
 */
public record ServerStatus(int pid, Written written, int children, int parked, Optional<NativeError> error) {

    /** What a branch has on disk. */
    public enum Written {
        /** Everything, as of any server that was started from files. */
        DONE,
        UNDER_WAY,
        /** What had been written has been removed. */
        FAILED
    }
}
