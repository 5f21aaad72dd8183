package io.forkd.daemon.e2b;

import io.forkd.ForkdException;
import io.forkd.Json;
import io.forkd.agent.GuestAddress;
import io.forkd.agent.GuestPort;
import io.forkd.daemon.Guests;
import io.forkd.daemon.Guests.Open;
import io.forkd.http.Handler;
import io.forkd.http.Header;
import io.forkd.http.HttpCall;
import io.forkd.http.HttpFailure;
import io.forkd.http.Relay;
import io.forkd.http.Response;
import io.forkd.http.Routes;
import io.forkd.sandbox.Found.Known;
import java.time.Duration;
import java.util.Base64;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.function.Function;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/**
 * What is for a port of a sandbox: by the host {@code PORT-ID.<any domain>}, or, where the host says nothing, by two
 * fields. One port is that of E2B's daemon, which is answered here; others are passed on to what listens in the guest.
 */
final class Traffic {
    static final int ENVD = 49983;

    /** Its programs do whatever a caller likes, as the daemon's do. */
    private static final int INTERPRETER = 49999;

    private static final Pattern HOST = Pattern.compile("([0-9]{1,5})-(" + SandboxIds.OUTWARD + ")\\..*");

    /** Hosts that name no sandbox. */
    private static final Pattern NONE = Pattern.compile("[0-9.]+|\\[.*]|localhost|sandbox\\..*");

    private static final String ID = "E2b-Sandbox-Id";
    private static final String PORT = "E2b-Sandbox-Port";
    private static final String ACCESS = "X-Access-Token";
    private static final String TRAFFIC = "E2B-Traffic-Access-Token";

    /** What the code interpreter is told of a sandbox's variables: JSON in base64. */
    private static final String ENVIRONMENT = "X-Forkd-Environment";

    /** The interpreter reads no longer field. */
    private static final int MOST_ENVIRONMENT = 60 << 10;

    /** For us alone, or ours to say, of what a client sends. */
    private static final Set<String> WITHHELD = Set.of(
            "e2b-sandbox-id",
            "e2b-sandbox-port",
            "e2b-traffic-access-token",
            "x-access-token",
            "x-api-key",
            ENVIRONMENT.toLowerCase(Locale.ROOT));

    /** In the place of an id. */
    private static final String BY_TOKEN = "";

    private static final int MOST_PORT = 65535;
    private static final Duration PATIENCE = Duration.ofMinutes(5);

    private final Guests guests;
    private final SettingsStore settings;
    private final Envd envd;

    Traffic(Guests guests, SettingsStore settings, Bodies bodies) {
        this.guests = guests;
        this.settings = settings;
        this.envd = new Envd(guests, bodies);
    }

    void addTo(Routes routes) {
        routes.claim("e2b:port", Traffic::claim, Handler.forUsers(this::answer, TrafficDialect.INSTANCE));
    }

    private static Optional<Map<String, String>> claim(
            String host, String path, Function<String, Optional<String>> header) {
        Matcher named = HOST.matcher(host);
        if (named.matches()) {
            return Optional.of(Map.of("port", named.group(1), "id", named.group(2)));
        }
        Optional<String> id = header.apply(ID);
        Optional<String> port = header.apply(PORT);
        // Older clients, and URLs that are given away, say which by the token, or by a signature with it.
        if (id.isEmpty()
                && port.isEmpty()
                && NONE.matcher(host).matches()
                && Envd.isIts(path)
                && (path.equals(Envd.FILES) || header.apply(ACCESS).isPresent())) {
            return Optional.of(Map.of("port", Integer.toString(ENVD), "id", BY_TOKEN));
        }
        if ((id.isEmpty() && port.isEmpty()) || !NONE.matcher(host).matches()) {
            return Optional.empty();
        }
        // Clients send the fields with what is for the control plane, too.
        if (port.equals(Optional.of(Integer.toString(ENVD))) && !Envd.isIts(path)) {
            return Optional.empty();
        }
        return Optional.of(Map.of("port", port.orElse(""), "id", id.orElse("-")));
    }

