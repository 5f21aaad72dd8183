package io.forkd.daemon;

import io.forkd.ForkdException;
import io.forkd.Json;
import io.forkd.Limits;
import io.forkd.daemon.Workspace.Status;
import io.forkd.engine.BranchRequest;
import io.forkd.engine.Call;
import io.forkd.engine.Engine;
import io.forkd.engine.NetworkRequest;
import io.forkd.engine.SpawnRequest;
import io.forkd.engine.VolumeConflict;
import io.forkd.http.Caller;
import io.forkd.http.HttpFailure;
import io.forkd.http.TokenFile;
import io.forkd.sandbox.Found;
import io.forkd.sandbox.Sandbox;
import io.forkd.snapshot.Provenance;
import io.forkd.snapshot.Snapshot;
import io.forkd.snapshot.SnapshotTag;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.time.DateTimeException;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.Supplier;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import tools.jackson.core.JacksonException;

/**
 * Sandboxes with a name, which sleep as a snapshot. What one was last put to sleep as stays until the next is on the disk,
 * and its sandbox lives until then: no failure loses what was done in it.
 */
final class Workspaces {
    private static final Logger LOG = LoggerFactory.getLogger("io.forkd.daemon");

    /** The field of what a sandbox tells of its owner. */
    private static final String OWNER = "workspace";

    private static final int LONGEST_TAG = 64;
    private static final int LONGEST_BEGINNING = 38;

    private final Engine engine;
    private final Branching branching;
    private final Quota quota;
    private final StateFile file;

    /** Guarded by this. */
    private final Map<SnapshotTag, Workspace> all = new TreeMap<>();

    /** Those that something is being done with. */
    private final Set<SnapshotTag> busy = ConcurrentHashMap.newKeySet();

    /**
     * Goes on where the last service was ended: what it made and had not written down is found by what sandboxes tell of
     * their owners, and what it had written down and not done is done.
     */
    Workspaces(Engine engine, Branching branching, Quota quota, StateFile file) {
        this.engine = engine;
        this.branching = branching;
        this.quota = quota;
        this.file = file;
        file.read().forEach(workspace -> all.put(workspace.name(), workspace));
        engine.sandboxes().list().forEach(this::adopt);
        List.copyOf(all.values()).forEach(this::goOn);
    }

    private void adopt(Found found) {
        owner(found.directory()).ifPresent(told -> {
            Workspace there = all.getOrDefault(told.name(), told);
            if (!there.is(Status.DELETED)
                    && !there.sandbox().equals(Optional.of(found.id()))
                    && live(there).isEmpty()) {
                all.put(told.name(), there.running(found.id()));
            }
        });
    }

    private static Optional<Workspace> owner(Path directory) {
        try {
            return Optional.of(Workspace.of(
                    Json.parse(Files.readAllBytes(Sandbox.owner(directory))).path(OWNER)));
        } catch (IOException | JacksonException | IllegalArgumentException | DateTimeException | ForkdException e) {
            return Optional.empty(); // It is nobody's.
        }
    }

    private void goOn(Workspace workspace) {
        try {
            switch (workspace.status()) {
                case DELETED -> finishDelete(workspace);
                case SUSPENDED -> endSandbox(workspace);
                case RUNNING -> {
                    if (live(workspace).isEmpty()) {
                        all.put(workspace.name(), workspace.withoutSandbox());
                    }
                }
            }
        } catch (ForkdException e) {
            LOG.warn("workspace {}: {}", workspace.name(), e.sentence());
        }
    }

    private <T> T alone(SnapshotTag name, Supplier<T> job) {
        if (!busy.add(name)) {
            throw new HttpFailure(409, "something else is being done with workspace " + name);
        }
        try {
            return job.get();
        } finally {
            busy.remove(name);
        }
    }

    synchronized List<Workspace> list(Caller caller) {
        return all.values().stream()
                .filter(workspace -> isThere(caller, workspace))
                .toList();
    }

