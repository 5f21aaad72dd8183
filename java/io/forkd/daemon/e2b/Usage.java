package io.forkd.daemon.e2b;

import io.forkd.agent.GuestMetrics;
import io.forkd.agent.GuestStreams;
import io.forkd.daemon.Guests;
import io.forkd.http.HttpCall;
import io.forkd.http.HttpFailure;
import io.forkd.sandbox.Found.Known;
import java.time.Duration;
import java.time.Instant;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/** What a sandbox uses now, as its guest says. */
final class Usage {
    /** Between two looks at the guest's clock of processor time. */
    private static final Duration INTERVAL = Duration.ofMillis(100);

    private Usage() {}

    static ObjectNode of(Guests guests, HttpCall http, Known sandbox) {
        GuestMetrics before = guests.ask(http, sandbox, GuestStreams::metrics);
        try {
            Thread.sleep(INTERVAL.toMillis());
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new HttpFailure(503, "interrupted");
        }
        GuestMetrics now = guests.ask(http, sandbox, GuestStreams::metrics);
        long passed = Math.max(1, now.uptimeMillis() - before.uptimeMillis()) * 1000;
        double used = 100.0 * (now.cpuMicros() - before.cpuMicros()) / passed;
        Instant time = Instant.now();
        return JsonNodeFactory.instance
                .objectNode()
                .put("timestamp", time.toString())
                .put("timestampUnix", time.getEpochSecond())
                .put("cpuCount", now.cpus())
                .put("cpuUsedPct", Math.round(used * 100) / 100.0)
                .put("memUsed", now.memoryUsedBytes())
                .put("memTotal", now.memoryBytes())
                .put("memCache", now.memoryCacheBytes())
                .put("diskUsed", now.diskUsedBytes())
                .put("diskTotal", now.diskBytes());
    }
}
