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
import io.forkd.agent.GuestMetrics;
import io.forkd.agent.GuestStreams;
import io.forkd.agent.RunRequest;
import io.forkd.cgroup.Usage;
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
import io.forkd.sandbox.Found.Known;
import io.forkd.sandbox.Found.Running;
import io.forkd.sandbox.Lifetime;
import io.forkd.sandbox.Naming;
import io.forkd.sandbox.Room;
import io.forkd.sandbox.Sandbox;
import io.forkd.snapshot.Manifest;
import io.forkd.snapshot.Snapshot;
import io.forkd.snapshot.Snapshot.State;
import io.forkd.snapshot.SnapshotTag;
import java.io.ByteArrayInputStream;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Base64;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.Set;
import java.util.function.Function;
import java.util.function.Predicate;
import java.util.function.Supplier;
import java.util.stream.Collectors;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;
import tools.jackson.databind.node.StringNode;

/** {@code /v1/sandboxes}: made, listed, asked and ended. */
final class SandboxRoutes {
    /** How many may be asked for at once. */
    private static final long MOST = 1000;

    /** In seconds; what takes longer belongs into the background of its guest. */
    private static final long LONGEST = Duration.ofDays(7).toSeconds();

    private static final Duration CREATE = Duration.ofMinutes(10);
    private static final long EXEC = 30;
    private static final Duration EVAL = Duration.ofSeconds(30);

    private final Engine engine;
    private final Quota quota;
    private final GuestCalls guests;
    private final Guests streams;
    private final ProcessRoutes processes;
    private final Metrics.Timing times;

    SandboxRoutes(
            Engine engine,
            Quota quota,
            GuestCalls guests,
            Guests streams,
            ProcessRoutes processes,
            Metrics metrics,
            Metrics.Timing times) {
        this.engine = engine;
        this.quota = quota;
        this.guests = guests;
        this.streams = streams;
        this.processes = processes;
        this.times = times;
        metrics.gauge(
                "forkd_sandboxes_active",
                "Sandboxes that live.",
                () -> engine.sandboxes().count());
        gauge(metrics, "forkd_cgroups_memory_bytes", "Memory that sandboxes with a cgroup take.", Usage::memoryBytes);
        gauge(
                metrics,
                "forkd_cgroups_cpu_seconds",
                "Processor time that sandboxes with a cgroup have taken, since there was none.",
                usage -> OptionalLong.of(usage.cpuMicros() / 1_000_000));
        gauge(metrics, "forkd_cgroups_threads", "Threads of sandboxes with a cgroup.", Usage::processes);
        gauge(
                metrics,
                "forkd_cgroups_io_read_bytes",
                "What sandboxes with a cgroup have read from disks, since there was none.",
                Usage::ioReadBytes);
        gauge(
                metrics,
                "forkd_cgroups_io_written_bytes",
                "What sandboxes with a cgroup have written to disks, since there was none.",
                Usage::ioWrittenBytes);
    }

    /** Of all of them, which the kernel adds up. */
    private void gauge(Metrics metrics, String name, String help, Function<Usage, OptionalLong> value) {
        metrics.gauge(
                name,
                help,
                () -> engine.cgroups()
                        .total()
                        .map(usage -> value.apply(usage).orElse(0))
                        .orElse(0L));
    }

    void addTo(Routes routes) {
        routes.get("/v1/sandboxes", forUsers(this::list));
        routes.postJson("/v1/sandboxes", forUsers(this::create));
        routes.delete("/v1/sandboxes", forUsers(this::deleteAll));
        routes.get("/v1/sandboxes/:id", forUsers(this::get));
        routes.delete("/v1/sandboxes/:id", forUsers(this::delete));
        routes.post("/v1/sandboxes/:id/ping", forUsers(this::ping));
        routes.postJson("/v1/sandboxes/:id/exec", forUsers(this::exec));
        routes.postJson("/v1/sandboxes/:id/eval", forUsers(this::eval));
        routes.putJson("/v1/sandboxes/:id/network", forUsers(this::network));
        routes.putJson("/v1/sandboxes/:id/name", forUsers(this::rename));
        routes.putJson("/v1/sandboxes/:id/labels", forUsers(this::label));
        routes.putJson("/v1/sandboxes/:id/timeout", forUsers(this::timeout));
        routes.get("/v1/sandboxes/:id/metrics", forUsers(this::metrics));
        routes.postJson("/v1/sandboxes/:id/fork", forUsers(this::fork));
        routes.post("/v1/sandboxes/:id/pause", forUsers(this::pause));
        routes.post("/v1/sandboxes/:id/resume", forUsers(this::resume));
        routes.post("/v1/sandboxes/:id/reset", forUsers(this::reset));
    }

