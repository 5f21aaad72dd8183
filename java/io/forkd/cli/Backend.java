package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.agent.Agent;
import io.forkd.agent.GuestMetrics;
import io.forkd.agent.GuestStreams;
import io.forkd.engine.BranchRequest;
import io.forkd.engine.DiffRequest;
import io.forkd.engine.SpawnRequest;
import io.forkd.image.Work;
import io.forkd.network.NetworkPolicy;
import io.forkd.sandbox.Figures;
import io.forkd.sandbox.Lifetime;
import io.forkd.snapshot.SnapshotTag;
import java.io.OutputStream;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;

/** Where the sandboxes and snapshots are that a verb is about: in this user's folders, or at a daemon. */
sealed interface Backend permits FolderBackend, DaemonBackend {
    List<SandboxView> sandboxes();

    /** All or none. */
    List<SandboxView> spawn(SpawnRequest request);

    /** Sandboxes of one that runs, all or none. */
    List<SandboxView> fork(String id, SpawnRequest like);

    /** Of the sandbox with that id. */
    Agent agent(String id);

    /** The same guest's programs, files and ports. */
    GuestStreams streams(String id);

    /** For each why it lives on; empty when it does not. */
    List<Optional<ForkdException>> kill(List<String> ids);

    /** Returns when it is on the disk. */
    void pause(String id);

    void resume(String id);

    /** Returns when it is ready again. */
    void reset(String id);

    /** Returns the sandbox; without a name, it has none any more. */
    SandboxView rename(String id, Optional<String> name);

    /** Returns the sandbox; those without a value it has no more. */
    SandboxView label(String id, Map<String, Optional<String>> changes);

    /** Returns when the sandbox has ended; it must be there. */
    void await(String id);

    /**
     * Copies what its guest has written to its console.
     *
     * @param tail how many lines of that; empty: all
     * @param follow whether to go on until the sandbox has ended
     */
    void logs(String id, OptionalLong tail, boolean follow, OutputStream out);

    /** What it takes of the host; empty when it has no process. */
    Optional<Figures> figures(String id);

    /** What its guest says of itself; empty when it cannot say, or has ended. */
    Optional<GuestMetrics> guestFigures(String id);

    /** Has its time begin anew. */
    void setLifetime(String id, Lifetime lifetime);

    /** Has the sandbox follow another policy; returns it. */
    NetworkPolicy setNetwork(String id, NetworkPolicy policy);

    /** Which policy the sandbox follows; empty when none of ours. */
    Optional<NetworkPolicy> network(String id);

    /** Makes a snapshot of a container image, and tells how that goes on. */
    ImageView snapshot(ImageOrder order, Work work);

    BranchView branch(BranchRequest request);

    BranchView diff(DiffRequest request);

    SnapshotView info(SnapshotTag tag);

    /** Makes a snapshot that restores to the same as another, and needs nothing of it; returns its folder. */
    String compact(SnapshotTag from, SnapshotTag to);

    /** The tag of one that can be forked; empty when there is none. */
    Optional<SnapshotTag> anySnapshot();

    void remove(SnapshotTag tag);
}
