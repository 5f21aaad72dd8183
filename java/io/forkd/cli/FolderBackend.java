package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.agent.Agent;
import io.forkd.agent.AgentAddress;
import io.forkd.agent.AgentClient;
import io.forkd.agent.GuestMetrics;
import io.forkd.agent.GuestStreams;
import io.forkd.engine.BranchRequest;
import io.forkd.engine.BranchResult;
import io.forkd.engine.DiffRequest;
import io.forkd.engine.ImageRequest;
import io.forkd.engine.SpawnRequest;
import io.forkd.engine.VolumeConflict;
import io.forkd.image.Work;
import io.forkd.network.NetworkPolicy;
import io.forkd.sandbox.ConsoleLog;
import io.forkd.sandbox.Figures;
import io.forkd.sandbox.Found;
import io.forkd.sandbox.Lifetime;
import io.forkd.snapshot.SnapshotTag;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;

/** This user's folders, through the engine. */
record FolderBackend(Shell shell) implements Backend {
    @Override
    public List<SandboxView> sandboxes() {
        return shell.engine().sandboxesInTime().stream().map(SandboxView::of).toList();
    }

    @Override
    public List<SandboxView> spawn(SpawnRequest request) {
        return shell.engine().spawn(request, shell.call()).stream()
                .map(SandboxView::running)
                .toList();
    }

    @Override
    public List<SandboxView> fork(String id, SpawnRequest like) {
        return shell.engine().fork(id(id), like, shell.call()).stream()
                .map(SandboxView::running)
                .toList();
    }

    @Override
    public Agent agent(String called) {
        String id = id(called);
        return isTimed(id) ? new UsedAgent(shell, id) : new AgentClient(new AgentAddress.Vsock(socket(id)));
    }

    /** Whether it has to be resumed or noted that it is used; nobody is asked of one of which neither is so. */
    private boolean isTimed(String id) {
        return shell.engine().sandboxes().isPaused(id)
                || !shell.engine().sandboxes().lifetime(id).equals(Lifetime.ENDLESS);
    }

    @Override
    public GuestStreams streams(String id) {
        return new GuestStreams(socket(id(id)));
    }

    private Path socket(String id) {
        if (isTimed(id)) {
            shell.engine().use(id, shell.call()).close();
        }
        shell.engine().sandboxes().giveVolumesBack(id);
        return shell.engine().runtime().find(id);
    }

    @Override
    public List<Optional<ForkdException>> kill(List<String> ids) {
        List<Found> found = new ArrayList<>();
        List<Optional<ForkdException>> results = new ArrayList<>();
        for (String id : ids) {
            try {
                found.add(shell.engine().sandboxes().findAny(id(id)));
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
    public void pause(String id) {
        shell.engine().pause(id(id), shell.call());
    }

    @Override
    public void resume(String id) {
        shell.engine().resume(id(id), shell.call());
    }

    @Override
    public void reset(String id) {
        shell.engine().reset(id(id), shell.call());
    }

    /** Names are those that nobody but this user has given. */
    private String id(String idOrName) {
        return shell.engine().sandboxes().id(Optional.empty(), idOrName);
    }

    @Override
    public SandboxView rename(String id, Optional<String> name) {
        String known = id(id);
        shell.engine().rename(known, name);
        return SandboxView.of(shell.engine().sandboxes().findAny(known));
    }

    @Override
    public SandboxView label(String id, Map<String, Optional<String>> changes) {
        shell.engine().label(id(id), changes);
        return SandboxView.of(shell.engine().sandboxes().findAny(id(id)));
    }

    @Override
    public void await(String id) {
        shell.engine().sandboxes().awaitEnd(id(id), shell.call());
    }

    @Override
    public void logs(String called, OptionalLong tail, boolean follow, OutputStream out) {
        String id = id(called);
        try (ConsoleLog log = shell.engine().sandboxes().console(id)) {
            if (tail.isPresent()) {
                log.skipToLast(tail.getAsLong());
            }
            log.copyTo(out);
            if (follow) {
                shell.engine().sandboxes().follow(id, log, out, shell.call());
            }
        } catch (IOException e) {
            throw ForkdException.of("copy the log of the console of " + id, e);
        }
    }

    @Override
    public Optional<Figures> figures(String id) {
        return shell.engine().sandboxes().figures(id(id));
    }

    @Override
    public Optional<GuestMetrics> guestFigures(String id) {
        try {
            return Optional.of(streams(id).metrics());
        } catch (ForkdException e) {
            shell.call().check();
            return Optional.empty();
        }
    }

    @Override
    public void setLifetime(String id, Lifetime lifetime) {
        shell.engine().setLifetime(id(id), lifetime);
    }

    @Override
    public NetworkPolicy setNetwork(String id, NetworkPolicy policy) {
        return shell.engine()
                .sandboxes()
                .setNetwork(id(id), present -> policy)
                .network()
                .orElseThrow();
    }

    @Override
    public Optional<NetworkPolicy> network(String id) {
        return shell.engine().sandboxes().find(id(id)).network();
    }

    @Override
    public ImageView snapshot(ImageOrder order, Work work) {
        return ImageView.of(shell.engine()
                .snapshot(
                        new ImageRequest(
                                order.image().request(order.reference()),
                                order.image().place.directory(shell),
                                Optional.empty(),
                                shell.environment(),
                                ImageRequest.ParentNetwork.USUAL,
                                order.machine()
                                        .request(
                                                shell,
                                                order.tag(),
                                                Path.of("rootfs.ext4"),
                                                true,
                                                List.of(),
                                                VolumeConflict.FAIL,
                                                order.force())),
                        work,
                        shell.call()));
    }

    @Override
    public BranchView branch(BranchRequest request) {
        return view(shell.engine().branch(request.of(id(request.sandbox())), shell.call()));
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
