package io.forkd.engine;

import io.forkd.sandbox.Origin;
import io.forkd.sandbox.ProcessId;
import io.forkd.sandbox.RunningServer;
import io.forkd.vmm.ServerStatus;
import io.forkd.vmm.ServerStatus.Written;
import java.time.Instant;
import java.util.Optional;

/** A fork server that runs on its own. */
public sealed interface ServerInfo {
    /**
     * One that tells of itself.
     *
     * @param writing whether it is a branch that is not on disk yet
     * @param memoryBytes its share of the memory (Pss); 0 when unknown
     */
    record Answering(
            Origin snapshot, int pid, int children, int parked, boolean writing, long memoryBytes, Instant startedAt)
            implements ServerInfo {
        static Answering of(RunningServer server, ServerStatus status, long memoryBytes) {
            return new Answering(
                    server.snapshot(),
                    status.pid(),
                    status.children(),
                    status.parked(),
                    status.written() == Written.UNDER_WAY,
                    memoryBytes,
                    server.startedAt());
        }
    }

    /** One that lives and does not answer, as far as it is known. */
    record Silent(Optional<Origin> snapshot, Optional<ProcessId> process) implements ServerInfo {}
}
