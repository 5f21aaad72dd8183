package io.forkd.daemon;

import io.forkd.ForkdException;
import io.forkd.engine.BranchRequest;
import io.forkd.engine.Call;
import io.forkd.engine.Engine;
import io.forkd.engine.SpawnRequest;
import io.forkd.engine.VolumeConflict;
import io.forkd.http.HttpFailure;
import io.forkd.sandbox.Found;
import io.forkd.sandbox.Sandbox;
import io.forkd.snapshot.SnapshotTag;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.time.Instant;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.Supplier;

/**
 * Sandboxes with a name, which sleep as a snapshot. What one was last put to sleep as stays until the next is on the disk,
 * and its sandbox lives until then: no failure loses what was done in it.
 */
final class Workspaces {
    private static final int LONGEST_TAG = 64;
    private static final int LONGEST_BEGINNING = 38;

    private final Engine engine;
    private final Branching branching;
    private final StateFile file;

    /** Guarded by this. */
    private final Map<SnapshotTag, Workspace> all = new TreeMap<>();

    /** Those that something is being done with. */
    private final Set<SnapshotTag> busy = ConcurrentHashMap.newKeySet();

    /** Ends sandboxes, too, that were put to sleep and then not ended, since the service was. */
    Workspaces(Engine engine, Branching branching, StateFile file) {
        this.engine = engine;
        this.branching = branching;
        this.file = file;
        file.read().forEach(workspace -> all.put(workspace.name(), workspace));
        List.copyOf(all.values()).stream().filter(Workspace::suspended).forEach(this::endSandbox);
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

    synchronized List<Workspace> list() {
        return List.copyOf(all.values());
    }

    synchronized Workspace find(SnapshotTag name) {
        return Optional.ofNullable(all.get(name))
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
            return Optional.empty();
        }
    }

    Workspace create(SnapshotTag name, SnapshotTag source, boolean ownNetworks, OptionalLong memory, Call call) {
        return alone(name, () -> {
            if (isTaken(name)) {
                throw new HttpFailure(409, "workspace " + name + " exists");
            }
            Sandbox sandbox = spawn(source, ownNetworks, memory, call);
            String id = sandbox.id();
            Instant now = Instant.now();
            return keep(
                    new Workspace(
                            "ws-" + id.substring(0, Math.min(16, id.length())),
                            name,
                            source,
                            false,
                            now,
                            now,
                            Optional.empty(),
                            Optional.of(id),
                            ownNetworks,
                            memory),
                    id);
        });
    }

    private Sandbox spawn(SnapshotTag tag, boolean ownNetworks, OptionalLong memory, Call call) {
        try {
            return engine.spawn(new SpawnRequest(tag, 1, ownNetworks, memory, VolumeConflict.FAIL), call)
                    .get(0);
        } catch (ForkdException e) {
            throw new HttpFailure(500, e.sentence());
        }
    }

    /** A sandbox that no workspace is written down for would be nobody's. */
    private Workspace keep(Workspace workspace, String sandbox) {
        try {
            return put(workspace);
        } catch (RuntimeException e) {
            kill(engine.sandboxes().findAny(sandbox));
            throw e;
        }
    }

    private void kill(Found found) {
        engine.sandboxes()
                .kill(List.of(found), Calls.toTheEnd())
                .forEach(failed -> failed.ifPresent(e -> {
                    throw e;
                }));
    }

    Workspace suspend(SnapshotTag name, Call call) {
        return alone(name, () -> {
            Workspace workspace = find(name);
            if (workspace.suspended() || workspace.sandbox().isEmpty()) {
                throw new HttpFailure(400, "workspace " + name + " is not running");
            }
            String sandbox = workspace.sandbox().get();
            SnapshotTag tag = stateTag(name);
            try (Branching.Slot slot = branching.take(tag)) {
                if (live(workspace).isEmpty()) {
                    throw new HttpFailure(404, "sandbox " + sandbox + " not found");
                }
                slot.branch(new BranchRequest(sandbox, Optional.of(tag), false, true, true), call);
            }
            return endSandbox(put(workspace.suspendedAs(tag)));
        });
    }

    private Workspace endSandbox(Workspace workspace) {
        if (workspace.sandbox().isEmpty()) {
            return workspace;
        }
        live(workspace).ifPresent(this::kill);
        return put(workspace.withoutSandbox());
    }

    Workspace resume(SnapshotTag name, Call call) {
        return alone(name, () -> {
            Workspace workspace = find(name);
            if (!workspace.suspended() && live(workspace).isPresent()) {
                throw new HttpFailure(400, "workspace " + name + " is running");
            }
            String sandbox = spawn(
                            workspace.state().orElse(workspace.source()),
                            workspace.ownNetworks(),
                            workspace.memoryLimitMib(),
                            call)
                    .id();
            return keep(workspace.running(sandbox), sandbox);
        });
    }

    void delete(SnapshotTag name) {
        alone(name, () -> {
            endSandbox(find(name)).state().ifPresent(this::removeState);
            remove(name);
            return true;
        });
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
