package io.forkd.http;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import java.util.function.Function;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/**
 * Which handler answers what: {@code get("/v1/sandboxes/:id", call -> ...)}. A segment that begins with a colon matches
 * any one segment, and is the handler's {@linkplain HttpCall#parameter parameter}; a segment that is written out goes
 * before one that is not. A path with a slash too many is another path. HEAD is answered by what answers GET.
 *
 * <p>Filled before the server starts, by one thread; not changed afterwards.
 */
public final class Routes {
    /** Of a route for all methods; there may be others. */
    private static final String ANY = "*";

    /** Ends a template. */
    private static final String REST = "*";

    private static final List<String> METHODS = List.of("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS");

    /** Each as its method and its template; of one for all methods, the usual ones. */
    public List<String> list() {
        List<String> rows = new ArrayList<>();
        root.collect(rows);
        return rows;
    }

    /** One row of the table. */
    record Route(String method, String template, Takes body, Handler handler) {}

    /** What is done with the body of a request. */
    enum Takes {
        /** Its handler needs none. */
        NOTHING,
        /** It is read before the handler runs, and must be JSON. */
        JSON,
        /** The handler reads it. */
        STREAM
    }

    /** What a request is for. */
    sealed interface Match {
        record Found(Route route, Map<String, String> parameters) implements Match {}

        /** There is such a path, for other methods. */
        record OtherMethods(String template, String allowed) implements Match {}

        record Nothing() implements Match {}
    }

    private static final class Node {
        private final Map<String, Node> literals = new HashMap<>();
        private Optional<Node> parameter = Optional.empty();
        private final Map<String, Route> methods = new TreeMap<>();
        private boolean rest; // it takes all that is left

        private void collect(List<String> rows) {
            methods.values()
                    .forEach(route -> (route.method().equals(ANY) ? METHODS : List.of(route.method()))
                            .forEach(method ->
                                    rows.add(method + " " + route.template().replace(REST, ""))));
            literals.values().forEach(child -> child.collect(rows));
            parameter.ifPresent(child -> child.collect(rows));
        }
    }

    private final Node root = new Node();
    private final List<Claimed> claims = new ArrayList<>();

    public Routes get(String template, Handler handler) {
        return add(new Route("GET", template, Takes.NOTHING, handler));
    }

    public Routes delete(String template, Handler handler) {
        return add(new Route("DELETE", template, Takes.NOTHING, handler));
    }

    /** As {@link #postJson}. */
    public Routes deleteJson(String template, Handler handler) {
        return add(new Route("DELETE", template, Takes.JSON, handler));
    }

    /** Without a body, or with one of whatever type that the handler can do without: {@link HttpCall#optionalBody}. */
    public Routes post(String template, Handler handler) {
        return add(new Route("POST", template, Takes.NOTHING, handler));
    }

    /** With a JSON object as the body. */
    public Routes postJson(String template, Handler handler) {
        return add(new Route("POST", template, Takes.JSON, handler));
    }

    /** As {@link #postJson}. */
    public Routes putJson(String template, Handler handler) {
        return add(new Route("PUT", template, Takes.JSON, handler));
    }

    /** With a body of any length, which the handler reads: {@link HttpCall#input}. */
    public Routes putStream(String template, Handler handler) {
        return add(new Route("PUT", template, Takes.STREAM, handler));
    }

    /** For every method, with a body that the handler reads. A last segment {@code :name*} matches all that is left. */
    public Routes any(String template, Handler handler) {
        return add(new Route(ANY, template, Takes.STREAM, handler));
    }

    /** Requests that are not for the paths of this server, whatever their path and method. */
    @FunctionalInterface
    public interface Claim {
        /**
         * The parameters of its handler, if it claims a request.
         *
         * @param host that it is for, in lower case, without a port
         * @param path as it was sent
         * @param header the value of a field that it has
         */
        Optional<Map<String, String>> of(String host, String path, Function<String, Optional<String>> header);
    }

    /** Has the handler answer what is claimed; what was asked for first goes first. */
    public Routes claim(String template, Claim claim, Handler handler) {
        claims.add(new Claimed(claim, new Route(ANY, template, Takes.STREAM, handler)));
        return this;
    }