    private String id(HttpCall http) {
        return SandboxLookup.id(engine, http.caller(), http.parameter("id"));
    }

    private Response list(HttpCall http) {
        Sandboxes sandboxes = engine.sandboxes();
        Predicate<Path> known = directory -> Owners.knows(http.caller(), directory);
        boolean ask = http.queryFlag("ask");
        List<Found> found = ask && http.caller().owner().isPresent()
                ? sandboxes.ask(known)
                : (ask ? sandboxes.ask() : sandboxes.list())
                        .stream().filter(each -> known.test(each.directory())).toList();
        Map<String, Optional<String>> labels = labels(http);
        return Response.json(
                200,
                Wire.array(
                        found.stream()
                                .filter(each -> labels.isEmpty()
                                        || (each instanceof Known one
                                                && one.sandbox().naming().has(labels)))
                                .sorted(Comparator.comparing(Found::id))
                                .toList(),
                        Wire::sandbox));
    }

    /** What the URL says that they are to have: {@code label=key} or {@code label=key=value}, more than once if need be. */
    private static Map<String, Optional<String>> labels(HttpCall http) {
        Map<String, Optional<String>> labels = new LinkedHashMap<>();
        for (String label : http.queries("label")) {
            int equals = label.indexOf('=');
            labels.put(
                    equals < 0 ? label : label.substring(0, equals),
                    equals < 0 ? Optional.empty() : Optional.of(label.substring(equals + 1)));
        }
        return labels;
    }

    private Response get(HttpCall http) {
        String id = id(http);
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
        boolean liveFork = body.flag("live_fork", false);
        // There is nothing that these would have to do.
        body.flag("prewarm", false);
        body.flag("hugepages", false);
        if (count == 0 || count > MOST) {
            throw new HttpFailure(400, "n must be from 1 to " + MOST + ", and is " + count);
        }
        Limits limits = limits(body);
        Lifetime lifetime = lifetime(body);
        Naming naming = naming(body, count);
        SnapshotTag tag = Failures.tag(text);
        Snapshot snapshot = usable(http, tag);
        Widening.require(http.caller(), snapshot.manifest(), limits, network);
        if (liveFork && snapshot.manifest().parent().isPresent()) {
            throw new HttpFailure(400, "live_fork is for snapshots without a parent, and '" + tag + "' has one");
        }
        Call call = Calls.of(http, Optional.of(CREATE));
        List<Sandbox> made = timed("create", () -> {
            try {
                SpawnRequest request = new SpawnRequest(tag, (int) count, network, limits, VolumeConflict.FAIL)
                        .living(lifetime)
                        .called(naming);
                return quota.sandboxes(
                        http.caller(), tag, (int) count, call, () -> engine.spawn(request, snapshot, call));
            } catch (ForkdException e) {
                requireFiles(usable(http, tag)); // That is another answer, when it is why.
                throw Failures.internal(e);
            }
        });
        return Response.json(201, Wire.array(made, sandbox -> Wire.sandbox(new Running(sandbox, false, Room.LEFT))));
    }

    /** Of one that runs, with what it has, as it is now. */
    private Response fork(HttpCall http) {
        Body body = http.body();
        long count = count(body);
        Lifetime lifetime = lifetime(body);
        Naming naming = naming(body, count);
        Sandbox source = usable(http).sandbox();
        if (body.optionalJson("network").isPresent()) {
            // Not left unnoticed as other fields that are none: who gives it counts on it.
            throw new HttpFailure(400, "what is forked of a sandbox has its network; PUT ../network gives another");
        }
        Call call = Calls.of(http, Optional.of(CREATE));
        SpawnRequest like = new SpawnRequest(
                        new SnapshotTag("_"), (int) count, NetworkRequest.OF_HOST, Limits.NONE, VolumeConflict.FAIL)
                .living(lifetime)
                .called(naming);
        List<Sandbox> made = timed(
                "fork",
                () -> SandboxLookup.whileRunning(
                        engine,
                        http.caller(),
                        id(http),
                        () -> quota.sandboxes(
                                http.caller(),
                                Manifest.read(Sandbox.manifest(source.directory())),
                                (int) count,
                                call,
                                () -> engine.fork(source.id(), like, call))));
        return Response.json(201, Wire.array(made, sandbox -> Wire.sandbox(new Running(sandbox, false, Room.LEFT))));
    }

