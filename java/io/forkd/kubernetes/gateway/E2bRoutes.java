package io.forkd.kubernetes.gateway;

import io.forkd.Json;
import io.forkd.http.Body;
import io.forkd.http.Dialect;
import io.forkd.http.Handler;
import io.forkd.http.HttpCall;
import io.forkd.http.HttpFailure;
import io.forkd.http.Response;
import io.forkd.http.Routes;
import io.forkd.kubernetes.gateway.Directory.Located;
import io.forkd.kubernetes.resource.Phase;
import io.forkd.kubernetes.resource.Sandbox;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.function.Function;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.MissingNode;
import tools.jackson.databind.node.ObjectNode;

/** E2B's control plane of the cluster, and the way to ports of sandboxes, envd's first of all. */
final class E2bRoutes {
    private static final long TIMEOUT = 300;
    private static final long MOST_SECONDS = 315_360_000;
    private static final String METADATA = "forkd.io/e2b-metadata";
    private static final Pattern HOST = Pattern.compile("([0-9]{1,5})-([a-z0-9]{8,64})\\..+");
    private static final Pattern TOKEN_AS_KEY = Pattern.compile("e2b_[0-9a-f]{64}");

    /** The token comes as a key, and errors are {@code {"code":STATUS,"message":TEXT}}. */
    private static final Dialect CONTROL = new Dialect() {
        @Override
        public Optional<String> authorization(Function<String, Optional<String>> header) {
            return header.apply("X-API-KEY")
                    .map(key -> "Bearer " + (TOKEN_AS_KEY.matcher(key).matches() ? key.substring(4) : key))
                    .or(() -> header.apply("Authorization"));
        }

        @Override
        public Response error(HttpFailure failure) {
            return said(failure);
        }
    };

    /** The daemon looks whom the sandbox serves. */
    private static final Dialect TRAFFIC = new Dialect() {
        @Override
        public Optional<String> authorization(Function<String, Optional<String>> header) {
            return Optional.empty();
        }

        @Override
        public Response error(HttpFailure failure) {
            return said(failure);
        }

        @Override
        public boolean isOpen() {
            return true;
        }
    };

    private final Sandboxes sandboxes;
    private final Directory directory;
    private final Daemons daemons;

    E2bRoutes(Sandboxes sandboxes, Directory directory, Daemons daemons) {
        this.sandboxes = sandboxes;
        this.directory = directory;
        this.daemons = daemons;
    }

    private static Response said(HttpFailure failure) {
        int status = failure.status() == 422 ? 400 : failure.status();
        return Response.json(
                status,
                JsonNodeFactory.instance.objectNode().put("code", status).put("message", failure.text()));
    }

    private static Handler of(Handler handler) {
        return Handler.forUsers(handler, CONTROL);
    }

    void addTo(Routes routes) {
        routes.claim("e2b:port", E2bRoutes::claim, Handler.forUsers(this::toPort, TRAFFIC));
        for (String version : List.of("", "/v2")) {
            routes.postJson(version + "/sandboxes", of(this::create));
            routes.get(version + "/sandboxes", of(this::list));
            routes.postJson(version + "/sandboxes/:id/connect", of(this::connect));
        }
        routes.get("/sandboxes/:id", of(this::get));
        routes.get("/sandboxes/:id/metrics", of(this::metrics));
        routes.delete("/sandboxes/:id", of(this::delete));
        routes.post("/sandboxes/:id/pause", of(this::pause));
        routes.postJson("/sandboxes/:id/timeout", of(this::timeout));
    }

    /** As a daemon has it: by the host, or by fields, which clients send with what is for the control plane, too. */
    private static Optional<Map<String, String>> claim(
            String host, String path, Function<String, Optional<String>> header) {
        Matcher named = HOST.matcher(host);
        if (named.matches()) {
            return Optional.of(Map.of("port", named.group(1), "id", named.group(2)));
        }
        Optional<String> id = header.apply("E2b-Sandbox-Id");
        boolean isControl = path.equals("/sandboxes") || path.startsWith("/sandboxes/") || path.startsWith("/v2/");
        return id.isEmpty() || isControl
                ? Optional.empty()
                : Optional.of(Map.of("port", header.apply("E2b-Sandbox-Port").orElse("49983"), "id", id.get()));
    }

    private Response toPort(HttpCall call) {
        String id = call.parameter("id");
        Located located = directory.locate(id).orElseThrow(() -> new HttpFailure(502, "The sandbox was not found"));
        return daemons.relayToPort(call, located, call.parameter("port"));
    }

    private Response create(HttpCall call) throws Exception {
        Body body = call.body();
        String template = body.text("templateID").replaceFirst(":(default|latest)$", "");
        long timeout = body.optionalNumber("timeout", 1, MOST_SECONDS).orElse(TIMEOUT);
        for (String field : List.of("network", "mcp", "volumeMounts", "iam")) {
            if (body.optionalJson(field)
                    .filter(each -> !each.isNull() && !each.isEmpty())
                    .isPresent()) {
                throw notHere(field);
            }
        }
        boolean wakes = body.optionalObject("autoResume")
                .map(resume -> resume.flag("enabled", false))
                .orElse(false);
        if (body.flag("autoPause", false) || wakes || !body.flag("autoPauseMemory", true)) {
            throw notHere(wakes ? "autoResume" : "autoPause");
        }
        boolean isCutOff = !body.flag("allow_internet_access", true);
        ObjectNode wanted = JsonNodeFactory.instance.objectNode().put("timeout", timeout);
        body.optionalJson("envVars").filter(each -> !each.isNull()).ifPresent(each -> wanted.set("envVars", each));
        Map<String, String> annotations = body.optionalJson("metadata")
                .filter(JsonNode::isObject)
                .map(each -> Map.of(METADATA, Json.text(each)))
                .orElse(Map.of());
        Sandbox made = sandboxes.make(call, template, Optional.empty(), OptionalLong.of(timeout), annotations);
        try {
            JsonNode said = connected(made, wanted);
            if (isCutOff) {
                JsonNode unused = ask(
                        made,
                        "PUT",
                        "network",
                        JsonNodeFactory.instance.objectNode().put("allow_internet_access", false));
            }
            return Response.json(201, said);
        } catch (HttpFailure | IOException | InterruptedException e) {
            sandboxes.delete(made);
            throw e;
        }
    }

