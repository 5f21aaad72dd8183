package io.forkd.daemon.e2b;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.Json;
import io.forkd.Limits;
import io.forkd.daemon.Branching;
import io.forkd.daemon.Calls;
import io.forkd.daemon.Failures;
import io.forkd.daemon.Guests;
import io.forkd.daemon.Quota;
import io.forkd.daemon.SandboxLookup;
import io.forkd.daemon.Widening;
import io.forkd.engine.Attempt;
import io.forkd.engine.BranchRequest;
import io.forkd.engine.Call;
import io.forkd.engine.Engine;
import io.forkd.engine.NetworkRequest;
import io.forkd.engine.SpawnRequest;
import io.forkd.engine.VolumeConflict;
import io.forkd.http.Body;
import io.forkd.http.Caller;
import io.forkd.http.Handler;
import io.forkd.http.HttpCall;
import io.forkd.http.HttpFailure;
import io.forkd.http.Response;
import io.forkd.http.Routes;
import io.forkd.network.NetworkPolicy;
import io.forkd.sandbox.Found;
import io.forkd.sandbox.Found.Known;
import io.forkd.sandbox.Found.Paused;
import io.forkd.sandbox.Found.Running;
import io.forkd.sandbox.Lifetime;
import io.forkd.sandbox.Room;
import io.forkd.sandbox.Sandbox;
import io.forkd.snapshot.Manifest;
import io.forkd.snapshot.Snapshot;
import io.forkd.snapshot.SnapshotTag;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.UUID;
import java.util.function.Function;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/** The sandboxes of E2B's control plane: both generations of each route by one handler. */
final class ControlRoutes {
    /** Of the daemon in a sandbox, whose interface this answers for: what clients may expect of it hangs on that. */
    static final String ENVD_VERSION = "0.5.7";

    private static final String CLIENT = "forkd";
    private static final long TIMEOUT = 300;
    private static final long OLD_TIMEOUT = 15;
    private static final int MOST_CHILDREN = 100;

    /** In bytes, as JSON: of what lists of sandboxes tell as it was given. */
    private static final int MOST_TOLD = 32 << 10;

    private static final Duration CREATE = Duration.ofMinutes(2);
    private static final JsonNodeFactory NODES = JsonNodeFactory.instance;

    private final Engine engine;
    private final Guests guests;
    private final Quota quota;
    private final Branching branching;
    private final SettingsStore settings;
    private final Repeats repeats = new Repeats();

    ControlRoutes(E2b.Parts parts, SettingsStore settings) {
        this.engine = parts.engine();
        this.guests = parts.guests();
        this.quota = parts.quota();
        this.branching = parts.branching();
        this.settings = settings;
    }

    void addTo(Routes routes) {
        routes.postJson("/sandboxes", of(http -> create(http, OLD_TIMEOUT)));
        routes.postJson("/v2/sandboxes", of(http -> create(http, TIMEOUT)));
        routes.get("/sandboxes", of(http -> Lists.answer(http, all(http.caller()), List.of(Lists.RUNNING))));
        routes.get("/v2/sandboxes", of(http -> Lists.answer(http, all(http.caller()), Lists.states(http))));
        routes.get("/sandboxes/:id", of(this::get));
        routes.delete("/sandboxes/:id", of(this::kill));
        routes.postJson("/sandboxes/:id/connect", of(this::connect));
        routes.postJson("/v2/sandboxes/:id/connect", of(this::connect));
        routes.postJson("/sandboxes/:id/resume", of(this::resume));
        routes.postJson("/sandboxes/:id/timeout", of(this::timeout));
        routes.post("/sandboxes/:id/pause", of(this::pause));
        routes.postJson("/sandboxes/:id/fork", of(this::fork));
        routes.postJson("/sandboxes/:id/snapshots", of(this::snapshot));
        routes.putJson("/sandboxes/:id/network", of(this::network));
        routes.get("/sandboxes/:id/metrics", of(this::metrics));
    }

    static Handler of(Handler handler) {
        return Handler.forUsers(handler, ControlDialect.INSTANCE);
    }

    // --- which one ---

    /** A sandbox, and what is known of it here. */
    record One(Known found, Settings settings) {
        String id() {
            return found.id();
        }

        boolean isPaused() {
            return found instanceof Paused;
        }
    }

    private One one(HttpCall http) {
        return one(http, Optional.empty());
    }

