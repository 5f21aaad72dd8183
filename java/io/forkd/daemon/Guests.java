package io.forkd.daemon;

import io.forkd.ForkdException;
import io.forkd.agent.GuestException;
import io.forkd.agent.GuestStreams;
import io.forkd.daemon.GuestCalls.Place;
import io.forkd.engine.Call;
import io.forkd.engine.Engine;
import io.forkd.http.HttpCall;
import io.forkd.http.HttpFailure;
import io.forkd.sandbox.Found.Known;
import io.forkd.sandbox.Sandbox;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.ByteChannel;
import java.util.Optional;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.function.Function;

/** The streams of guests, for calls that name a sandbox. */
public final class Guests {
    private final Engine engine;
    private final GuestCalls calls;
    private final GuestCalls streams;

    /**
     * Asks nobody yet.
     *
     * @param calls those that wait for an answer
     * @param streams those that go on after it, each with a thread of its own
     */
    Guests(Engine engine, GuestCalls calls, GuestCalls streams) {
        this.engine = engine;
        this.calls = calls;
        this.streams = streams;
    }

    /** Something of a guest's that is open, what is held for it, and what a client is told of a failure of it. */
    public record Open<T extends AutoCloseable>(T stream, Place place, Function<ForkdException, HttpFailure> failures)
            implements AutoCloseable {
        public HttpFailure failure(ForkdException e) {
            return failures.apply(e);
        }

        @Override
        public void close() {
            closeQuietly(stream);
            place.close();
        }
    }

    public static void closeQuietly(AutoCloseable stream) {
        try {
            stream.close();
        } catch (Exception e) {
            throw new IllegalStateException("a guest's stream cannot be closed", e);
        }
    }

    /** The sandbox that the path names. */
    public Known sandbox(HttpCall http) {
        return sandbox(http, http.parameter("id"));
    }

    public Known sandbox(HttpCall http, String idOrName) {
        return SandboxLookup.usable(engine, http.caller(), SandboxLookup.id(engine, http.caller(), idOrName));
    }

    /** What a guest answers at once. Ends when the client goes away. */
    public <T> T ask(HttpCall http, Known sandbox, Function<GuestStreams, T> question) {
        return calls.ask(http.account(), sandbox.id(), () -> {
            Call call = Calls.of(http, Optional.empty());
            try (Engine.Use used = SandboxLookup.use(engine, http.caller(), sandbox, call)) {
                return asked(http, used.sandbox(), call, question);
            }
        });
    }

    /**
     * Opens what goes on for long. It is closed, beside by who has it, when the client goes away, so that nobody waits in it
     * any more.
     */
    public <T extends AutoCloseable> Open<T> open(HttpCall http, Known sandbox, Function<GuestStreams, T> opening) {
        Place place = streams.take(http.account(), sandbox.id());
        try {
            return calls.ask(http.account(), sandbox.id(), () -> {
                Call call = Calls.of(http, Optional.empty());
                Engine.Use used = SandboxLookup.use(engine, http.caller(), sandbox, call);
                try {
                    T stream = asked(http, used.sandbox(), call, opening);
                    http.onCancel(() -> closeQuietly(stream));
                    return new Open<>(stream, both(used, place), e -> failure(http, sandbox.id(), e));
                } catch (RuntimeException e) {
                    used.close();
                    throw e;
                }
            });
        } catch (RuntimeException e) {
            place.close();
            throw e;
        }
    }

    /** What goes on when the call has been answered; nobody is told how it ends. */
    public interface Task {
        void run(GuestStreams guest) throws IOException;
    }

    /** Begins it, in a thread of its own. */
    public void goOn(HttpCall http, Known sandbox, Task task) {
        Place place = streams.take(http.account(), sandbox.id());
        try {
            Engine.Use used = SandboxLookup.use(engine, http.caller(), sandbox, Calls.of(http, Optional.empty()));
            Place held = both(used, place);
            inThread("forkd-stdin", () -> {
                try (held) {
                    task.run(new GuestStreams(used.sandbox().vsock()));
                }
            });
        } catch (RuntimeException e) {
            place.close();
            throw e;
        }
    }

    /** Something that may fail, which others find out. */
    public interface Quiet {
        void run() throws IOException;
    }

    public static void inThread(String name, Quiet task) {
        Thread thread = new Thread(
                () -> {
                    try {
                        task.run();
                    } catch (IOException | ForkdException e) {
                        // As said.
                    }
                },
                name);
        thread.setDaemon(true);
        thread.start();
    }

    /** The use of a sandbox and the place, given back once. */
    private static Place both(Engine.Use used, Place place) {
        AtomicBoolean left = new AtomicBoolean();
        return () -> {
            if (left.compareAndSet(false, true)) {
                place.close();
                used.close();
            }
        };
    }

    private <T> T asked(HttpCall http, Sandbox sandbox, Call call, Function<GuestStreams, T> question) {
        try {
            engine.sandboxes().giveVolumesBack(sandbox.id());
            GuestStreams guest = new GuestStreams(sandbox.vsock());
            return call.interruptibly(() -> question.apply(guest));
        } catch (ForkdException e) {
            throw failure(http, sandbox.id(), e);
        }
    }

    /** Whatever goes wrong with a guest that has said nothing about it may have a reason that the host knows. */
    private HttpFailure failure(HttpCall http, String sandbox, ForkdException e) {
        HttpFailure failure = Failures.ofGuest(e);
        return e instanceof GuestException.Refused
                ? failure
                : SandboxLookup.pausedMeanwhile(engine, http.caller(), sandbox)
                        .orElseGet(() -> new HttpFailure(
                                failure.status(),
                                failure.text() + SandboxLookup.whyKilled(engine, http.caller(), sandbox),
                                Optional.empty()));
    }

    /** For channels, which know no other. */
    private static IOException cut(ForkdException e) {
        return new IOException(e.sentence(), e);
    }

    public static ByteChannel channel(Open<? extends ByteChannel> open) {
        return new Channel(open);
    }

    /** With failures as of any channel. */
    private record Channel(Open<? extends ByteChannel> open) implements ByteChannel {
        @Override
        public int read(ByteBuffer into) throws IOException {
            try {
                return open.stream().read(into);
            } catch (ForkdException e) {
                throw cut(e);
            }
        }

        @Override
        public int write(ByteBuffer bytes) throws IOException {
            try {
                return open.stream().write(bytes);
            } catch (ForkdException e) {
                throw cut(e);
            }
        }

        @Override
        public boolean isOpen() {
            return open.stream().isOpen();
        }

        @Override
        public void close() {
            open.close();
        }
    }
}