    private static long count(Body body) {
        long count = body.optionalNumber("n", 0, Long.MAX_VALUE).orElse(1);
        if (count == 0 || count > MOST) {
            throw new HttpFailure(400, "n must be from 1 to " + MOST + ", and is " + count);
        }
        return count;
    }

    private static Naming naming(Body body, long count) {
        Naming naming = naming(body);
        if (naming.name().isPresent() && count > 1) {
            throw new HttpFailure(400, "a name is that of one sandbox, and n is " + count);
        }
        return naming;
    }

    static Limits limits(Body body) {
        return Limits.of(limit -> limit(body, limit));
    }

    static OptionalLong limit(Body body, Limit limit) {
        OptionalLong value = body.optionalNumber(limit.field(), limit.decimals());
        if (value.isPresent() && !limit.allows(value.getAsLong())) {
            throw new HttpFailure(
                    400,
                    limit.field() + " must be from " + limit.shown(limit.least()) + " to " + limit.shown(limit.most()));
        }
        return value;
    }

    static Lifetime lifetime(Body body) {
        Optional<Duration> ttl = time(body, Lifetime.TTL, Lifetime.MOST);
        Optional<Duration> idle = time(body, Lifetime.IDLE, Lifetime.MOST);
        boolean pause = body.optionalChoice(Lifetime.ON_TIMEOUT, List.of(Lifetime.KILL, Lifetime.PAUSE))
                .equals(Optional.of(Lifetime.PAUSE));
        try {
            return Lifetime.of(ttl, idle, pause, body.flag(Lifetime.WAKE, false))
                    .freezing(time(body, Lifetime.FREEZE, Lifetime.FREEZE_MOST));
        } catch (ForkdException e) {
            throw Failures.answer(e);
        }
    }

    private static Optional<Duration> time(Body body, String field, long most) {
        OptionalLong seconds = body.optionalNumber(field, 1, most);
        return seconds.isPresent() ? Optional.of(Duration.ofSeconds(seconds.getAsLong())) : Optional.empty();
    }

    static Naming naming(Body body) {
        Map<String, String> labels = new LinkedHashMap<>();
        body.optionalObject(Naming.LABELS)
                .ifPresent(given -> given.names().forEach(key -> labels.put(key, given.text(key))));
        return called(() -> new Naming(body.optionalText(Naming.NAME), labels));
    }

    private static <T> T called(Supplier<T> job) {
        try {
            return job.get();
        } catch (ForkdException e) {
            throw Failures.answer(e);
        }
    }

    private Response rename(HttpCall http) {
        Optional<String> name = http.body().optionalText(Naming.NAME);
        String id = SandboxLookup.find(engine, http.caller(), id(http)).id();
        called(() -> engine.rename(id, name));
        return Response.json(200, Wire.sandbox(SandboxLookup.find(engine, http.caller(), id)));
    }

    /** Those that are null it has no more, and others that are not named it keeps. */
    private Response label(HttpCall http) {
        Body labels = http.body()
                .optionalObject(Naming.LABELS)
                .orElseThrow(() -> new HttpFailure(422, "the field labels is missing"));
        Map<String, Optional<String>> changes = new LinkedHashMap<>();
        labels.names().forEach(key -> changes.put(key, labels.optionalText(key)));
        String id = SandboxLookup.find(engine, http.caller(), id(http)).id();
        called(() -> engine.label(id, changes));
        return Response.json(200, Wire.sandbox(SandboxLookup.find(engine, http.caller(), id)));
    }

    private Response timeout(HttpCall http) {
        Lifetime lifetime = lifetime(http.body());
        String id = SandboxLookup.find(engine, http.caller(), id(http)).id();
        whileThere(http, () -> engine.setLifetime(id, lifetime));
        return Response.json(200, Wire.sandbox(SandboxLookup.find(engine, http.caller(), id)));
    }

    static Optional<NetworkPolicy> policy(Body body) {
        try {
            return body.optionalJson("network").map(NetworkPolicy::of);
        } catch (ForkdException e) {
            throw Failures.answer(e);
        }
    }