    /** @param otherwise what is to be known of one that was not made here */
    private One one(HttpCall http, Optional<Function<Known, Settings>> otherwise) {
        String given = http.parameter("id");
        HttpFailure unknown = new HttpFailure(404, "sandbox " + given + " was not found");
        String id = SandboxIds.inward(given).orElseThrow(() -> unknown);
        if (otherwise.isEmpty() && settings.find(id).isEmpty()) {
            throw unknown;
        }
        Found found;
        try {
            found = SandboxLookup.find(engine, http.caller(), id);
        } catch (HttpFailure e) {
            throw e.status() == 404 ? unknown : e;
        }
        if (!(found instanceof Known there) || !(found instanceof Running || found instanceof Paused)) {
            throw new HttpFailure(503, "sandbox " + given + " does not answer; try again");
        }
        return new One(
                there,
                settings.find(id)
                        .orElseGet(() -> otherwise.orElseThrow(() -> unknown).apply(there)));
    }

    /**
     * What is known from now on of a sandbox that was made elsewhere, as by v1: to connect is to ask for its token. Of two
     * who connect at once both get the same.
     */
    private synchronized Settings adopt(Known found) {
        return settings.find(found.id()).orElseGet(() -> {
            Sandbox sandbox = found.sandbox();
            Manifest manifest = Manifest.read(Sandbox.manifest(sandbox.directory()));
            Settings its = new Settings(
                    manifest.owner(),
                    sandbox.snapshot().tag(),
                    Tokens.make(),
                    Optional.empty(),
                    Map.of(),
                    Note.defaults(manifest),
                    TIMEOUT,
                    JsonNodeFactory.instance.objectNode(),
                    Optional.empty(),
                    Instant.now());
            Failures.internal(() -> {
                settings.put(found.id(), its, sandbox.lifetime().pause());
                return true;
            });
            return its;
        });
    }

    private List<One> all(Caller caller) {
        List<One> all = new ArrayList<>();
        for (Found found : engine.sandboxes().list()) {
            if (found instanceof Known known
                    && (found instanceof Running || found instanceof Paused)
                    && SandboxLookup.isOf(caller, known)) {
                settings.find(found.id()).ifPresent(its -> all.add(new One(known, its)));
            }
        }
        return all;
    }

    /** Forgets those that are no more. */
    void sweep() {
        settings.sweep(id -> {
            try {
                engine.sandboxes().findAny(id);
                return true;
            } catch (ForkdException e) {
                return e.kind() != Kind.NOT_FOUND;
            }
        });
    }

    // --- a life ---

    private Response create(HttpCall http, long otherwise) {
        return repeats.once(http, () -> make(http, otherwise));
    }

    private Response make(HttpCall http, long otherwise) {
        Body body = http.body();
        String template = body.text("templateID");
        long timeout = seconds(body, otherwise);
        JsonNode network = object(body, "network");
        Optional<String> trafficToken = traffic(network);
        Optional<Boolean> internet = optionalFlag(body, "allow_internet_access");
        refuse(body, "volumeMounts");
        refuse(body, "mcp");
        refuse(body, "iam");
        requireMemory(body, "autoPauseMemory");
        Lifetime lifetime = lifetime(
                timeout,
                body.flag("autoPause", false),
                body.optionalObject("autoResume")
                        .map(resume -> resume.flag("enabled", false))
                        .orElse(false));
        Map<String, String> metadata = texts(body, "metadata");
        requireShort(metadata, network);
        Snapshot snapshot = Templates.usable(engine, http.caller(), template);
        Defaults defaults = Note.defaults(snapshot.manifest()).with(texts(body, "envVars"));
        requireShort(defaults);
        SnapshotTag tag = snapshot.tag();
        NetworkRequest reach = reach(http.caller(), snapshot.manifest(), Internet.policy(network, internet));
        Call call = Calls.of(http, Optional.of(CREATE));
        SpawnRequest request = new SpawnRequest(tag, 1, reach, Limits.NONE, VolumeConflict.FAIL).living(lifetime);
        Sandbox made = quota.sandboxes(
                        http.caller(),
                        tag,
                        1,
                        call,
                        () -> Failures.internal(() -> engine.spawn(request, snapshot, call)))
                .get(0);
        Settings its = new Settings(
                snapshot.manifest().ownedBy(http.caller().owner()).owner(),
                template,
                Tokens.make(),
                trafficToken,
                metadata,
                defaults,
                timeout,
                network,
                internet,
                Instant.now());
        keep(made, its);
        return Response.json(201, sandbox(made, its));
    }

