package io.forkd.daemon;

import static io.forkd.http.Handler.forUsers;

import io.forkd.ForkdException;
import io.forkd.Json;
import io.forkd.Limit;
import io.forkd.Limits;
import io.forkd.agent.AgentAddress;
import io.forkd.agent.AgentClient;
import io.forkd.agent.AgentClient.Evaluation;
import io.forkd.agent.CommandFailed;
import io.forkd.agent.GuestCommand;
import io.forkd.engine.Call;
import io.forkd.engine.Engine;
import io.forkd.engine.NetworkRequest;
import io.forkd.engine.Sandboxes;
import io.forkd.engine.SpawnRequest;
import io.forkd.engine.VolumeConflict;
import io.forkd.http.Body;
import io.forkd.http.HttpCall;
import io.forkd.http.HttpFailure;
import io.forkd.http.Metrics;
import io.forkd.http.Response;
import io.forkd.http.Routes;
import io.forkd.network.NetworkPolicy;
import io.forkd.sandbox.Found;
import io.forkd.sandbox.Found.Running;
import io.forkd.sandbox.Room;
import io.forkd.sandbox.Sandbox;
import io.forkd.snapshot.Snapshot;
import io.forkd.snapshot.Snapshot.State;
import io.forkd.snapshot.SnapshotTag;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.function.Function;
import java.util.function.Predicate;
import java.util.function.Supplier;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.node.ObjectNode;
import tools.jackson.databind.node.StringNode;

/** {@code /v1/sandboxes}: made, listed, asked and ended. */
final class SandboxRoutes {
    /** How many may be asked for at once. */
    private static final long MOST = 1000;

    /** In seconds; what takes longer belongs into the background of its guest. */
    private static final long LONGEST = Duration.ofDays(7).toSeconds();

    private static final long MOST_MIB = 1L << 40;
    private static final Duration CREATE = Duration.ofMinutes(10);
    private static final Duration EVAL = Duration.ofSeconds(30);

    private final Engine engine;
    private final Quota quota;
    private final GuestCalls guests;
    private final Metrics.Timing times;

    SandboxRoutes(Engine engine, Quota quota, GuestCalls guests, Metrics metrics) {
        this.engine = engine;
        this.quota = quota;
        this.guests = guests;
        this.times = metrics.timing("forkd_operation_seconds", "How long operations on sandboxes take.", "operation");
        metrics.gauge(
                "forkd_sandboxes_active",
                "Sandboxes that live.",
                () -> engine.sandboxes().count());
    }

    void addTo(Routes routes) {
        routes.get("/v1/sandboxes", forUsers(this::list));
        routes.postJson("/v1/sandboxes", forUsers(this::create));
        routes.get("/v1/sandboxes/:id", forUsers(this::get));
        routes.delete("/v1/sandboxes/:id", forUsers(this::delete));
        routes.post("/v1/sandboxes/:id/ping", forUsers(this::ping));
        routes.postJson("/v1/sandboxes/:id/exec", forUsers(this::exec));
        routes.postJson("/v1/sandboxes/:id/eval", forUsers(this::eval));
        routes.putJson("/v1/sandboxes/:id/network", forUsers(this::network));
    }

    private Response list(HttpCall http) {
        Sandboxes sandboxes = engine.sandboxes();
        Predicate<Path> known = directory -> Owners.knows(http.caller(), directory);
        boolean ask = http.queryFlag("ask");
        List<Found> found = ask && http.caller().owner().isPresent()
                ? sandboxes.ask(known)
                : (ask ? sandboxes.ask() : sandboxes.list())
                        .stream().filter(each -> known.test(each.directory())).toList();
        return Response.json(
                200,
                Wire.array(
                        found.stream().sorted(Comparator.comparing(Found::id)).toList(), Wire::sandbox));
    }

    private Response get(HttpCall http) {
        String id = http.parameter("id");
        return Response.json(
                200,
                Wire.sandbox(
                        http.queryFlag("ask")
                                ? SandboxLookup.ask(engine, http.caller(), id)
                                : SandboxLookup.find(engine, http.caller(), id)));
    }