    private Response network(HttpCall http) {
        NetworkPolicy policy =
                policy(http.body()).orElseThrow(() -> new HttpFailure(422, "the field network is missing"));
        SandboxLookup.running(engine, http.caller(), id(http));
        Sandbox changed = timed(
                "network",
                () -> whileThere(
                        http,
                        () -> engine.sandboxes().setNetwork(id(http), present -> {
                            Widening.require(http.caller(), present, policy);
                            return policy;
                        })));
        return Response.json(200, Wire.sandbox(new Running(changed, false, Room.LEFT)));
    }

    private Snapshot usable(HttpCall http, SnapshotTag tag) {
        return usable(engine, http, tag);
    }

    /** A snapshot that children can be made of, by what its manifest and its state say. */
    static Snapshot usable(Engine engine, HttpCall http, SnapshotTag tag) {
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

    /** Those that are named, and those that have the labels. */
    private Response deleteAll(HttpCall http) {
        Set<String> named = http.queries("id").stream()
                .map(id -> SandboxLookup.id(engine, http.caller(), id))
                .collect(Collectors.toCollection(LinkedHashSet::new));
        Map<String, Optional<String>> labels = labels(http);
        if (named.isEmpty() && labels.isEmpty()) {
            throw new HttpFailure(400, "say which sandboxes: id=ID, or label=KEY=VALUE, more than once if need be");
        }
        ArrayNode answer = JsonNodeFactory.instance.arrayNode();
        List<Found> all = new ArrayList<>();
        for (String id : named) {
            try {
                all.add(SandboxLookup.find(engine, http.caller(), id));
            } catch (HttpFailure e) {
                answer.addObject().put("id", id).put("success", false).put("error", e.getMessage());
            }
        }
        if (!labels.isEmpty()) {
            engine.sandboxes().list().stream()
                    .filter(found -> Owners.knows(http.caller(), found.directory())
                            && found instanceof Known known
                            && known.sandbox().naming().has(labels)
                            && !named.contains(found.id()))
                    .forEach(all::add);
        }
        List<Optional<ForkdException>> failures =
                timed("kill", () -> engine.sandboxes().kill(all, Calls.toTheEnd()));
        for (int i = 0; i < all.size(); i++) {
            ObjectNode each = answer.addObject().put("id", all.get(i).id());
            each.put("success", failures.get(i).isEmpty());
            failures.get(i).ifPresent(e -> each.put("error", e.sentence()));
        }
        return Response.json(200, answer);
    }

    private Response delete(HttpCall http) {
        Found found = SandboxLookup.find(engine, http.caller(), id(http));
        timed("kill", () -> {
            SandboxLookup.end(engine, found);
            return true;
        });
        return Response.empty(204);
    }

    /** Done to its end, whoever waits for it: it is on the disk, or runs. */
    private Response pause(HttpCall http) {
        String id = SandboxLookup.find(engine, http.caller(), id(http)).id();
        return Response.json(
                200,
                Wire.sandbox(timed(
                        "pause",
                        () -> SandboxLookup.whileRunning(
                                engine, http.caller(), id, () -> engine.pause(id, Calls.toTheEnd())))));
    }

    private Response resume(HttpCall http) {
        String id = SandboxLookup.find(engine, http.caller(), id(http)).id();
        Call call = Calls.of(http, Optional.of(CREATE));
        Sandbox resumed = timed("resume", () -> whileThere(http, () -> engine.resume(id, call)));
        return Response.json(200, Wire.sandbox(new Running(resumed, false, Room.LEFT)));
    }

    private <T> T whileThere(HttpCall http, Supplier<T> job) {
        return SandboxLookup.whileThere(engine, http.caller(), id(http), job);
    }

    /** Done to its end, whoever waits for it: it is as it was made, or has ended. */
    private Response reset(HttpCall http) {
        String id = SandboxLookup.running(engine, http.caller(), id(http)).id();
        Sandbox reset = timed("reset", () -> whileThere(http, () -> engine.reset(id, Calls.toTheEnd())));
        return Response.json(200, Wire.sandbox(new Running(reset, false, Room.LEFT)));
    }

    private Known usable(HttpCall http) {
        return SandboxLookup.usable(engine, http.caller(), id(http));
    }

    /** Of the host, and of its guest only when that is wanted: it has to be asked. */
    private Response metrics(HttpCall http) {
        boolean ask = http.queryFlag("guest");
        Found found = SandboxLookup.find(engine, http.caller(), id(http));
        Optional<GuestMetrics> guest = ask
                ? Optional.of(streams.ask(http, streams.sandbox(http, found.id()), GuestStreams::metrics))
                : Optional.empty();
        return Response.json(200, Wire.metrics(found, engine.sandboxes().figures(found.id()), guest));
    }

    private Response ping(HttpCall http) {
        return Response.json(200, asked("ping", http, usable(http), AgentClient::ping));
    }

    private Response exec(HttpCall http) {
        Body body = http.body();
        List<String> arguments = body.texts("args");
        OptionalLong seconds = body.optionalNumber("timeout_secs", 0, Long.MAX_VALUE);
        Map<String, String> variables = variables(body);
        Optional<String> directory = body.optionalText("cwd");
        Optional<String> user = body.optionalText("user");
        Optional<byte[]> input = input(body);
        Optional<String> tag = body.optionalText("tag");
        boolean detach = body.flag("detach", false);
        boolean stream = body.flag("stream", false)
                || http.header("Accept")
                        .filter(types -> types.contains(Wire.LINES))
                        .isPresent();
        Known sandbox = usable(http);
        if (arguments.isEmpty()) {
            throw new HttpFailure(400, "args is empty");
        }
        if (seconds.orElse(0) > LONGEST) {
            throw new HttpFailure(400, "timeout_secs is at most " + LONGEST);
        }
        if (stream || detach) {
            RunRequest request = new RunRequest(
                    arguments,
                    variables,
                    directory,
                    user,
                    input.isPresent(),
                    Optional.empty(),
                    seconds.isPresent() ? Optional.of(Duration.ofSeconds(seconds.getAsLong())) : Optional.empty(),
                    tag,
                    detach);
            return stream
                    ? processes.run(http, sandbox, request, input)
                    : processes.start(http, sandbox, request, input);
        }
        if (tag.isPresent()) {
            throw new HttpFailure(400, "a tag is for a command with stream or detach: this one ends with its call");
        }
        GuestCommand command = new GuestCommand(
                arguments,
                Optional.of(Duration.ofSeconds(seconds.orElse(EXEC))),
                variables,
                directory,
                user,
                input.<InputStream>map(ByteArrayInputStream::new));
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

    private static Optional<byte[]> input(Body body) {
        Optional<byte[]> text = body.optionalText("stdin").map(value -> value.getBytes(StandardCharsets.UTF_8));
        Optional<byte[]> bytes = body.optionalText("stdin_base64").map(value -> {
            try {
                return Base64.getDecoder().decode(value);
            } catch (IllegalArgumentException e) {
                throw new HttpFailure(422, "the field stdin_base64 must be base64: " + e.getMessage());
            }
        });
        if (text.isPresent() && bytes.isPresent()) {
            throw new HttpFailure(400, "stdin and stdin_base64 do not go together");
        }
        return text.or(() -> bytes);
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
        Known sandbox = usable(http);
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
    private <T> T asked(String operation, HttpCall http, Known sandbox, Function<AgentClient, T> question) {
        Call call = Calls.of(http, Optional.empty());
        return guests.ask(http.caller().owner(), sandbox.id(), () -> {
            try (Engine.Use used = SandboxLookup.use(engine, http.caller(), sandbox, call)) {
                engine.sandboxes().giveVolumesBack(sandbox.id());
                AgentClient agent =
                        new AgentClient(new AgentAddress.Vsock(used.sandbox().vsock()));
                return timed(operation, () -> call.interruptibly(() -> question.apply(agent)));
            } catch (ForkdException e) {
                throw new HttpFailure(
                        500,
                        e.sentence()
                                + noRoom(sandbox).map("; "::concat).orElse("")
                                + SandboxLookup.whyKilled(engine, http.caller(), sandbox.id()));
            }
        });
    }

    /** Of what failed, that may be the reason; of what did not, nobody has to be asked. */
    private Optional<String> noRoom(Known sandbox) {
        return engine.sandboxes().room(sandbox.id()).problem("sandbox " + sandbox.id(), Limit.DISK.field());
    }

    private <T> T timed(String operation, Supplier<T> job) {
        long start = System.nanoTime();
        T result = job.get();
        times.observe(System.nanoTime() - start, operation);
        return result;
    }
}