    /** Ends it again when it cannot be written down: nobody would know of it. */
    private void keep(Sandbox made, Settings its) {
        try {
            settings.put(made.id(), its, made.lifetime().pause());
        } catch (ForkdException e) {
            SandboxLookup.end(engine, new Running(made, false, Room.LEFT));
            throw Failures.internal(e);
        }
    }

    /** A guest that has no network device reaches nothing, and nothing has to be denied to it. */
    private static NetworkRequest reach(Caller caller, Manifest manifest, NetworkPolicy policy) {
        if (manifest.machine().tap().isEmpty()) {
            return NetworkRequest.OF_HOST;
        }
        Widening.require(caller, manifest.network().orElse(NetworkPolicy.INTERNET), policy);
        return new NetworkRequest(true, Optional.of(policy));
    }

    private static Optional<String> traffic(JsonNode network) {
        JsonNode open = network.path("allowPublicTraffic");
        if (!open.isBoolean() && !open.isMissingNode() && !open.isNull()) {
            throw new HttpFailure(400, "network.allowPublicTraffic must be true or false");
        }
        return open.asBoolean(true) ? Optional.empty() : Optional.of(Tokens.make());
    }

    private static Lifetime lifetime(long timeout, boolean pause, boolean wake) {
        try {
            return Lifetime.of(Optional.of(Duration.ofSeconds(timeout)), Optional.empty(), pause, wake);
        } catch (ForkdException e) {
            throw Failures.answer(e);
        }
    }

    private Response connect(HttpCall http) {
        One one = one(http, Optional.of(this::adopt));
        long timeout = seconds(http.body(), one.settings().timeout());
        if (one.isPaused()) {
            requireMemory(http.body(), "memory");
        }
        Map<String, String> variables = texts(http.body(), "envVars");
        if (!variables.isEmpty()) { // Of who made it by another way, as a cluster's gateway does.
            requireShort(one.settings().defaults().with(variables));
            settings.change(
                    one.id(),
                    its -> its.with(variables),
                    one.found().sandbox().lifetime().pause());
        }
        return again(http, one, timeout);
    }

    private Response again(HttpCall http, One one, long timeout) {
        Sandbox sandbox = one.found().sandbox();
        if (one.isPaused()) {
            Call call = Calls.of(http, Optional.of(CREATE));
            sandbox = SandboxLookup.whileThere(engine, http.caller(), one.id(), () -> engine.resume(one.id(), call));
        }
        Instant end = Instant.now().plusSeconds(timeout);
        boolean longer = sandbox.lifetime().end().map(end::isAfter).orElse(false);
        Sandbox now = longer || one.isPaused() ? lasting(one, sandbox, timeout) : sandbox;
        return Response.json(one.isPaused() ? 201 : 200, sandbox(now, one.settings()));
    }

    private Sandbox lasting(One one, Sandbox sandbox, long timeout) {
        Lifetime present = sandbox.lifetime();
        return Failures.internal(
                () -> engine.setLifetime(one.id(), lifetime(timeout, present.pause(), present.wake())));
    }

    private Response resume(HttpCall http) {
        One one = one(http);
        if (!one.isPaused()) {
            throw new HttpFailure(409, "sandbox " + http.parameter("id") + " is running already");
        }
        return again(http, one, seconds(http.body(), OLD_TIMEOUT));
    }

    private Response timeout(HttpCall http) {
        One one = one(http);
        OptionalLong timeout = http.body().optionalNumber("timeout", 0, Lifetime.MOST);
        if (timeout.isEmpty()) {
            throw new HttpFailure(400, "the field timeout is missing");
        }
        if (one.isPaused()) { // Old clients resume what is refused to them so.
            throw new HttpFailure(404, "sandbox " + http.parameter("id") + " is paused");
        }
        if (timeout.getAsLong() == 0) {
            SandboxLookup.end(engine, one.found());
        } else {
            lasting(one, one.found().sandbox(), timeout.getAsLong());
        }
        return Response.empty(204);
    }

    private Response kill(HttpCall http) {
        One one = one(http);
        SandboxLookup.end(engine, one.found());
        return Response.empty(204);
    }