    private Response answer(HttpCall http) {
        String id = http.parameter("id");
        int port = port(http.parameter("port"));
        Optional<String> ours = id.equals(BY_TOKEN) ? byToken(http) : SandboxIds.inward(id);
        if (ours.isEmpty() && id.equals(BY_TOKEN)) {
            return refused(http, "", 401, "no sandbox has that token, or signature");
        }
        if (ours.isEmpty() || port == 0) {
            return Response.text(
                    400,
                    "text/plain; charset=utf-8",
                    "a sandbox's port is asked for by " + ID + " and " + PORT
                            + ", or by the host <port>-<id>.<domain>\n");
        }
        Optional<Settings> known = settings.find(ours.get());
        if (known.isEmpty()) {
            return gone(http, id);
        }
        Known sandbox;
        try {
            sandbox = guests.sandbox(http, ours.get());
        } catch (HttpFailure e) {
            return e.status() == 404 || e.status() == 409 ? gone(http, id) : refused(http, id, 502, e.text());
        }
        // It is let in by the sandbox, and takes of what is for whom that belongs to.
        http.setAccount(known.get().owner());
        if (port == ENVD) {
            return envd.answer(http, sandbox, profile(known.get()));
        }
        // Its clients send it with what runs code, and not with the rest.
        boolean runs = port == INTERPRETER
                && !http.path().startsWith("/contexts")
                && !http.path().equals("/health");
        Optional<String> token = runs ? Optional.of(known.get().token()) : Optional.empty();
        if (token.filter(wanted -> !Signature.same(http.header(ACCESS).orElse(""), wanted))
                .isPresent()) {
            return refused(http, id, 401, ACCESS + " is missing, or is not the sandbox's");
        }
        if (!runs
                && known.get()
                        .trafficToken()
                        .filter(wanted -> !Signature.same(http.header(TRAFFIC).orElse(""), wanted))
                        .isPresent()) {
            return refused(http, id, 403, TRAFFIC + " is missing, or is not the sandbox's");
        }
        if (!runs) {
            return pass(http, id, sandbox, port, List.of());
        }
        String variables = encoded(known.get().defaults().environment());
        if (variables.length() > MOST_ENVIRONMENT) {
            return refused(
                    http,
                    id,
                    400,
                    "the sandbox's variables are too long for its code interpreter: " + variables.length()
                            + " bytes in base64, of " + MOST_ENVIRONMENT);
        }
        return pass(http, id, sandbox, port, List.of(new Header(ENVIRONMENT, variables)));
    }

    private static String encoded(Map<String, String> variables) {
        ObjectNode node = JsonNodeFactory.instance.objectNode();
        variables.forEach(node::put);
        return Base64.getEncoder().encodeToString(Json.bytes(node));
    }

    private Optional<String> byToken(HttpCall http) {
        Optional<String> given = http.header(ACCESS);
        return settings.idOf(
                token -> given.map(text -> Signature.same(text, token)).orElseGet(() -> Envd.isSigned(http, token)));
    }

    private static Profile profile(Settings settings) {
        return new Profile(Optional.of(settings.token()), settings.defaults());
    }

    private Response pass(HttpCall http, String id, Known sandbox, int port, List<Header> told) {
        Open<GuestPort> open;
        try {
            open = guests.open(http, sandbox, guest -> guest.connect(new GuestAddress.Port(port)));
        } catch (HttpFailure e) {
            boolean nobody = e.code().filter("ECONNREFUSED"::equals).isPresent();
            return refused(
                    http, id, e.status() == 503 ? 429 : 502, nobody ? "the sandbox's port is not open" : e.text());
        } catch (ForkdException e) {
            return refused(http, id, 502, e.sentence());
        }
        String target = http.query().isEmpty() ? http.path() : http.path() + "?" + http.query();
        return Response.later(new Relay(
                http, new Relay.Rules(target, "", WITHHELD, told, List.of(), PATIENCE), Guests.channel(open)));
    }

    private static int port(String text) {
        int port = text.matches("[0-9]{1,5}") ? Integer.parseInt(text) : 0;
        return port <= MOST_PORT ? port : 0;
    }

    private static Response gone(HttpCall http, String id) {
        return refused(http, id, 502, "the sandbox was not found");
    }

    /** For a browser a page, for programs what they look for. */
    private static Response refused(HttpCall http, String id, int status, String message) {
        if (http.header("Accept").orElse("").contains("text/html")) {
            return Response.text(
                    status,
                    "text/html; charset=utf-8",
                    "<!DOCTYPE html><title>" + status + "</title><p>Sandbox " + id + ": "
                            + message.replace("&", "&amp;").replace("<", "&lt;"));
        }
        return Response.json(
                status,
                JsonNodeFactory.instance
                        .objectNode()
                        .put("sandboxId", id)
                        .put("message", message)
                        .put("code", status));
    }
}
