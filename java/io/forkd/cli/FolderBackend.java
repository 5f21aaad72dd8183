package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.agent.Agent;
import io.forkd.agent.AgentAddress;
import io.forkd.agent.AgentClient;
import io.forkd.engine.BranchRequest;
import io.forkd.engine.BranchResult;
import io.forkd.engine.DiffRequest;
import io.forkd.engine.SpawnRequest;
import io.forkd.network.NetworkPolicy;
import io.forkd.sandbox.Found;
import io.forkd.snapshot.SnapshotTag;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;

/** This user's folders, through the engine. */
record FolderBackend(Shell shell) implements Backend {
    @Override
    public List<SandboxView> sandboxes() {
        return shell.engine().sandboxes().sweep().stream().map(SandboxView::of).toList();
    }

    @Override
    public List<SandboxView> spawn(SpawnRequest request) {
        return shell.engine().spawn(request, shell.call()).stream()
                .map(SandboxView::running)
                .toList();
    }

    @Override
    public Agent agent(String id) {
        shell.engine().sandboxes().giveVolumesBack(id);
        return new AgentClient(new AgentAddress.Vsock(shell.engine().runtime().find(id)));
    }

    @Override
    public List<Optional<ForkdException>> kill(List<String> ids) {
        List<Found> found = new ArrayList<>();
        List<Optional<ForkdException>> results = new ArrayList<>();
        for (String id : ids) {
            try {
                found.add(shell.engine().sandboxes().findAny(id));
                results.add(Optional.empty());
            } catch (ForkdException e) {
                results.add(Optional.of(e)); // The others are ended all the same.
            }
        }
        List<Optional<ForkdException>> killed = shell.engine().sandboxes().kill(found, shell.call());
        int next = 0;
        for (int i = 0; i < results.size(); i++) {
            if (results.get(i).isEmpty()) {
                results.set(i, killed.get(next));
                next++;
            }
        }
        return results;
    }

    @Override
    public NetworkPolicy setNetwork(String id, NetworkPolicy policy) {
        return shell.engine()
                .sandboxes()
                .setNetwork(id, present -> policy)
                .network()
                .orElseThrow();
    }

    @Override
    public Optional<NetworkPolicy> network(String id) {
        return shell.engine().sandboxes().find(id).network();
    }

    @Override
    public BranchView branch(BranchRequest request) {
        return view(shell.engine().branch(request, shell.call()));
    }

    @Override
    public BranchView diff(DiffRequest request) {
        return view(shell.engine().diff(request, shell.call()));
    }

    private BranchView view(BranchResult result) {
        return BranchView.of(
                result,
                result.written()
                        ? OptionalLong.of(BranchView.physical(shell.engine()
                                .snapshots()
                                .info(result.tag(), shell.call())
                                .files()))
                        : OptionalLong.empty());
    }

    @Override
    public SnapshotView info(SnapshotTag tag) {
        return SnapshotView.of(shell.engine().snapshots().info(tag, shell.call()));
    }

    @Override
    public String compact(SnapshotTag from, SnapshotTag to) {
        shell.engine().snapshots().compact(from, to, shell.call());
        return shell.engine().store().directory(to).toString();
    }

    @Override
    public Optional<SnapshotTag> anySnapshot() {
        return shell.engine().store().list().stream().findFirst().map(entry -> new SnapshotTag(entry.tag()));
    }

    @Override
    public void remove(SnapshotTag tag) {
        shell.engine().snapshots().remove(tag, false);
    }
}