    private Response pause(HttpCall http) {
        One one = one(http);
        http.optionalBody().ifPresent(body -> requireMemory(body, "memory"));
        if (one.isPaused()) {
            throw new HttpFailure(409, "sandbox " + http.parameter("id") + " is paused already");
        }
        settings.change(one.id(), its -> its, true);
        SandboxLookup.whileRunning(engine, http.caller(), one.id(), () -> engine.pause(one.id(), Calls.toTheEnd()));
        return Response.empty(204);
    }

    private Response fork(HttpCall http) {
        One one = one(http);
        Body body = http.body();
        long count = body.optionalNumber("count", 0, Long.MAX_VALUE).orElse(1);
        if (count < 1 || count > MOST_CHILDREN) {
            throw new HttpFailure(400, "count must be from 1 to " + MOST_CHILDREN + ", and is " + count);
        }
        if (one.isPaused()) {
            throw new HttpFailure(409, "sandbox " + http.parameter("id") + " is paused");
        }
        long timeout = seconds(body, OLD_TIMEOUT);
        Sandbox source = one.found().sandbox();
        SpawnRequest like = new SpawnRequest(
                        new SnapshotTag("_"), (int) count, NetworkRequest.OF_HOST, Limits.NONE, VolumeConflict.FAIL)
                .living(lifetime(
                        timeout, source.lifetime().pause(), source.lifetime().wake()));
        Call call = Calls.of(http, Optional.of(CREATE));
        List<Attempt<Sandbox>> attempts = SandboxLookup.whileRunning(
                engine,
                http.caller(),
                one.id(),
                () -> quota.sandboxes(
                        http.caller(),
                        Manifest.read(Sandbox.manifest(source.directory())),
                        (int) count,
                        call,
                        () -> engine.forkEach(one.id(), like, call)));
        ArrayNode answer = NODES.arrayNode();
        for (Attempt<Sandbox> attempt : attempts) {
            if (attempt instanceof Attempt.Failed<Sandbox> failed) {
                refuse(answer, Failures.answer(failed.why()));
                continue;
            }
            Sandbox child = ((Attempt.Made<Sandbox>) attempt).it();
            Settings its = one.settings()
                    .forked(
                            Tokens.make(),
                            one.settings().trafficToken().map(same -> Tokens.make()),
                            timeout,
                            Instant.now());
            try {
                keep(child, its);
                answer.addObject().set("sandbox", sandbox(child, its));
            } catch (HttpFailure e) {
                refuse(answer, e);
            }
        }
        return Response.json(201, answer);
    }

    private static void refuse(ArrayNode answer, HttpFailure why) {
        answer.addObject().putObject("error").put("code", why.status()).put("message", why.text());
    }

    private Response snapshot(HttpCall http) {
        One one = one(http);
        Body body = http.body();
        Optional<String> given = body.optionalText("name").filter(text -> !text.isEmpty());
        requireMemory(body, "memory");
        if (one.isPaused()) {
            throw new HttpFailure(
                    409, "sandbox " + http.parameter("id") + " cannot be snapshotted while in 'paused' state");
        }
        TemplateName name = TemplateName.parse(given.orElseGet(() -> "snapshot-" + Tokens.make()));
        Builds.requireMayMake(engine, http.caller(), name);
        SnapshotTag tag = name.snapshot();
        try (Branching.Slot slot = branching.take(http.caller(), tag)) {
            Call call = Calls.of(http, Optional.empty());
            // Its programs have what the template gave them; what this sandbox was given beside is its own.
            Manifest manifest = Manifest.read(Sandbox.manifest(one.found().directory()));
            Note note =
                    new Note(name.name(), UUID.randomUUID().toString(), Note.defaults(manifest), Optional.of(one.id()));
            BranchRequest request =
                    new BranchRequest(one.id(), Optional.of(tag), false, true, true).with(note.fields());
            SandboxLookup.whileRunning(
                    engine,
                    http.caller(),
                    one.id(),
                    () -> quota.snapshot(http.caller(), tag, call, () -> slot.branch(request, call)));
            return Response.json(201, TemplateRoutes.snapshot(name, given.isPresent()));
        }
    }

