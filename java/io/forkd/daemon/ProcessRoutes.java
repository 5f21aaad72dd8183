package io.forkd.daemon;

import static io.forkd.http.Handler.forUsers;

import io.forkd.ForkdException;
import io.forkd.agent.GuestProcess;
import io.forkd.agent.GuestProcess.Position;
import io.forkd.agent.GuestProcessEntry;
import io.forkd.agent.ProcessName;
import io.forkd.agent.RunRequest;
import io.forkd.daemon.Guests.Open;
import io.forkd.http.Body;
import io.forkd.http.HeldInput;
import io.forkd.http.HeldInput.Place;
import io.forkd.http.HttpCall;
import io.forkd.http.HttpFailure;
import io.forkd.http.Response;
import io.forkd.http.Routes;
import io.forkd.sandbox.Found.Known;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.ByteBuffer;
import java.util.Base64;
import java.util.Optional;
import java.util.OptionalLong;
import tools.jackson.databind.node.ObjectNode;

/** Programs of guests that go on beside the call that started them. */
final class ProcessRoutes {
    private static final int MOST_SIGNAL = 64;

    private static final long MOST_INPUT = 32L << 20;

    private final Guests guests;
    private final HeldInput held =
            new HeldInput(MOST_INPUT, "programs have not taken the input that they were given before");

    ProcessRoutes(Guests guests) {
        this.guests = guests;
    }

    void addTo(Routes routes) {
        routes.get("/v1/sandboxes/:id/processes", forUsers(this::list));
        routes.postJson("/v1/sandboxes/:id/processes/:pid/signal", forUsers(this::signal));
        routes.post("/v1/sandboxes/:id/processes/:pid/attach", forUsers(this::attach));
    }

    private Response list(HttpCall http) {
        return Response.json(
                200,
                Wire.array(guests.ask(http, guests.sandbox(http), guest -> guest.processes()), ProcessRoutes::process));
    }

    private static ObjectNode process(GuestProcessEntry entry) {
        ObjectNode node = Wire.object().put("pid", entry.pid());
        entry.tag().ifPresentOrElse(tag -> node.put("tag", tag), () -> node.putNull("tag"));
        node.set("args", Wire.texts(entry.argv()));
        node.put("cwd", entry.directory())
                .put("pty", entry.terminal())
                .put("started_ms", entry.started().toEpochMilli());
        entry.exitCode().ifPresentOrElse(code -> node.put("exit_code", code), () -> node.putNull("exit_code"));
        return node;
    }

    private Response signal(HttpCall http) {
        Body body = http.body();
        int signal = (int) body.number("signal", 1, MOST_SIGNAL);
        boolean group = body.flag("group", false);
        guests.ask(http, guests.sandbox(http), guest -> {
            guest.signal(name(http), signal, group);
            return true;
        });
        return Response.empty(204);
    }

    private static ProcessName name(HttpCall http) {
        return ProcessName.parse(http.parameter("pid"));
    }

    private Response attach(HttpCall http) {
        OptionalLong stdout = http.queryNumber("stdout", 0, Long.MAX_VALUE);
        OptionalLong stderr = http.queryNumber("stderr", 0, Long.MAX_VALUE);
        Optional<Position> from = stdout.isPresent() || stderr.isPresent()
                ? Optional.of(new Position(stdout.orElse(0), stderr.orElse(0)))
                : Optional.empty();
        return lines(
                guests.open(http, guests.sandbox(http), guest -> guest.attach(name(http), from)),
                Optional.empty(),
                () -> {});
    }

    /** Runs it, and tells what it writes while it does. */
    Response run(HttpCall http, Known sandbox, RunRequest request, Optional<byte[]> input) {
        Place place = hold(http, input);
        try {
            return lines(guests.open(http, sandbox, guest -> guest.run(request)), input, place);
        } catch (RuntimeException e) {
            place.close();
            throw e;
        }
    }

    private Place hold(HttpCall http, Optional<byte[]> input) {
        return held.hold(http.caller().owner(), input.map(bytes -> bytes.length).orElse(0));
    }

    /** Starts it, and listens no more. */
    Response start(HttpCall http, Known sandbox, RunRequest request, Optional<byte[]> input) {
        Place place = hold(http, input);
        try {
            return start(http, sandbox, request, input, place);
        } catch (RuntimeException e) {
            place.close();
            throw e;
        }
    }

    private Response start(HttpCall http, Known sandbox, RunRequest request, Optional<byte[]> input, Place place) {
        long pid = guests.ask(http, sandbox, guest -> {
            try (GuestProcess process = guest.run(request)) {
                return process.pid();
            }
        });
        input.ifPresent(bytes -> guests.goOn(http, sandbox, guest -> {
            try (place) {
                guest.feed(new ProcessName.Pid(pid), new ByteArrayInputStream(bytes));
            }
        }));
        ObjectNode started = Wire.object().put("pid", pid);
        request.tag().ifPresentOrElse(tag -> started.put("tag", tag), () -> started.putNull("tag"));
        return Response.json(202, started);
    }

    /** Until the program has taken all of it, or has ended, or the stream is closed: who reads finds out. */
    private static void feed(GuestProcess process, byte[] input) {
        Guests.inThread("forkd-stdin", () -> process.feed(new ByteArrayInputStream(input)));
    }

    private static Response lines(Open<GuestProcess> open, Optional<byte[]> input, Place place) {
        return Response.stream(200, Wire.LINES, new Response.Writer() {
            @Override
            public void write(OutputStream out) throws IOException {
                GuestProcess process = open.stream();
                Position from = process.position();
                ObjectNode first = Wire.object().put("pid", process.pid());
                first.putArray("from").add(from.stdout()).add(from.stderr());
                Wire.line(out, first);
                input.ifPresent(bytes -> feed(process, bytes));
                boolean ended = false;
                while (!ended) {
                    ended = tell(open, out);
                }
            }

            @Override
            public void close() {
                open.close();
                place.close();
            }
        });
    }

    /** The next that it does; whether it was the last. */
    private static boolean tell(Open<GuestProcess> open, OutputStream out) throws IOException {
        GuestProcess.Event event;
        try {
            event = open.stream().next();
        } catch (ForkdException e) {
            HttpFailure failure = open.failure(e);
            Wire.lastLine(out, Wire.object().put("error", failure.text()));
            return true;
        }
        if (event instanceof GuestProcess.Event.Ended ended) {
            ObjectNode last = Wire.object().put("exit_code", ended.exit().code());
            if (ended.exit().timedOut()) {
                last.put("timed_out", true);
            }
            Wire.lastLine(out, last);
            return true;
        }
        boolean stdout = event instanceof GuestProcess.Event.Stdout;
        ByteBuffer bytes = event instanceof GuestProcess.Event.Stdout written
                ? written.bytes()
                : ((GuestProcess.Event.Stderr) event).bytes();
        byte[] copy = new byte[bytes.remaining()];
        bytes.get(copy);
        Wire.line(
                out,
                Wire.object()
                        .put("stream", stdout ? "stdout" : "stderr")
                        .put("data_base64", Base64.getEncoder().encodeToString(copy)));
        return false;
    }
}