    private static HttpFailure notHere(String field) {
        return new HttpFailure(400, field + " cannot be given at the gateway of a cluster");
    }

    private JsonNode ask(Sandbox sandbox, String method, String verb, JsonNode body)
            throws IOException, InterruptedException {
        String id = Objects.requireNonNullElse(sandbox.now().sandboxID(), "");
        Located located = directory.locate(id).orElseThrow(() -> Sandboxes.notFound(id));
        return daemons.ask(located.daemon(), method, "/sandboxes/" + id.replace("-", "") + "/" + verb, body);
    }

    /** What the daemon tells who connects has the sandbox's token. */
    private JsonNode connected(Sandbox sandbox, JsonNode wanted) throws IOException, InterruptedException {
        return named(sandbox, ask(sandbox, "POST", "connect", wanted));
    }

    /** A daemon knows the template by another name, and no metadata. */
    private static JsonNode named(Sandbox sandbox, JsonNode said) {
        if (said instanceof ObjectNode object) {
            object.put("templateID", V1Routes.source(sandbox));
            if (object.has("alias")) {
                object.put("alias", V1Routes.source(sandbox));
            }
            object.set("metadata", metadata(sandbox));
        }
        return said;
    }

    private static JsonNode metadata(Sandbox sandbox) {
        Map<String, String> annotations = sandbox.getMetadata().getAnnotations();
        String text = annotations == null ? null : annotations.get(METADATA);
        if (text != null) {
            try {
                return Json.parseBounded(text.getBytes(StandardCharsets.UTF_8));
            } catch (JacksonException e) {
                // Whoever may write the resource has written something else.
            }
        }
        return JsonNodeFactory.instance.objectNode();
    }

    private Response list(HttpCall call) {
        ArrayNode array = JsonNodeFactory.instance.arrayNode();
        for (Sandbox each : directory.sandboxes(sandboxes.namespace(call))) {
            String id = each.now().sandboxID();
            if (id == null || each.isOver()) {
                continue;
            }
            ObjectNode one = array.addObject()
                    .put("sandboxID", id.replace("-", ""))
                    .put("templateID", V1Routes.source(each))
                    .put("clientID", "forkd")
                    .put("state", each.phase().equals(Phase.SUSPENDED) ? "paused" : "running")
                    .put("startedAt", each.getMetadata().getCreationTimestamp())
                    .put("endAt", each.getMetadata().getCreationTimestamp())
                    .put("cpuCount", 1)
                    .put("memoryMB", Objects.requireNonNullElse(each.now().memoryMiB(), 0))
                    .put("diskSizeMB", 0)
                    .put("envdVersion", "0.4.0");
            one.set("metadata", metadata(each));
        }
        return Response.json(200, array);
    }

    private Sandbox resource(HttpCall call) {
        String id = call.parameter("id");
        return sandboxes
                .resource(call, id)
                .orElseThrow(() -> new HttpFailure(404, "sandbox \"" + id + "\" was not found"));
    }

    private Response get(HttpCall call) throws Exception {
        Sandbox sandbox = resource(call);
        Located located = sandboxes.located(call, call.parameter("id"));
        JsonNode said = daemons.ask(
                located.daemon(), "GET", "/sandboxes/" + located.id().replace("-", ""), MissingNode.getInstance());
        return Response.json(200, named(sandbox, said));
    }

    private Response metrics(HttpCall call) {
        Located located = sandboxes.located(call, call.parameter("id"));
        return daemons.relay(call, located, "/sandboxes/" + located.id().replace("-", "") + "/metrics");
    }

    private Response connect(HttpCall call) throws Exception {
        Sandbox sandbox = resource(call);
        boolean isSuspended = sandbox.getSpec().isSuspended();
        if (isSuspended) {
            sandboxes.operate(call, sandbox, false);
        }
        Sandbox now = directory
                .sandbox(
                        sandbox.getMetadata().getNamespace(),
                        sandbox.getMetadata().getName())
                .orElse(sandbox);
        long timeout = call.body().optionalNumber("timeout", 1, MOST_SECONDS).orElse(TIMEOUT);
        JsonNode wanted = JsonNodeFactory.instance.objectNode().put("timeout", timeout);
        return Response.json(isSuspended ? 201 : 200, connected(now, wanted));
    }

    private Response delete(HttpCall call) {
        sandboxes.delete(resource(call));
        return Response.empty(204);
    }

    private Response pause(HttpCall call) throws Exception {
        Sandbox sandbox = resource(call);
        if (sandbox.getSpec().isSuspended()) {
            throw new HttpFailure(409, "sandbox " + call.parameter("id") + " is paused already");
        }
        sandboxes.operate(call, sandbox, true);
        return Response.empty(204);
    }

    private Response timeout(HttpCall call) throws Exception {
        Located located = sandboxes.located(call, call.parameter("id"));
        JsonNode body =
                JsonNodeFactory.instance.objectNode().put("timeout", call.body().number("timeout", 0, MOST_SECONDS));
        JsonNode unused = daemons.ask(
                located.daemon(), "POST", "/sandboxes/" + located.id().replace("-", "") + "/timeout", body);
        return Response.empty(204);
    }
}
