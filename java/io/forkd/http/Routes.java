package io.forkd.http;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;

/**
 * Which handler answers what: {@code get("/v1/sandboxes/:id", call -> ...)}. A segment that begins with a colon matches
 * any one segment, and is the handler's {@linkplain HttpCall#parameter parameter}; a segment that is written out goes
 * before one that is not. A path with a slash too many is another path. HEAD is answered by what answers GET.
 *
 * <p>Filled before the server starts, by one thread; not changed afterwards.
 */
public final class Routes {
    /** Each as its method and its template. */
    public List<String> list() {
        List<String> rows = new ArrayList<>();
        root.collect(rows);
        return rows;
    }

    /** One row of the table. */
    record Route(String method, String template, boolean hasBody, Handler handler) {}

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

        private void collect(List<String> rows) {
            methods.values().forEach(route -> rows.add(route.method() + " " + route.template()));
            literals.values().forEach(child -> child.collect(rows));
            parameter.ifPresent(child -> child.collect(rows));
        }
    }

    private final Node root = new Node();

    public Routes get(String template, Handler handler) {
        return add(new Route("GET", template, false, handler));
    }

    public Routes delete(String template, Handler handler) {
        return add(new Route("DELETE", template, false, handler));
    }

    /** Without a body: whatever is sent as one, of whatever type, is ignored. */
    public Routes post(String template, Handler handler) {
        return add(new Route("POST", template, false, handler));
    }

    /** With a JSON object as the body. */
    public Routes postJson(String template, Handler handler) {
        return add(new Route("POST", template, true, handler));
    }

    /** As {@link #postJson}. */
    public Routes putJson(String template, Handler handler) {
        return add(new Route("PUT", template, true, handler));
    }

    private Routes add(Route route) {
        Node node = root;
        for (String segment : segments(route.template())) {
            if (segment.startsWith(":")) {
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
        Route route = node.methods.get(method.equals("HEAD") ? "GET" : method);
        if (route == null) {
            List<String> allowed = new ArrayList<>(node.methods.keySet());
            if (allowed.contains("GET")) {
                allowed.add("HEAD");
            }
            String template = node.methods.values().iterator().next().template();
            return new Match.OtherMethods(template, String.join(", ", allowed));
        }
        Map<String, String> parameters = new HashMap<>();
        int next = 0;
        for (String segment : segments(route.template())) {
            if (segment.startsWith(":")) {
                parameters.put(segment.substring(1), PercentCoding.decode(values.get(next++)));
            }
        }
        return new Match.Found(route, parameters);
    }

    private static @Nullable Node find(Node node, List<String> segments, int from, List<String> values) {
        if (from == segments.size()) {
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