    private static boolean isThere(Caller caller, Workspace workspace) {
        return !workspace.is(Status.DELETED)
                && caller.owner().map(workspace.owner()::equals).orElse(true);
    }

    synchronized Workspace find(Caller caller, SnapshotTag name) {
        return Optional.ofNullable(all.get(name))
                .filter(workspace -> isThere(caller, workspace))
                .orElseThrow(() -> new HttpFailure(404, "workspace " + name + " not found"));
    }

    private synchronized boolean isTaken(SnapshotTag name) {
        return all.containsKey(name);
    }

    private synchronized Workspace put(Workspace workspace) {
        Map<SnapshotTag, Workspace> next = new TreeMap<>(all);
        next.put(workspace.name(), workspace);
        file.write(next.values());
        all.put(workspace.name(), workspace);
        return workspace;
    }

    private synchronized void remove(SnapshotTag name) {
        Map<SnapshotTag, Workspace> next = new TreeMap<>(all);
        next.remove(name);
        file.write(next.values());
        all.remove(name);
    }

    /** Its sandbox, when that lives. */
    Optional<Found> live(Workspace workspace) {
        try {
            return workspace.sandbox().map(engine.sandboxes()::findAny);
        } catch (ForkdException e) {
            if (e.kind() == ForkdException.Kind.NOT_FOUND) {
                return Optional.empty();
            }
            throw e;
        }
    }

    Workspace create(
            Caller caller, SnapshotTag name, SnapshotTag source, boolean ownNetworks, OptionalLong memory, Call call) {
        return alone(name, () -> {
            if (isTaken(name)) {
                throw new HttpFailure(409, "workspace " + name + " exists");
            }
            Failures.requireThere(engine, caller, source);
            String owner = Owners.owner(engine, source).or(caller::owner).orElse(TokenFile.ADMIN);
            return Failures.of(engine, caller, source, () -> {
                Workspace workspace = Workspace.of(owner, name, source, ownNetworks, memory);
                Limits present =
                        engine.store().read(source).manifest().machine().limits();
                Widening.require(caller, present, workspace.limits());
                return wake(caller, workspace, source, call);
            });
        });
    }

    /** Makes its sandbox, which tells whose it is from before it lives: it is found whenever this ends. */
    private Workspace wake(Caller caller, Workspace workspace, SnapshotTag tag, Call call) {
        SpawnRequest request = new SpawnRequest(
                        tag, 1, NetworkRequest.own(workspace.ownNetworks()), workspace.limits(), VolumeConflict.FAIL)
                .ownedBy(Json.text(Wire.object().set(OWNER, workspace.toJson())));
        call.setOwner(Optional.of(workspace.owner()));
        String sandbox = quota.sandboxes(caller, tag, 1, call, () -> engine.spawn(request, call))
                .get(0)
                .id();
        return keep(workspace.running(sandbox), sandbox);
    }

    /** A sandbox that no workspace is written down for would be nobody's. */
    private Workspace keep(Workspace workspace, String sandbox) {
        try {
            return put(workspace);
        } catch (RuntimeException e) {
            SandboxLookup.end(engine, engine.sandboxes().findAny(sandbox));
            throw e;
        }
    }

    Workspace suspend(Caller caller, SnapshotTag name, Call call) {
        find(caller, name);
        return alone(name, () -> {
            Workspace workspace = find(caller, name);
            if (!workspace.is(Status.RUNNING) || workspace.sandbox().isEmpty()) {
                throw new HttpFailure(400, "workspace " + name + " is not running");
            }
            String sandbox = workspace.sandbox().get();
            SnapshotTag tag = stateTag(name);
            try (Branching.Slot slot = branching.take(caller, tag)) {
                if (live(workspace).isEmpty()) {
                    throw new HttpFailure(404, "sandbox " + sandbox + " not found");
                }
                requireOwn(workspace, tag, sandbox);
                BranchRequest request = new BranchRequest(sandbox, Optional.of(tag), false, true, true);
                quota.snapshot(caller, tag, call, () -> Failures.internal(() -> slot.branch(request, call)));
            }
            return endSandbox(put(workspace.suspendedAs(tag)));
        });
    }