    private Response create(HttpCall http) {
        Body body = http.body();
        String text = body.text("snapshot_tag");
        long count = body.optionalNumber("n", 0, Long.MAX_VALUE).orElse(1);
        NetworkRequest network = new NetworkRequest(body.flag("per_child_netns", false), policy(body));
        OptionalLong memory = body.optionalNumber("memory_limit_mib", 0, Long.MAX_VALUE);
        boolean liveFork = body.flag("live_fork", false);
        // There is nothing that these would have to do.
        body.flag("prewarm", false);
        body.flag("hugepages", false);
        if (count == 0 || count > MOST) {
            throw new HttpFailure(400, "n must be from 1 to " + MOST + ", and is " + count);
        }
        requireMemoryLimit(memory);
        Limits limits = limits(body);
        SnapshotTag tag = Failures.tag(text);
        Snapshot snapshot = usable(http, tag);
        Widening.require(http.caller(), snapshot.manifest().machine().limits(), limits);
        network.policy()
                .ifPresent(policy -> Widening.require(
                        http.caller(), snapshot.manifest().network().orElse(NetworkPolicy.INTERNET), policy));
        if (liveFork && snapshot.manifest().parent().isPresent()) {
            throw new HttpFailure(400, "live_fork is for snapshots without a parent, and '" + tag + "' has one");
        }
        Call call = Calls.of(http, Optional.of(CREATE));
        List<Sandbox> made = timed("create", () -> {
            try {
                SpawnRequest request = new SpawnRequest(tag, (int) count, network, memory, limits, VolumeConflict.FAIL);
                return quota.sandboxes(http.caller(), tag, (int) count, call, () -> engine.spawn(request, call));
            } catch (ForkdException e) {
                requireFiles(usable(http, tag)); // That is another answer, when it is why.
                throw Failures.internal(e);
            }
        });
        return Response.json(201, Wire.array(made, sandbox -> Wire.sandbox(new Running(sandbox, false, Room.LEFT))));
    }

    static Limits limits(Body body) {
        Limits limits = Limits.of(limit -> body.optionalNumber(limit.field(), 0, Long.MAX_VALUE));
        limits.values().forEach((limit, value) -> {
            if (!limit.allows(value)) {
                throw new HttpFailure(400, limit.field() + " must be from " + limit.least() + " to " + limit.most());
            }
        });
        return limits;
    }

    private static Optional<NetworkPolicy> policy(Body body) {
        try {
            return body.optionalJson("network").map(NetworkPolicy::of);
        } catch (ForkdException e) {
            throw Failures.answer(e);
        }
    }

    private Response network(HttpCall http) {
        NetworkPolicy policy =
                policy(http.body()).orElseThrow(() -> new HttpFailure(422, "the field network is missing"));
        SandboxLookup.running(engine, http.caller(), http.parameter("id"));
        Sandbox changed = timed(
                "network",
                () -> Failures.internal(() -> engine.sandboxes().setNetwork(http.parameter("id"), present -> {
                    Widening.require(http.caller(), present, policy);
                    return policy;
                })));
        return Response.json(200, Wire.sandbox(new Running(changed, false, Room.LEFT)));
    }

    static void requireMemoryLimit(OptionalLong mib) {
        if (mib.isPresent() && (mib.getAsLong() == 0 || mib.getAsLong() > MOST_MIB)) {
            throw new HttpFailure(400, "memory_limit_mib must be from 1 to " + MOST_MIB);
        }
    }

    /** A snapshot that children can be made of, by what its manifest and its state say. */
    private Snapshot usable(HttpCall http, SnapshotTag tag) {
        Failures.requireThere(engine, http.caller(), tag);
        try {
            Snapshot snapshot = engine.store().read(tag);
            State state = engine.store().state(snapshot);
            if (state == State.WRITING) {
                throw new HttpFailure(409, "snapshot " + tag + " is not ready: it is writing");
            }
            if (state == State.FAILED) {
                throw new HttpFailure(
                        409,
                        "snapshot " + tag + " is failed: "
                                + snapshot.directory().resolve(Snapshot.VMSTATE) + " is missing");
            }
            return snapshot;
        } catch (ForkdException e) {
            throw unusable(tag, e);
        }
    }

    private static void requireFiles(Snapshot snapshot) {
        try {
            snapshot.check().requireImages();
        } catch (ForkdException e) {
            throw unusable(snapshot.tag(), e);
        }
    }

    private static HttpFailure unusable(SnapshotTag tag, ForkdException e) {
        return new HttpFailure(409, "snapshot " + tag + " cannot be used: " + e.sentence());
    }

    private Response delete(HttpCall http) {
        Found found = SandboxLookup.find(engine, http.caller(), http.parameter("id"));
        timed("kill", () -> {
            SandboxLookup.end(engine, found);
            return true;
        });
        return Response.empty(204);
    }

