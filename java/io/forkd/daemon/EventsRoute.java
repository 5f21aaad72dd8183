package io.forkd.daemon;

import static io.forkd.http.Handler.forUsers;

import io.forkd.Json;
import io.forkd.engine.Events;
import io.forkd.engine.Events.Event;
import io.forkd.engine.Events.Kind;
import io.forkd.http.Caller;
import io.forkd.http.HttpCall;
import io.forkd.http.HttpFailure;
import io.forkd.http.Response;
import io.forkd.http.Routes;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Optional;
import java.util.concurrent.Semaphore;
import tools.jackson.databind.node.ObjectNode;

/** {@code /v1/events}: what has happened, as server-sent events. */
final class EventsRoute {
    /** Each holds a thread. */
    private static final int AT_ONCE = 32;

    /** How soon a client that has gone away is noticed. */
    private static final Duration BEAT = Duration.ofSeconds(10);

    private final Events events;
    private final Semaphore readers = new Semaphore(AT_ONCE);

    EventsRoute(Events events) {
        this.events = events;
    }

    void addTo(Routes routes) {
        routes.get("/v1/events", forUsers(this::events));
    }

    private Response events(HttpCall http) {
        // HEAD gets no body, and so nothing that goes on.
        boolean follow = http.method().equals("GET") && (http.query("follow").isEmpty() || http.queryFlag("follow"));
        Optional<String> cursor = http.header("Last-Event-ID").or(() -> http.query("after"));
        Events.Reader reader = events.reader(cursor);
        Caller caller = http.caller();
        if (follow && !readers.tryAcquire()) {
            throw new HttpFailure(503, AT_ONCE + " clients listen to events, and no more may; try again");
        }
        http.onCancel(reader::stop);
        return Response.stream(200, "text/event-stream", out -> {
                    try {
                        send(reader, caller, follow, out);
                    } finally {
                        if (follow) {
                            readers.release();
                        }
                    }
                })
                .withHeader("Cache-Control", "no-store");
    }

    private void send(Events.Reader reader, Caller caller, boolean follow, OutputStream out) throws IOException {
        try {
            out.write(": forkd\n\n".getBytes(StandardCharsets.UTF_8));
            out.flush();
            while (true) {
                Optional<Event> event = reader.next(follow ? BEAT : Duration.ZERO);
                if (event.isPresent()) {
                    if (isFor(caller, event.get())) {
                        out.write(text(event.get()).getBytes(StandardCharsets.UTF_8));
                        out.flush();
                    }
                } else if (!follow || reader.isOver()) {
                    return;
                } else {
                    out.write(":\n\n".getBytes(StandardCharsets.UTF_8));
                    out.flush();
                }
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    /** A user hears of its own, and that it has missed something. */
    private static boolean isFor(Caller caller, Event event) {
        return caller.owner().isEmpty()
                || event.kind() == Kind.LOST
                || caller.owner().equals(event.owner());
    }

    private String text(Event event) {
        ObjectNode data = Wire.object()
                .put("time", event.time().toString())
                .put("event", event.kind().word());
        switch (event.kind()) {
            case CREATED, RESET -> data.put("sandbox", event.of()).put("snapshot", event.detail());
            case ENDED, PAUSED -> data.put("sandbox", event.of()).put("reason", event.detail());
            case TAKEN, GIVEN_BACK -> data.put("sandbox", event.of()).put("pool", event.detail());
            case RESUMED -> data.put("sandbox", event.of());
            case BRANCHED -> data.put("sandbox", event.of()).put("snapshot", event.detail());
            case SNAPSHOT_MADE, SNAPSHOT_REMOVED -> data.put("snapshot", event.of());
            case LOST -> {}
        }
        return "id: " + events.cursor(event) + "\nevent: " + event.kind().word() + "\ndata: " + Json.text(data)
                + "\n\n";
    }
}