    /** A snapshot that happens to have the name is not replaced: it is somebody's. */
    private void requireOwn(Workspace workspace, SnapshotTag tag, String sandbox) {
        Path directory = engine.store().directory(tag);
        boolean own = isOwn(workspace, tag)
                && (workspace.state().equals(Optional.of(tag))
                        // Of a call that was ended before it could be written down.
                        || Provenance.of(directory).map(Provenance::from).equals(Optional.of(sandbox)));
        if (!own && Files.exists(directory.resolve(Snapshot.VMSTATE))) {
            throw new HttpFailure(
                    409, "snapshot " + tag + " exists, and is not of workspace " + workspace.name() + ": remove it");
        }
    }

    /** Whoever removes it leaves its tag to all users. */
    private boolean isOwn(Workspace workspace, SnapshotTag state) {
        return Owners.owner(engine, state).map(workspace.owner()::equals).orElse(true);
    }

    private Workspace endSandbox(Workspace workspace) {
        if (workspace.sandbox().isEmpty()) {
            return workspace;
        }
        live(workspace).ifPresent(found -> SandboxLookup.end(engine, found));
        return put(workspace.withoutSandbox());
    }

    Workspace resume(Caller caller, SnapshotTag name, Call call) {
        find(caller, name);
        return alone(name, () -> {
            Workspace workspace = find(caller, name);
            if (workspace.is(Status.RUNNING) && live(workspace).isPresent()) {
                throw new HttpFailure(400, "workspace " + name + " is running");
            }
            // What it was put to sleep from may have outlived that.
            Workspace asleep = endSandbox(workspace);
            return Failures.internal(() -> wake(caller, asleep, asleep.state().orElse(asleep.source()), call));
        });
    }

    void delete(Caller caller, SnapshotTag name) {
        find(caller, name);
        alone(name, () -> {
            Workspace workspace = find(caller, name);
            try {
                finishDelete(put(workspace.deleted()));
            } catch (RuntimeException e) {
                put(workspace);
                throw e;
            }
            return true;
        });
    }

    private void finishDelete(Workspace workspace) {
        live(workspace).ifPresent(found -> SandboxLookup.end(engine, found));
        workspace
                .state()
                .or(() -> unknownState(workspace))
                .filter(tag -> isOwn(workspace, tag))
                .ifPresent(this::removeState);
        remove(workspace.name());
    }

    /** There is one that was not written down when the service was killed while it put the workspace to sleep. */
    private Optional<SnapshotTag> unknownState(Workspace workspace) {
        SnapshotTag tag = stateTag(workspace.name());
        Optional<String> from = Provenance.of(engine.store().directory(tag)).map(Provenance::from);
        return from.isPresent() && from.equals(workspace.sandbox()) ? Optional.of(tag) : Optional.empty();
    }

    private void removeState(SnapshotTag tag) {
        try {
            engine.snapshots().remove(tag, true);
        } catch (ForkdException e) {
            if (e.kind() != ForkdException.Kind.NOT_FOUND) {
                throw e;
            }
        }
    }

    static boolean isStateTag(SnapshotTag tag) {
        return tag.value().startsWith("ws-") && tag.value().endsWith("-state");
    }

    /** {@code ws-<name>-state}, or, for a name that leaves no room for that, its beginning and a hash of it. */
    static SnapshotTag stateTag(SnapshotTag name) {
        String tag = "ws-" + name + "-state";
        if (tag.length() <= LONGEST_TAG) {
            return new SnapshotTag(tag);
        }
        try {
            byte[] hash =
                    MessageDigest.getInstance("SHA-256").digest(name.value().getBytes(StandardCharsets.US_ASCII));
            return new SnapshotTag("ws-" + name.value().substring(0, LONGEST_BEGINNING) + "-"
                    + HexFormat.of().formatHex(hash, 0, 8) + "-state");
        } catch (NoSuchAlgorithmException e) {
            throw new AssertionError("every Java has SHA-256", e);
        }
    }
}
