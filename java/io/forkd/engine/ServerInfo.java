package io.forkd.engine;

import io.forkd.sandbox.Origin;
import io.forkd.sandbox.RunningServer;
import io.forkd.vmm.ServerStatus;
import io.forkd.vmm.ServerStatus.Written;
import java.time.Instant;

/**
 * A fork server that runs on its own.
 *
 * @param writing whether it is a branch that is not on disk yet
 * @param memoryBytes its share of the memory (Pss); 0 when unknown
 */
public record ServerInfo(
        Origin snapshot, int pid, int children, int parked, boolean writing, long memoryBytes, Instant startedAt) {
    static ServerInfo of(RunningServer server, ServerStatus status, long memoryBytes) {
        return new ServerInfo(
                server.snapshot(),
                status.pid(),
                status.children(),
                status.parked(),
                status.written() == Written.UNDER_WAY,
                memoryBytes,
                server.startedAt());
    }
}
