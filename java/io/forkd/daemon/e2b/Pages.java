package io.forkd.daemon.e2b;

import io.forkd.http.HttpCall;
import io.forkd.http.Response;
import java.time.Instant;
import java.util.List;
import java.util.Optional;
import java.util.function.Function;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/** Lists as E2B's control plane gives them: {@code limit} at a time, and {@code X-Next-Token} when there is more. */
final class Pages {
    private static final int PAGE = 100;
    private static final long MOST_PAGE = 1000;

    private Pages() {}

    /** Sorts as times do, and then by the name. */
    static String key(Instant time, String name) {
        long seconds = time.getEpochSecond();
        int nanos = time.getNano();
        return String.format("%012d.%09d.%s", seconds, nanos, name);
    }

    /**
     * A page, which begins behind the one that the last ended with, whatever came and went meanwhile.
     *
     * @param sorted all of them
     * @param key of each, by which they are sorted
     * @param falling whether the largest key is the first
     */
    static <T> Response answer(
            HttpCall http, List<T> sorted, Function<T, String> key, boolean falling, Function<T, ObjectNode> view) {
        Optional<String> last = http.query("nextToken").filter(token -> !token.isEmpty());
        int limit = (int) http.queryNumber("limit", 1, MOST_PAGE).orElse(PAGE);
        List<T> rest = last.map(token -> sorted.stream()
                        .filter(each -> falling
                                ? key.apply(each).compareTo(token) < 0
                                : key.apply(each).compareTo(token) > 0)
                        .toList())
                .orElse(sorted);
        ArrayNode page = JsonNodeFactory.instance.arrayNode();
        rest.stream().limit(limit).map(view).forEach(page::add);
        Response answer = Response.json(200, page);
        return rest.size() > limit ? answer.withHeader("X-Next-Token", key.apply(rest.get(limit - 1))) : answer;
    }
}
