package io.forkd.engine;

import io.forkd.agent.AgentClient;
import io.forkd.snapshot.SnapshotTag;
import java.time.Duration;
import java.util.List;

/**
 * A link of a chain to make: what {@code command} changes in a child of {@code from}.
 *
 * @param output takes what the command writes, as it is written
 * @param replace whether a snapshot of that tag may be replaced
 */
public record DiffRequest(
        SnapshotTag from,
        SnapshotTag tag,
        List<String> command,
        Duration timeout,
        AgentClient.Output output,
        boolean replace) {}
