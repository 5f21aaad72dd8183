package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.agent.Agent;
import io.forkd.engine.BranchRequest;
import io.forkd.engine.DiffRequest;
import io.forkd.engine.SpawnRequest;
import io.forkd.network.NetworkPolicy;
import io.forkd.snapshot.SnapshotTag;
import java.util.List;
import java.util.Optional;

/** Where the sandboxes and snapshots are that a verb is about: in this user's folders, or at a daemon. */
sealed interface Backend permits FolderBackend, DaemonBackend {
    List<SandboxView> sandboxes();

    /** All or none. */
    List<SandboxView> spawn(SpawnRequest request);

    /** Of the sandbox with that id. */
    Agent agent(String id);

    /** For each why it lives on; empty when it does not. */
    List<Optional<ForkdException>> kill(List<String> ids);

    /** Has the sandbox follow another policy; returns it. */
    NetworkPolicy setNetwork(String id, NetworkPolicy policy);

    /** Which policy the sandbox follows; empty when none of ours. */
    Optional<NetworkPolicy> network(String id);

    BranchView branch(BranchRequest request);

    BranchView diff(DiffRequest request);

    SnapshotView info(SnapshotTag tag);

    /** Makes a snapshot that restores to the same as another, and needs nothing of it; returns its folder. */
    String compact(SnapshotTag from, SnapshotTag to);

    /** The tag of one that can be forked; empty when there is none. */
    Optional<SnapshotTag> anySnapshot();

    void remove(SnapshotTag tag);
}
