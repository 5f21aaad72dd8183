package io.forkd.daemon.e2b;

import io.forkd.http.HeldInput;
import io.forkd.http.HeldInput.Place;
import io.forkd.http.HttpCall;
import io.forkd.http.Response;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.time.Duration;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.ScheduledFuture;
import java.util.concurrent.TimeUnit;

/**
 * Bodies that are read as they come, each by a thread of its own, which a client may hold up: so there are not too many at
 * a time, those that are to be in memory have to come soon, and have room together.
 */
final class Bodies {
    /** Of a message. */
    static final int MOST_BYTES = 4 << 20;

    /** What each may have without asking. */
    private static final int SHORT = 64 << 10;

    private static final int MOST_CALLS = 256;
    private static final long MOST_TOGETHER = 64L << 20;
    private static final Duration LONGEST = Duration.ofSeconds(30);

    private final HeldInput calls = new HeldInput(MOST_CALLS, "too many calls of sandboxes' daemons are under way");
    private final HeldInput room = new HeldInput(MOST_TOGETHER, "what such calls send is too long together");
    private final ScheduledExecutorService clock = Executors.newSingleThreadScheduledExecutor(task -> {
        Thread thread = new Thread(task, "forkd-e2b-clock");
        thread.setDaemon(true);
        return thread;
    });

    /** Makes an answer, and throws nothing. */
    interface Answer {
        Response make(Reader body);
    }

    /** Has it made on a thread of its own. */
    Response read(HttpCall http, Answer answer) {
        Place place = calls.hold(http.account(), 1);
        return Response.later(new Response.Job() {
            @Override
            public Response run() {
                try (Reader reader = new Reader(http, place)) {
                    return answer.make(reader);
                }
            }

            @Override
            public void close() {
                place.close();
            }
        });
    }

    /** The body of one call. */
    final class Reader implements AutoCloseable {
        private final HttpCall http;
        private final Place place;
        private Place held = () -> {};

        private Reader(HttpCall http, Place place) {
            this.http = http;
            this.place = place;
        }

        /** As it comes, without a bound of time or length. */
        InputStream stream() {
            return http.input();
        }

        /** Has room for so many bytes of it in memory, and no more for those before. */
        void makeRoom(int bytes) {
            held.close();
            held = bytes > SHORT ? room.hold(http.account(), bytes) : () -> {};
        }

        /** All of it. */
        byte[] whole() {
            ByteArrayOutputStream body = new ByteArrayOutputStream();
            ScheduledFuture<?> end =
                    clock.schedule(() -> closeInput(http.input()), LONGEST.toMillis(), TimeUnit.MILLISECONDS);
            byte[] chunk = new byte[8192];
            try {
                InputStream input = http.input();
                for (int count = input.read(chunk); count >= 0; count = input.read(chunk)) {
                    if (body.size() + count > MOST_BYTES) {
                        throw new ConnectFailure(
                                Code.RESOURCE_EXHAUSTED, "the message is longer than " + MOST_BYTES + " bytes");
                    }
                    if (body.size() <= SHORT && body.size() + count > SHORT) {
                        makeRoom(MOST_BYTES);
                    }
                    body.write(chunk, 0, count);
                }
            } catch (IOException e) {
                throw ConnectFailure.invalid("the body was cut off, or did not come in time");
            } finally {
                end.cancel(false);
            }
            place.close();
            return body.toByteArray();
        }

        /** What was read is needed no more. */
        @Override
        public void close() {
            held.close();
        }
    }

    private static void closeInput(InputStream input) {
        try {
            input.close();
        } catch (IOException e) {
            // Then it is over.
        }
    }
}
