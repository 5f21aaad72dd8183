package io.forkd.daemon;

import static io.forkd.http.Handler.forUsers;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.engine.Call;
import io.forkd.engine.Engine;
import io.forkd.engine.Snapshots.Removal;
import io.forkd.http.HttpCall;
import io.forkd.http.HttpFailure;
import io.forkd.http.Metrics;
import io.forkd.http.Response;
import io.forkd.http.Routes;
import io.forkd.snapshot.Snapshot.State;
import io.forkd.snapshot.SnapshotTag;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.util.List;
import java.util.Optional;
import java.util.stream.Stream;

/** {@code /v1/snapshots}: listed, told of, made flat and removed. */
final class SnapshotRoutes {
    private final Engine engine;
    private final SnapshotInfos infos;
    private final Branching branching;
    private final Quota quota;

    SnapshotRoutes(Engine engine, SnapshotInfos infos, Branching branching, Quota quota, Metrics metrics) {
        this.engine = engine;
        this.infos = infos;
        this.branching = branching;
        this.quota = quota;
        metrics.gauge("forkd_snapshots_total", "Snapshots, usable or not.", infos::count);
    }

    void addTo(Routes routes) {
        routes.get("/v1/snapshots", forUsers(call -> Response.json(200, infos.list(call.caller()))));
        routes.delete("/v1/snapshots/:tag", forUsers(this::delete));
        routes.get("/v1/snapshots/:tag/info", forUsers(this::info));
        routes.postJson("/v1/snapshots/:tag/compact", forUsers(this::compact));
    }

    private Response delete(HttpCall http) {
        SnapshotTag tag = Failures.tag(http.parameter("tag"));
        boolean cascade = http.queryFlag("cascade");
        boolean force = http.queryFlag("force");
        if (cascade && force) {
            throw new HttpFailure(400, "cascade and force exclude each other");
        }
        requireThere(http, tag);
        if (!Owners.has(engine, http.caller(), tag)) {
            throw new HttpFailure(403, "snapshot " + tag + " is for all, so only administrators remove it");
        }
        // Sandboxes of it keep running: nobody writes to its files, and they have them mapped.
        Removal removal = engine.snapshots().planRemoval(List.of(tag), cascade, true);
        removal.refused().values().forEach(refusal -> {
            throw refusal;
        });
        if (Stream.concat(removal.all().stream(), removal.orphans().stream())
                .anyMatch(each -> !Owners.has(engine, http.caller(), each))) {
            throw new HttpFailure(409, "snapshot " + tag + " is the parent of snapshots that others have");
        }
        if (!removal.orphans().isEmpty() && !force) {
            throw new HttpFailure(
                    409,
                    "snapshot " + tag + " is the parent of " + removal.orphans()
                            + ": cascade=true removes them, too, force=true leaves them without their parent");
        }
        removal.all().forEach(each -> {
            if (!remove(each, removal) && each.equals(tag)) {
                throw Failures.notFound(tag);
            }
        });
        return Response.empty(204);
    }

    /** False when somebody else has removed it. */
    private boolean remove(SnapshotTag tag, Removal plan) {
        try {
            engine.snapshots().remove(tag, plan, !isWriting(tag));
            return true;
        } catch (ForkdException e) {
            if (e.kind() == Kind.NOT_FOUND) {
                return false;
            }
            throw new HttpFailure(e.kind() == Kind.CONFLICT ? 409 : 500, e.sentence());
        }
    }

    private boolean isWriting(SnapshotTag tag) {
        try {
            return engine.store().state(engine.store().read(tag)) == State.WRITING;
        } catch (ForkdException e) {
            return false;
        }
    }

    private void requireThere(HttpCall http, SnapshotTag tag) {
        Failures.requireThere(engine, http.caller(), tag);
    }

    private Response info(HttpCall http) {
        SnapshotTag tag = Failures.tag(http.parameter("tag"));
        requireThere(http, tag);
        try {
            return Response.json(
                    200, infos.detail(http.caller(), engine.snapshots().info(tag, Calls.of(http, Optional.empty()))));
        } catch (ForkdException e) {
            boolean gone = e.kind() == Kind.NOT_FOUND || e.kind() == Kind.CONFLICT;
            throw gone ? Failures.notFound(tag) : new HttpFailure(500, e.sentence());
        }
    }

    private Response compact(HttpCall http) {
        String target = http.body().text("to");
        SnapshotTag from = Failures.tag(http.parameter("tag"));
        SnapshotTag to = Failures.newTag(http.caller(), target);
        if (from.equals(to)) {
            throw new HttpFailure(400, "the snapshot cannot be compacted to itself");
        }
        if (Files.exists(engine.store().directory(to), LinkOption.NOFOLLOW_LINKS)) {
            throw new HttpFailure(409, "snapshot " + to + " exists");
        }
        requireThere(http, from);
        try (Branching.Slot slot = branching.takeBuild(http.caller(), to)) {
            Call call = Calls.of(http, Optional.empty());
            Failures.of(
                    engine,
                    http.caller(),
                    from,
                    () -> quota.snapshot(http.caller(), to, call, () -> {
                        engine.snapshots().compact(from, to, false, call);
                        return true;
                    }));
            return Response.json(200, infos.info(to));
        }
    }
}
