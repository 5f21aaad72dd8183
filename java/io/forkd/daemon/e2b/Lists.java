package io.forkd.daemon.e2b;

import io.forkd.daemon.e2b.ControlRoutes.One;
import io.forkd.http.HttpCall;
import io.forkd.http.HttpFailure;
import io.forkd.http.PercentCoding;
import io.forkd.http.Response;
import io.forkd.sandbox.Lifetime;
import io.forkd.sandbox.Sandbox;
import io.forkd.snapshot.Manifest;
import java.time.DateTimeException;
import java.time.Instant;
import java.time.OffsetDateTime;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/** Sandboxes as E2B's control plane lists them. */
final class Lists {
    static final String RUNNING = "running";
    static final String PAUSED = "paused";

    private static final long MIB = 1 << 20;

    private Lists() {}

    static List<String> states(HttpCall http) {
        String given = http.query("state").orElse("");
        List<String> states = given.isEmpty() ? List.of(RUNNING, PAUSED) : List.of(given.split(",", -1));
        for (String state : states) {
            if (!state.equals(RUNNING) && !state.equals(PAUSED)) {
                throw new HttpFailure(400, "a state is running or paused, and not " + state);
            }
        }
        return states;
    }

    static Response answer(HttpCall http, List<One> all, List<String> states) {
        Map<String, String> metadata = metadata(http.query("metadata").orElse(""));
        Optional<Instant> after = http.query("startedAfter").map(Lists::time);
        Optional<String> template = http.query("template");
        boolean oldest = http.query("order").orElse("desc").equals("asc");
        Comparator<One> order = Comparator.<One, Instant>comparing(
                        each -> each.settings().startedAt())
                .thenComparing(One::id);
        List<One> found = all.stream()
                .filter(each -> states.contains(state(each)))
                .filter(each -> each.settings().metadata().entrySet().containsAll(metadata.entrySet()))
                .filter(each -> template.isEmpty()
                        || template.equals(Optional.of(each.settings().template())))
                .filter(each -> after.isEmpty() || each.settings().startedAt().isAfter(after.get()))
                .sorted(oldest ? order : order.reversed())
                .toList();
        return Pages.answer(http, found, Lists::key, !oldest, Lists::detail);
    }

    /** Sorts as they do. */
    private static String key(One one) {
        return Pages.key(one.settings().startedAt(), one.id());
    }

    private static Instant time(String text) {
        try {
            return OffsetDateTime.parse(text).toInstant();
        } catch (DateTimeException e) {
            throw new HttpFailure(400, "startedAfter is no time as RFC 3339 has it");
        }
    }

    /** It is itself an encoded query, in one value, of texts that were encoded before. */
    private static Map<String, String> metadata(String text) {
        Map<String, String> wanted = new HashMap<>();
        for (String pair : text.split("&", -1)) {
            int equals = pair.indexOf('=');
            if (equals > 0) {
                wanted.put(decode(decode(pair.substring(0, equals))), decode(decode(pair.substring(equals + 1))));
            }
        }
        return wanted;
    }

    private static String decode(String text) {
        return PercentCoding.decode(text.replace('+', ' '));
    }

    static String state(One one) {
        return one.isPaused() ? PAUSED : RUNNING;
    }

    static ObjectNode detail(One one) {
        Sandbox sandbox = one.found().sandbox();
        Settings settings = one.settings();
        Lifetime lifetime = sandbox.lifetime();
        Manifest manifest = Manifest.read(Sandbox.manifest(sandbox.directory()));
        ObjectNode node = JsonNodeFactory.instance
                .objectNode()
                .put("sandboxID", SandboxIds.outward(sandbox.id()))
                .put("templateID", settings.template())
                .put("alias", settings.template())
                .put("clientID", "forkd")
                .put("envdVersion", ControlRoutes.ENVD_VERSION)
                .put("startedAt", settings.startedAt().toString())
                .put("endAt", lifetime.end().orElseGet(Instant::now).toString())
                .put("cpuCount", manifest.machine().vcpus())
                .put("memoryMB", manifest.memoryBytes() / MIB)
                .put(
                        "diskSizeMB",
                        manifest.disks().stream()
                                        .mapToLong(disk -> disk.bytes())
                                        .sum()
                                / MIB)
                .put("state", state(one));
        ObjectNode metadata = node.putObject("metadata");
        settings.metadata().forEach(metadata::put);
        ObjectNode after = node.putObject("lifecycle");
        after.putObject("autoResume").put("enabled", lifetime.wake());
        after.put("onTimeout", lifetime.pause() ? "pause" : "kill");
        if (!settings.network().isEmpty()) {
            node.set("network", settings.network());
        }
        settings.internet().ifPresent(allowed -> node.put("allowInternetAccess", allowed));
        node.putArray("volumeMounts");
        return node;
    }
}
