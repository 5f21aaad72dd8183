package io.forkd.daemon;

import static io.forkd.http.Handler.forUsers;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.engine.Call;
import io.forkd.engine.Engine;
import io.forkd.http.HttpCall;
import io.forkd.http.HttpFailure;
import io.forkd.http.Metrics;
import io.forkd.http.Response;
import io.forkd.http.Routes;
import io.forkd.snapshot.SnapshotTag;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.util.Optional;

/** {@code /v1/snapshots}: listed, told of, made flat and removed. */
final class SnapshotRoutes {
    private final Engine engine;
    private final SnapshotInfos infos;
    private final Branching branching;
    private final Quota quota;
    private final Removals removals;

    SnapshotRoutes(
            Engine engine, SnapshotInfos infos, Branching branching, Quota quota, Removals removals, Metrics metrics) {
        this.engine = engine;
        this.infos = infos;
        this.branching = branching;
        this.quota = quota;
        this.removals = removals;
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
        removals.remove(http.caller(), tag, cascade, force);
        return Response.empty(204);
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
                        engine.snapshots().compact(from, to, call);
                        return true;
                    }));
            return Response.json(200, infos.info(to));
        }
    }
}
