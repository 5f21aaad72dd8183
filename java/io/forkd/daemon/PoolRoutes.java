package io.forkd.daemon;

import static io.forkd.http.Handler.forUsers;

import io.forkd.ForkdException;
import io.forkd.Limits;
import io.forkd.engine.Call;
import io.forkd.engine.Engine;
import io.forkd.engine.NetworkRequest;
import io.forkd.engine.Pool;
import io.forkd.engine.Pools;
import io.forkd.engine.SpawnRequest;
import io.forkd.engine.VolumeConflict;
import io.forkd.http.Body;
import io.forkd.http.HttpCall;
import io.forkd.http.HttpFailure;
import io.forkd.http.Metrics;
import io.forkd.http.Response;
import io.forkd.http.Routes;
import io.forkd.sandbox.Found;
import io.forkd.sandbox.Found.Running;
import io.forkd.sandbox.Naming;
import io.forkd.sandbox.Room;
import io.forkd.sandbox.Sandbox;
import io.forkd.snapshot.Snapshot;
import io.forkd.snapshot.SnapshotTag;
import java.time.Duration;
import java.util.Optional;
import java.util.function.Supplier;
import tools.jackson.databind.node.ObjectNode;

/** {@code /v1/pools}, and what is given back to them. */
final class PoolRoutes {
    private static final Duration TAKE = Duration.ofMinutes(10);

    private final Engine engine;
    private final Metrics.Timing times;

    PoolRoutes(Engine engine, Metrics.Timing times) {
        this.engine = engine;
        this.times = times;
    }

    void addTo(Routes routes) {
        routes.get("/v1/pools", forUsers(this::list));
        routes.get("/v1/pools/:name", forUsers(this::get));
        routes.putJson("/v1/pools/:name", forUsers(this::put));
        routes.delete("/v1/pools/:name", forUsers(this::delete));
        routes.postJson("/v1/pools/:name/take", forUsers(this::take));
        routes.post("/v1/sandboxes/:id/give-back", forUsers(this::giveBack));
    }

    private Response list(HttpCall http) {
        return Response.json(
                200,
                Wire.array(
                        engine.pools().list().stream()
                                .filter(each -> http.caller().owner().isEmpty()
                                        || http.caller()
                                                .owner()
                                                .equals(each.pool().owner()))
                                .toList(),
                        PoolRoutes::info));
    }

    private static ObjectNode info(Pools.Status status) {
        ObjectNode node = status.pool().put(Wire.object());
        status.pool().owner().ifPresentOrElse(owner -> node.put("owner", owner), () -> node.putNull("owner"));
        node.put("ready", status.ready()).put("taken", status.taken());
        status.problem().ifPresentOrElse(why -> node.put("problem", why), () -> node.putNull("problem"));
        return node;
    }

    /** One of the caller's, or of the user whom an administrator names. */
    private Pools.Status find(HttpCall http) {
        Optional<String> owner = http.caller().owner().or(() -> http.query("owner"));
        String name = http.parameter("name");
        return engine.pools().list().stream()
                .filter(each ->
                        each.pool().owner().equals(owner) && each.pool().name().equals(name))
                .findFirst()
                .orElseThrow(() -> notFound(name));
    }

    private static HttpFailure notFound(String name) {
        return new HttpFailure(404, "pool " + name + " not found");
    }

    private Response get(HttpCall http) {
        return Response.json(200, info(find(http)));
    }

    private Response put(HttpCall http) {
        Body body = http.body();
        String text = body.text("snapshot_tag");
        long size = body.optionalNumber("size", 0, Long.MAX_VALUE).orElse(1);
        NetworkRequest network = new NetworkRequest(body.flag("per_child_netns", false), SandboxRoutes.policy(body));
        Limits limits = SandboxRoutes.limits(body);
        SpawnRequest like = new SpawnRequest(Failures.tag(text), 1, network, limits, VolumeConflict.FAIL)
                .living(SandboxRoutes.lifetime(body))
                .called(new Naming(Optional.empty(), SandboxRoutes.naming(body).labels()));
        SnapshotTag tag = like.tag();
        Snapshot snapshot = SandboxRoutes.usable(engine, http, tag);
        Widening.require(http.caller(), snapshot.manifest(), limits, network);
        if (size < 1 || size > Pool.MOST) {
            throw new HttpFailure(400, "size must be from 1 to " + Pool.MOST + ", and is " + size);
        }
        Call call = Calls.of(http, Optional.empty());
        return Response.json(
                200,
                info(Failures.of(
                        engine,
                        http.caller(),
                        tag,
                        () -> answered(() -> engine.pools().put(http.parameter("name"), (int) size, like, call)))));
    }

    /** A wrong name is the client's, and so is what the snapshot does not go with. */
    private static <T> T answered(Supplier<T> job) {
        try {
            return job.get();
        } catch (ForkdException e) {
            if (e.kind() == ForkdException.Kind.USAGE) {
                throw Failures.answer(e);
            }
            throw e;
        }
    }

    private Response delete(HttpCall http) {
        Pool pool = find(http).pool();
        try {
            engine.pools().delete(pool.owner(), pool.name());
        } catch (ForkdException e) {
            throw e.kind() == ForkdException.Kind.NOT_FOUND ? notFound(pool.name()) : Failures.internal(e);
        }
        return Response.empty(204);
    }

    private Response take(HttpCall http) {
        Naming naming = SandboxRoutes.naming(http.body());
        String name = http.parameter("name");
        Call call = Calls.of(http, Optional.of(TAKE));
        long start = System.nanoTime();
        Sandbox taken;
        try {
            taken = engine.pools().take(http.caller().owner(), name, naming, call);
        } catch (ForkdException e) {
            if (e.kind() == ForkdException.Kind.NOT_FOUND && !isThere(http, name)) {
                throw notFound(name);
            }
            throw e.kind() == ForkdException.Kind.NOT_FOUND ? new HttpFailure(409, e.sentence()) : Failures.internal(e);
        }
        times.observe(System.nanoTime() - start, "take");
        return Response.json(201, Wire.sandbox(new Running(taken, false, Room.LEFT)));
    }

    private boolean isThere(HttpCall http, String name) {
        try {
            engine.pools().find(http.caller().owner(), name);
            return true;
        } catch (ForkdException e) {
            return false;
        }
    }

    /** Done to its end, whoever waits for it. */
    private Response giveBack(HttpCall http) {
        Found found = SandboxLookup.find(
                engine, http.caller(), SandboxLookup.id(engine, http.caller(), http.parameter("id")));
        long start = System.nanoTime();
        SandboxLookup.whileThere(engine, http.caller(), found.id(), () -> {
            engine.pools().giveBack(found.id(), Calls.toTheEnd());
            return true;
        });
        times.observe(System.nanoTime() - start, "give_back");
        return Response.empty(204);
    }
}
