package io.forkd.daemon;

import static io.forkd.http.Handler.forUsers;

import io.forkd.ForkdException;
import io.forkd.daemon.GuestCalls.Place;
import io.forkd.engine.Call;
import io.forkd.engine.Engine;
import io.forkd.http.HttpCall;
import io.forkd.http.Response;
import io.forkd.http.Routes;
import io.forkd.sandbox.ConsoleLog;
import java.io.IOException;
import java.io.OutputStream;
import java.util.Optional;
import java.util.OptionalLong;

/** {@code /v1/sandboxes/:id/logs}: what guests write to their consoles. */
final class LogsRoute {
    private final Engine engine;
    private final GuestCalls streams;

    /** @param streams those that go on for long, each with a thread of its own */
    LogsRoute(Engine engine, GuestCalls streams) {
        this.engine = engine;
        this.streams = streams;
    }

    void addTo(Routes routes) {
        routes.get("/v1/sandboxes/:id/logs", forUsers(this::logs));
    }

    private Response logs(HttpCall http) {
        boolean follow = http.queryFlag("follow");
        OptionalLong tail = http.query("tail").filter("all"::equals).isPresent()
                ? OptionalLong.empty()
                : http.queryNumber("tail", 0, Long.MAX_VALUE);
        String id = SandboxLookup.find(
                        engine, http.caller(), SandboxLookup.id(engine, http.caller(), http.parameter("id")))
                .id();
        Call call = Calls.of(http, Optional.empty());
        Place place = streams.take(http.caller().owner(), id);
        try {
            ConsoleLog log = engine.sandboxes().console(id);
            return Response.stream(200, "text/plain; charset=utf-8", new Response.Writer() {
                @Override
                public void write(OutputStream out) throws IOException {
                    send(id, log, tail, follow, out, call);
                }

                @Override
                public void close() {
                    log.close();
                    place.close();
                }
            });
        } catch (RuntimeException e) {
            place.close();
            throw e;
        }
    }

    private void send(String id, ConsoleLog log, OptionalLong tail, boolean follow, OutputStream out, Call call)
            throws IOException {
        if (tail.isPresent()) {
            log.skipToLast(tail.getAsLong());
        }
        log.copyTo(out);
        if (follow) {
            try {
                engine.sandboxes().follow(id, log, out, call);
            } catch (ForkdException e) {
                throw new IOException(e.sentence(), e); // Nobody waits any more.
            }
        }
    }
}
