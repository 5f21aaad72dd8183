package io.forkd.daemon.e2b;

import io.forkd.http.HttpCall;
import io.forkd.http.Response;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.time.Duration;
import java.util.Locale;
import java.util.function.Function;
import java.util.function.Supplier;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/** Calls by the protocol Connect, of which there is what E2B's clients use: JSON, and no compression. */
final class Connect {
    private static final String MESSAGE = "application/json";
    private static final String FRAMES = "application/connect+json";

    private final Bodies bodies;

    Connect(Bodies bodies) {
        this.bodies = bodies;
    }

    /** What a call goes on telling. */
    interface Told extends AutoCloseable {
        /** What is told first, at once. */
        ObjectNode start();

        /** Waits so long until {@link #next} has something; false when it has not. */
        boolean awaitNews(Duration time);

        /** Tells what has come; false when it was the last. */
        boolean next(Frame out) throws IOException;

        ObjectNode keepalive();

        /** What the client hears of what goes wrong. */
        ConnectFailure failure(RuntimeException e);

        @Override
        void close();
    }

    /** Takes a message at once. */
    interface Frame {
        void write(ObjectNode message) throws IOException;
    }

    // --- one message, one answer ---

    Response unary(HttpCall http, Function<Fields, ObjectNode> method) {
        return answered(() -> {
            requireType(http, MESSAGE);
            requirePlain(http, "Content-Encoding");
            return bodies.read(
                    http,
                    body -> answered(() -> {
                        byte[] json = body.whole();
                        return Response.json(200, method.apply(Fields.parse(json)));
                    }));
        });
    }

    static Response answered(Supplier<Response> answer) {
        try {
            return answer.get();
        } catch (RuntimeException e) {
            ConnectFailure failure = ConnectFailure.of(e);
            return Response.json(failure.status(), failure.json());
        }
    }

    private static void requireType(HttpCall http, String type) {
        String given = http.header("Content-Type").orElse("").split(";", 2)[0].strip();
        if (!given.toLowerCase(Locale.ROOT).equals(type)) {
            throw ConnectFailure.wrongType(type);
        }
    }

    private static void requirePlain(HttpCall http, String header) {
        if (http.header(header)
                .filter(name -> !name.equalsIgnoreCase("identity"))
                .isPresent()) {
            throw new ConnectFailure(Code.UNIMPLEMENTED, "messages must not be compressed: " + header);
        }
    }

    // --- one message, many answers ---

    Response stream(HttpCall http, EnvdCall call, Function<Fields, Told> method) {
        return framed(http, body -> {
            Duration interval = call.keepalive();
            long limit = call.timeout().map(Duration::toNanos).orElse(Long.MAX_VALUE);
            Told told = method.apply(Frames.single(new ByteArrayInputStream(body.whole())));
            return Response.stream(200, FRAMES, new Response.Writer() {
                @Override
                public void write(OutputStream out) throws IOException {
                    tell(told, interval.toNanos(), limit, out);
                }

                @Override
                public void close() {
                    told.close();
                }
            });
        });
    }

    /**
     * Until it is over.
     *
     * @param interval after which a client hears that it is not, in ns
     * @param limit the time for all of it, in ns
     */
    private static void tell(Told told, long interval, long limit, OutputStream out) throws IOException {
        try {
            long begun = System.nanoTime();
            long spoken = begun;
            Frames.write(out, told.start());
            for (boolean more = true; more; ) {
                long now = System.nanoTime();
                if (now - begun >= limit) {
                    throw new ConnectFailure(Code.DEADLINE_EXCEEDED, "the time of the call is over");
                }
                if (now - spoken >= interval) {
                    Frames.write(out, told.keepalive());
                    spoken = now;
                }
                long left = Math.min(limit - (now - begun), interval - (now - spoken));
                if (told.awaitNews(Duration.ofNanos(left))) {
                    more = told.next(message -> Frames.write(out, message));
                    spoken = System.nanoTime();
                }
            }
            Frames.end(out);
        } catch (RuntimeException e) {
            Frames.end(out, told.failure(e));
        }
    }

    // --- many messages, one answer ---

    /** Takes messages as they come. */
    interface Sink {
        void take(Bodies.Reader body);
    }

    Response clientStream(HttpCall http, Sink method) {
        return framed(http, body -> {
            method.take(body);
            return ended(out -> {
                Frames.write(out, JsonNodeFactory.instance.objectNode());
                Frames.end(out);
            });
        });
    }

    private Response framed(HttpCall http, Function<Bodies.Reader, Response> method) {
        return answered(() -> {
            requireType(http, FRAMES);
            return bodies.read(http, body -> {
                try {
                    requirePlain(http, "Connect-Content-Encoding");
                    return method.apply(body);
                } catch (RuntimeException e) {
                    ConnectFailure failure = ConnectFailure.of(e);
                    return ended(out -> Frames.end(out, failure));
                }
            });
        });
    }

    private static Response ended(Response.Writer writer) {
        return Response.stream(200, FRAMES, writer);
    }
}
