package io.forkd.daemon;

import static io.forkd.http.Handler.notForReaders;

import io.forkd.ForkdException;
import io.forkd.Json;
import io.forkd.agent.GuestException;
import io.forkd.agent.GuestProcess;
import io.forkd.agent.ProcessName;
import io.forkd.agent.RunRequest;
import io.forkd.agent.TerminalSize;
import io.forkd.daemon.Guests.Open;
import io.forkd.http.HttpCall;
import io.forkd.http.HttpFailure;
import io.forkd.http.Response;
import io.forkd.http.Routes;
import io.forkd.http.WebSocket;
import io.forkd.sandbox.Found.Known;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ObjectNode;

/**
 * A program of a guest and somebody who talks to it, over a WebSocket. Binary messages are bytes behind one that says of
 * what: to the program 0, its input; from it 1, its stdout or terminal, and 2, its stderr. Texts are JSON: first its pid, last
 * how it ended; and to it a signal, a new size of its terminal, or the end of its input.
 */
final class ExecSocket {
    private static final byte STDIN = 0;
    private static final byte STDOUT = 1;
    private static final byte STDERR = 2;
    private static final int MOST_SIZE = 65535;
    private static final int MOST_SIGNAL = 64;
    private static final long LONGEST = Duration.ofDays(7).toSeconds();

    private final Guests guests;

    ExecSocket(Guests guests) {
        this.guests = guests;
    }

    void addTo(Routes routes) {
        routes.get("/v1/sandboxes/:id/exec", notForReaders(this::exec));
    }

    private Response exec(HttpCall http) {
        Known sandbox = guests.sandbox(http);
        Optional<ProcessName> present = http.query("attach").map(ProcessName::parse);
        List<String> arguments = http.queries("arg");
        if (arguments.isEmpty() == present.isEmpty()) {
            throw new HttpFailure(400, "either what to run is given, arg by arg, or what to attach to");
        }
        RunRequest request = request(http, arguments);
        WebSocket.require(http);
        Open<GuestProcess> open = guests.open(
                http,
                sandbox,
                guest -> present.isPresent() ? guest.attach(present.get(), Optional.empty()) : guest.run(request));
        return WebSocket.answer(http, new Talk(open));
    }

    private static RunRequest request(HttpCall http, List<String> arguments) {
        OptionalLong rows = http.queryNumber("rows", 1, MOST_SIZE);
        OptionalLong columns = http.queryNumber("columns", 1, MOST_SIZE);
        if (rows.isPresent() != columns.isPresent()) {
            throw new HttpFailure(400, "a terminal has rows and columns, and only one of them is given");
        }
        Map<String, String> variables = new LinkedHashMap<>();
        for (String variable : http.queries("env")) {
            int equals = variable.indexOf('=');
            if (equals < 1) {
                throw new HttpFailure(400, "env must be NAME=VALUE");
            }
            variables.put(variable.substring(0, equals), variable.substring(equals + 1));
        }
        OptionalLong seconds = http.queryNumber("timeout_secs", 0, LONGEST);
        return new RunRequest(
                arguments,
                variables,
                http.query("cwd"),
                http.query("user"),
                http.queryFlag("stdin"),
                rows.isPresent()
                        ? Optional.of(new TerminalSize((int) rows.getAsLong(), (int) columns.getAsLong()))
                        : Optional.empty(),
                seconds.isPresent() ? Optional.of(Duration.ofSeconds(seconds.getAsLong())) : Optional.empty(),
                http.query("tag"),
                http.queryFlag("detach"));
    }

    /** Two threads: what comes from the client, and what comes from the program. */
    private record Talk(Open<GuestProcess> open) implements WebSocket.Conversation {
        @Override
        public void hold(WebSocket socket) throws IOException {
            socket.send(Json.text(Wire.object().put("pid", open.stream().pid())));
            Thread listener = new Thread(() -> listen(socket), "forkd-exec");
            listener.setDaemon(true);
            listener.start();
            while (tell(socket)) {
                // As long as there is more.
            }
        }

        private boolean tell(WebSocket socket) throws IOException {
            try {
                GuestProcess.Event event = open.stream().next();
                if (event instanceof GuestProcess.Event.Stdout out) {
                    socket.send(labelled(STDOUT, out.bytes()));
                } else if (event instanceof GuestProcess.Event.Stderr err) {
                    socket.send(labelled(STDERR, err.bytes()));
                } else if (event instanceof GuestProcess.Event.Ended ended) {
                    ObjectNode last =
                            Wire.object().put("exit_code", ended.exit().code());
                    socket.send(Json.text(ended.exit().timedOut() ? last.put("timed_out", true) : last));
                    return false;
                }
                return true;
            } catch (ForkdException e) {
                socket.send(Json.text(Wire.object().put("error", open.failure(e).text())));
                return false;
            }
        }

        private static ByteBuffer labelled(byte stream, ByteBuffer bytes) {
            return ByteBuffer.allocate(1 + bytes.remaining())
                    .put(stream)
                    .put(bytes)
                    .flip();
        }

        /** Until the client is gone; the program may go on. */
        private void listen(WebSocket socket) {
            try {
                for (Optional<WebSocket.Message> next = socket.next(); next.isPresent(); next = socket.next()) {
                    if (!take(next.get())) {
                        socket.send(Json.text(
                                Wire.object().put("error", "the message is not one of those that there are")));
                        break;
                    }
                }
            } catch (GuestException e) {
                return; // The program is gone: the other thread tells how it ended.
            } catch (IOException | ForkdException e) {
                // The client is gone.
            }
            open.stream().close();
        }

        private boolean take(WebSocket.Message message) {
            if (message instanceof WebSocket.Message.Binary binary) {
                if (!binary.bytes().hasRemaining()
                        || binary.bytes().get() != STDIN
                        || !open.stream().takesInput()) {
                    return false;
                }
                open.stream().write(binary.bytes());
                return true;
            }
            JsonNode json;
            try {
                json = Json.parseBounded(
                        ((WebSocket.Message.Text) message).text().getBytes(StandardCharsets.UTF_8));
            } catch (JacksonException e) {
                return false;
            }
            int signal = json.path("signal").asInt(0);
            int rows = json.path("rows").asInt(0);
            int columns = json.path("columns").asInt(0);
            if (signal >= 1 && signal <= MOST_SIGNAL) {
                ask(() -> open.stream().signal(signal, json.path("group").asBoolean(false)));
            } else if (rows >= 1 && rows <= MOST_SIZE && columns >= 1 && columns <= MOST_SIZE) {
                ask(() -> open.stream().resize(new TerminalSize(rows, columns)));
            } else if (json.path("end").asBoolean(false) && open.stream().takesInput()) {
                open.stream().endInput();
            } else {
                return false;
            }
            return true;
        }

        /** It may have ended meanwhile, or have no terminal. */
        private static void ask(Runnable question) {
            try {
                question.run();
            } catch (GuestException.Refused e) {
                // Then there is nothing to be done.
            }
        }

        @Override
        public void close() {
            open.close();
        }
    }
}
