package io.forkd.kubernetes.gateway;

import static io.forkd.http.Handler.forUsers;
import static io.forkd.http.Handler.notForReaders;

import io.forkd.http.Body;
import io.forkd.http.HttpCall;
import io.forkd.http.HttpFailure;
import io.forkd.http.Response;
import io.forkd.http.Routes;
import io.forkd.kubernetes.gateway.Directory.Located;
import io.forkd.kubernetes.resource.Phase;
import io.forkd.kubernetes.resource.Sandbox;
import io.forkd.kubernetes.resource.SnapshotTemplate;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.OptionalLong;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.MissingNode;
import tools.jackson.databind.node.ObjectNode;

/** REST v1: what concerns one sandbox is its node's daemon's, and all else is resources. */
final class V1Routes {
    private static final int MOST = 100;
    private static final String PREFIX = "/v1/sandboxes/";

    private final Sandboxes sandboxes;
    private final Directory directory;
    private final Daemons daemons;

    V1Routes(Sandboxes sandboxes, Directory directory, Daemons daemons) {
        this.sandboxes = sandboxes;
        this.directory = directory;
        this.daemons = daemons;
    }

    void addTo(Routes routes) {
        routes.get("/v1/snapshots", forUsers(this::snapshots));
        routes.get("/v1/sandboxes", forUsers(this::list));
        routes.postJson("/v1/sandboxes", forUsers(this::create));
        routes.get("/v1/sandboxes/:id", forUsers(this::relay));
        routes.delete("/v1/sandboxes/:id", forUsers(this::delete));
        routes.post("/v1/sandboxes/:id/pause", forUsers(call -> operate(call, true)));
        routes.post("/v1/sandboxes/:id/resume", forUsers(call -> operate(call, false)));
        // These would have sandboxes made, ended or moved that the cluster knows nothing of.
        for (String verb : List.of("fork", "branch", "give-back", "name", "timeout", "labels", "network")) {
            routes.any(PREFIX + ":id/" + verb, forUsers(V1Routes::notHere));
        }
        for (String rest : List.of("ping", "metrics", "logs")) {
            routes.any(PREFIX + ":id/" + rest, forUsers(this::relay));
        }
        for (String rest : List.of(
                "exec",
                "eval",
                "guest",
                "processes",
                "processes/:pid/signal",
                "processes/:pid/attach",
                "files",
                "files/list",
                "files/stat",
                "files/watch",
                "files/mkdir",
                "files/move",
                "reset",
                "ports/:port/:path*")) {
            routes.any(PREFIX + ":id/" + rest, notForReaders(this::relay));
        }
    }

    private static Response notHere(HttpCall call) {
        throw new HttpFailure(
                501,
                "not at the gateway of a cluster: a fork is the resource SandboxFork, and a sandbox's name and time are its"
                        + " resource's");
    }

    private Response snapshots(HttpCall call) {
        ArrayNode array = JsonNodeFactory.instance.arrayNode();
        for (SnapshotTemplate each : directory.templates(sandboxes.namespace(call))) {
            array.addObject()
                    .put("tag", each.getMetadata().getName())
                    .put(
                            "status",
                            each.getStatus() != null
                                            && Objects.requireNonNullElse(
                                                            each.getStatus().warm(), 0)
                                                    > 0
                                    ? "ready"
                                    : "writing");
        }
        return Response.json(200, array);
    }

    private Response list(HttpCall call) {
        ArrayNode array = JsonNodeFactory.instance.arrayNode();
        directory.sandboxes(sandboxes.namespace(call)).stream()
                .filter(each -> each.now().sandboxID() != null && !each.isOver())
                .forEach(each -> array.add(info(each)));
        return Response.json(200, array);
    }

    private static ObjectNode info(Sandbox sandbox) {
        ObjectNode node = JsonNodeFactory.instance.objectNode();
        return node.put("id", sandbox.now().sandboxID())
                .put("name", sandbox.getMetadata().getName())
                .put("snapshot_tag", source(sandbox))
                .put("state", sandbox.phase().equals(Phase.SUSPENDED) ? "paused" : "running")
                .put("node", sandbox.node().orElse(""));
    }

    static String source(Sandbox sandbox) {
        Sandbox.Spec spec = sandbox.getSpec();
        return spec.templateRef() != null
                ? spec.templateRef().name()
                : spec.warmPoolRef() != null
                        ? spec.warmPoolRef().name()
                        : spec.sandboxRef() != null
                                ? spec.sandboxRef().name()
                                : Objects.requireNonNullElse(spec.snapshot(), "");
    }

    private Response create(HttpCall call) throws Exception {
        Body body = call.body();
        String source = body.text("snapshot_tag");
        long n = body.optionalNumber("n", 1, MOST).orElse(1);
        Optional<String> name = body.optionalText("name");
        OptionalLong ttl = body.optionalNumber("ttl_secs", 1, 315_360_000);
        for (String field : body.names()) {
            if (!java.util.Set.of("snapshot_tag", "n", "name", "ttl_secs").contains(field)
                    && body.optionalJson(field).filter(each -> !each.isNull()).isPresent()) {
                throw new HttpFailure(
                        400, "the gateway of a cluster takes no field " + field + "; the resource Sandbox may have it");
            }
        }
        if (name.isPresent() && n > 1) {
            throw new HttpFailure(400, "one name is for one sandbox");
        }
        List<Sandbox> made = new ArrayList<>();
        try {
            for (int i = 0; i < n; i++) {
                made.add(sandboxes.make(call, source, name, ttl, Map.of()));
            }
        } catch (HttpFailure | InterruptedException e) {
            made.forEach(sandboxes::delete); // Nobody is told what they are called.
            throw e;
        }
        ArrayNode array = JsonNodeFactory.instance.arrayNode();
        made.forEach(each -> array.add(info(each)));
        return Response.json(200, array);
    }

    private Response relay(HttpCall call) {
        Located located = sandboxes.located(call, call.parameter("id"));
        String path = call.path().substring(PREFIX.length());
        int slash = path.indexOf('/');
        return daemons.relay(call, located, PREFIX + located.id() + (slash < 0 ? "" : path.substring(slash)));
    }

    private Response operate(HttpCall call, boolean suspend) throws Exception {
        String id = call.parameter("id");
        Sandbox sandbox = sandboxes.resource(call, id).orElseThrow(() -> Sandboxes.notFound(id));
        sandboxes.operate(call, sandbox, suspend);
        Located located = sandboxes.located(call, sandbox.getMetadata().getName());
        return Response.json(
                200, daemons.ask(located.daemon(), "GET", PREFIX + located.id(), MissingNode.getInstance()));
    }

    private Response delete(HttpCall call) throws Exception {
        String id = call.parameter("id");
        Optional<Sandbox> sandbox = sandboxes.resource(call, id);
        if (sandbox.isPresent()) {
            sandboxes.delete(sandbox.get());
        } else { // A fork's child.
            Located located = sandboxes.located(call, id);
            JsonNode unused = daemons.ask(located.daemon(), "DELETE", PREFIX + located.id(), MissingNode.getInstance());
        }
        return Response.empty(204);
    }
}