    private Sandbox running(HttpCall http) {
        return SandboxLookup.running(engine, http.caller(), http.parameter("id"));
    }

    private Response ping(HttpCall http) {
        return Response.json(200, asked("ping", http, running(http), AgentClient::ping));
    }

    private Response exec(HttpCall http) {
        Body body = http.body();
        List<String> arguments = body.texts("args");
        long seconds = body.optionalNumber("timeout_secs", 0, Long.MAX_VALUE).orElse(30);
        Map<String, String> variables = variables(body);
        Optional<String> directory = body.optionalText("cwd");
        Optional<String> user = body.optionalText("user");
        Sandbox sandbox = running(http);
        if (arguments.isEmpty()) {
            throw new HttpFailure(400, "args is empty");
        }
        if (seconds > LONGEST) {
            throw new HttpFailure(400, "timeout_secs is at most " + LONGEST);
        }
        GuestCommand command = new GuestCommand(
                arguments, Optional.of(Duration.ofSeconds(seconds)), variables, directory, user, Optional.empty());
        Collected output = new Collected();
        try {
            int code = asked("exec", http, sandbox, agent -> {
                try {
                    return agent.exec(command, output);
                } catch (CommandFailed e) {
                    output.note(e.sentence());
                    return e.exitStatus();
                }
            });
            return Response.pieces(
                    200, "application/json", output.answer(code, code == 0 ? Optional.empty() : noRoom(sandbox)));
        } catch (Throwable e) {
            output.close();
            throw e;
        }
    }

    private static Map<String, String> variables(Body body) {
        Map<String, String> variables = new LinkedHashMap<>();
        body.optionalObject("env")
                .ifPresent(given -> given.names().forEach(name -> variables.put(name, given.text(name))));
        return variables;
    }

    private Response eval(HttpCall http) {
        String code = http.body().text("code");
        long seconds = http.body().optionalNumber("timeout_secs", 0, LONGEST).orElse(EVAL.toSeconds());
        Sandbox sandbox = running(http);
        Evaluation evaluation =
                asked("eval", http, sandbox, agent -> agent.eval(code, Optional.of(Duration.ofSeconds(seconds))));
        if (evaluation instanceof Evaluation.Failure failure) {
            ObjectNode answer = Wire.object()
                    .putNull("result")
                    .put("error", failure.error())
                    .put("exit_code", failure.exitStatus());
            if (!failure.trace().isEmpty()) {
                answer.put("traceback", failure.trace());
            }
            noRoom(sandbox).ifPresent(why -> answer.put("warning", why));
            return Response.json(200, answer);
        }
        Evaluation.Value value = (Evaluation.Value) evaluation;
        // As it is: a tree of it would take many times the room.
        String result = value.isJson() ? json(value.text()) : Json.text(StringNode.valueOf(value.text()));
        return Response.text(200, "application/json", "{\"result\":" + result + ",\"error\":null,\"exit_code\":0}");
    }

    private static String json(String text) {
        try {
            Json.check(text.getBytes(StandardCharsets.UTF_8));
            return text;
        } catch (JacksonException e) {
            throw new HttpFailure(500, "the agent answered with a result that is no JSON");
        }
    }

    /** What a guest answers, which has its volumes again. Whatever goes wrong with it is no fault of the request. */
    private <T> T asked(String operation, HttpCall http, Sandbox sandbox, Function<AgentClient, T> question) {
        Call call = Calls.of(http, Optional.empty());
        return guests.ask(sandbox.id(), () -> {
            try {
                engine.sandboxes().giveVolumesBack(sandbox.id());
                AgentClient agent = new AgentClient(new AgentAddress.Vsock(sandbox.vsock()));
                return timed(operation, () -> call.interruptibly(() -> question.apply(agent)));
            } catch (ForkdException e) {
                throw new HttpFailure(
                        500, e.sentence() + noRoom(sandbox).map("; "::concat).orElse(""));
            }
        });
    }

    /** Of what failed, that may be the reason; of what did not, nobody has to be asked. */
    private Optional<String> noRoom(Sandbox sandbox) {
        return engine.sandboxes().room(sandbox.id()).problem("sandbox " + sandbox.id(), Limit.DISK.field());
    }

    private <T> T timed(String operation, Supplier<T> job) {
        long start = System.nanoTime();
        T result = job.get();
        times.observe(System.nanoTime() - start, operation);
        return result;
    }
}