    private Response network(HttpCall http) {
        One one = one(http);
        Body body = http.body();
        ObjectNode rules = NODES.objectNode();
        for (String field : List.of("allowOut", "denyOut", "dnsServers", "egressProxy", "rules")) {
            body.optionalJson(field).ifPresent(value -> rules.set(field, value));
        }
        Optional<Boolean> internet = optionalFlag(body, "allow_internet_access");
        requireShort(one.settings().metadata(), rules);
        NetworkPolicy policy = Internet.policy(rules, internet);
        Sandbox sandbox = one.found().sandbox();
        if (sandbox.netns().isPresent()) {
            SandboxLookup.whileThere(
                    engine,
                    http.caller(),
                    one.id(),
                    () -> engine.sandboxes().setNetwork(one.id(), present -> {
                        Widening.require(http.caller(), present, policy);
                        return policy;
                    }));
        } else if (Manifest.read(Sandbox.manifest(sandbox.directory()))
                .machine()
                .tap()
                .isPresent()) {
            throw new HttpFailure(
                    409,
                    "sandbox " + http.parameter("id")
                            + " shares a network of this host, for which no rules can be set");
        }
        if (one.settings().network().has("allowPublicTraffic")) {
            rules.set("allowPublicTraffic", one.settings().network().path("allowPublicTraffic"));
        }
        settings.change(
                one.id(),
                its -> its.reaching(rules, internet),
                sandbox.lifetime().pause());
        return Response.empty(204);
    }

    private Response metrics(HttpCall http) {
        One one = one(http);
        ArrayNode all = NODES.arrayNode();
        if (!one.isPaused()) {
            all.add(Usage.of(guests, http, one.found()));
        }
        return Response.json(200, all);
    }

    private Response get(HttpCall http) {
        One one = one(http);
        ObjectNode node = Lists.detail(one);
        if (http.caller().role() != Caller.Role.READ) { // Who has it may do everything in there.
            node.put("envdAccessToken", one.settings().token());
            one.settings().trafficToken().ifPresent(token -> node.put("trafficAccessToken", token));
        }
        node.putNull("domain");
        return Response.json(200, node);
    }

    private ObjectNode sandbox(Sandbox sandbox, Settings its) {
        ObjectNode node = NODES.objectNode()
                .put("sandboxID", SandboxIds.outward(sandbox.id()))
                .put("templateID", its.template())
                .put("clientID", CLIENT)
                .put("envdVersion", ENVD_VERSION)
                .put("envdAccessToken", its.token());
        its.trafficToken().ifPresent(token -> node.put("trafficAccessToken", token));
        return node.putNull("domain"); // Which leaves it to what the client has been told.
    }

    // --- what is given ---

    private static long seconds(Body body, long otherwise) {
        return body.optionalNumber("timeout", 1, Lifetime.MOST).orElse(otherwise);
    }

    private static Optional<Boolean> optionalFlag(Body body, String name) {
        return body.optionalJson(name).isPresent() ? Optional.of(body.flag(name, true)) : Optional.empty();
    }

    private static void requireShort(Map<String, String> metadata, JsonNode network) {
        ObjectNode told = NODES.objectNode();
        metadata.forEach(told::put);
        if (Json.bytes(told).length + Json.bytes(network).length > MOST_TOLD) {
            throw new HttpFailure(400, "metadata and network have more than " + MOST_TOLD + " bytes together");
        }
    }

    private static void requireShort(Defaults defaults) {
        if (defaults.isTooLong()) {
            throw new HttpFailure(
                    400, "envVars, with the template's, have more than " + Defaults.MOST_VARIABLES + " characters");
        }
    }

    /** What is kept of a sandbox goes on where that was. */
    private static void requireMemory(Body body, String name) {
        if (!body.flag(name, true)) {
            throw new HttpFailure(
                    400, name + ": false is not offered here: what is kept goes on where the sandbox was");
        }
    }

    private static void refuse(Body body, String name) {
        body.optionalJson(name)
                .filter(value -> !(value.isContainer() && value.isEmpty()))
                .ifPresent(value -> {
                    throw new HttpFailure(400, name + " is not offered here");
                });
    }

    private static JsonNode object(Body body, String name) {
        JsonNode value = body.optionalJson(name).orElseGet(NODES::objectNode);
        if (!value.isObject()) {
            throw new HttpFailure(400, "the field " + name + " must be an object");
        }
        return value;
    }

    private static Map<String, String> texts(Body body, String name) {
        Map<String, String> texts = new LinkedHashMap<>();
        Optional<Body> given = body.optionalObject(name);
        Function<String, String> text = key -> given.orElseThrow().text(key);
        given.ifPresent(object -> object.names().forEach(key -> texts.put(key, text.apply(key))));
        return texts;
    }
}