    /**
     * Has whatever is asked for of the hosts of a domain answered by {@code handler}: those whose first label the pattern
     * fits, which is its parameter {@code host}.
     */
    public Routes hosts(Pattern labels, String domain, Handler handler) {
        String suffix = "." + domain.toLowerCase(Locale.ROOT);
        return claim(
                "*" + suffix,
                (host, path, header) -> label(host, suffix)
                        .filter(label -> labels.matcher(label).matches())
                        .map(label -> Map.of("host", label)),
                handler);
    }

    private static Optional<String> label(String host, String suffix) {
        return host.endsWith(suffix)
                ? Optional.of(host.substring(0, host.length() - suffix.length()))
                : Optional.empty();
    }

    private record Claimed(Claim claim, Route route) {}

    /** @param host without its port */
    Optional<Match.Found> findClaimed(String host, String path, Function<String, Optional<String>> header) {
        String name = host.toLowerCase(Locale.ROOT);
        for (Claimed each : claims) {
            Optional<Map<String, String>> parameters = each.claim().of(name, path, header);
            if (parameters.isPresent()) {
                return parameters.map(found -> new Match.Found(each.route(), found));
            }
        }
        return Optional.empty();
    }

    private Routes add(Route route) {
        Node node = root;
        for (String segment : segments(route.template())) {
            if (segment.endsWith(REST)) {
                node.rest = true;
            } else if (segment.startsWith(":")) {
                Node child = node.parameter.orElseGet(Node::new);
                node.parameter = Optional.of(child);
                node = child;
            } else {
                node = node.literals.computeIfAbsent(segment, name -> new Node());
            }
        }
        if (node.methods.putIfAbsent(route.method(), route) != null) {
            throw new IllegalArgumentException("two routes for " + route.method() + " " + route.template());
        }
        return this;
    }

    /**
     * @param path as it was sent, still encoded: a slash that is encoded divides nothing
     * @throws HttpFailure 400 when a parameter is wrongly encoded
     */
    Match find(String method, String path) {
        List<String> values = new ArrayList<>();
        if (!path.startsWith("/")) {
            return new Match.Nothing();
        }
        Node node = find(root, segments(path), 0, values);
        if (node == null) {
            return new Match.Nothing();
        }
        // RFC 9110, 9.3.6 and 9.3.8: CONNECT asks for a tunnel, and TRACE would show what only this server was to see.
        Route any = Set.of("CONNECT", "TRACE").contains(method) ? null : node.methods.get(ANY);
        Route route = node.methods.getOrDefault(method.equals("HEAD") ? "GET" : method, any);
        if (route == null) {
            List<String> allowed = new ArrayList<>(node.methods.containsKey(ANY) ? METHODS : node.methods.keySet());
            if (allowed.contains("GET")) {
                allowed.add("HEAD");
            }
            String template = node.methods.values().iterator().next().template();
            return new Match.OtherMethods(template, String.join(", ", allowed));
        }
        Map<String, String> parameters = new HashMap<>();
        int next = 0;
        for (String segment : segments(route.template())) {
            if (segment.startsWith(":") && !segment.endsWith(REST)) {
                parameters.put(segment.substring(1), PercentCoding.decode(values.get(next++)));
            }
        }
        return new Match.Found(route, parameters);
    }

    private static @Nullable Node find(Node node, List<String> segments, int from, List<String> values) {
        if (from == segments.size() || node.rest) {
            return node.methods.isEmpty() ? null : node;
        }
        String segment = segments.get(from);
        Node literal = node.literals.get(segment);
        if (literal != null) {
            Node found = find(literal, segments, from + 1, values);
            if (found != null) {
                return found;
            }
        }
        if (node.parameter.isEmpty() || segment.isEmpty()) {
            return null;
        }
        values.add(segment);
        Node found = find(node.parameter.get(), segments, from + 1, values);
        if (found == null) {
            values.remove(values.size() - 1);
        }
        return found;
    }

    private static List<String> segments(String path) {
        return Arrays.asList(path.substring(1).split("/", -1));
    }
}
