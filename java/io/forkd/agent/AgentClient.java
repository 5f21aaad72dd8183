package io.forkd.agent;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.Json;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Base64;
import java.util.List;
import java.util.Optional;
import java.util.function.Function;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/** Speaks the line-JSON protocol of a guest's agent: one request for each connection. */
public final class AgentClient implements Agent {
    /** The guest of a busy host takes long, one that hangs for ever. */
    private static final Duration CONNECT = Duration.ofSeconds(30);

    private static final Duration PING = Duration.ofSeconds(3);

    /** It writes out what the guest has not yet, through a disk that may be slow. */
    private static final Duration UNMOUNT = Duration.ofMinutes(1);

    /** What the agent has beyond a time limit, to end what exceeds it and to say so. */
    private static final Duration GRACE = Duration.ofSeconds(10);

    private static final int MAX_SIGNAL = 127;

    private final AgentAddress address;

    public AgentClient(AgentAddress address) {
        this.address = address;
    }

    /** Takes what a command writes, as it is written. */
    public interface Output {
        void stdout(byte[] bytes);

        void stderr(byte[] bytes);

        /** Collects the first MiB; {@code out} and {@code err} may be the same. */
        static Output into(ByteArrayOutputStream out, ByteArrayOutputStream err) {
            return new Output() {
                @Override
                public void stdout(byte[] bytes) {
                    collect(bytes, out);
                }

                @Override
                public void stderr(byte[] bytes) {
                    collect(bytes, err);
                }
            };
        }

        private static void collect(byte[] bytes, ByteArrayOutputStream to) {
            to.write(bytes, 0, Math.min(bytes.length, Math.max(0, (1 << 20) - to.size())));
        }
    }

    @Override
    public ObjectNode ping() {
        return ask(JsonNodeFactory.instance.objectNode().put("action", "ping"), PING, PING);
    }

    public int exec(List<String> command, Duration timeout, Output output) {
        return exec(new GuestCommand(command, Optional.of(timeout)), output);
    }

    @Override
    public int exec(GuestCommand command, Output output) {
        ObjectNode request = JsonNodeFactory.instance.objectNode().put("action", "exec");
        ArrayNode arguments = request.putArray("args");
        command.words().forEach(arguments::add);
        limit(request, command.timeout()).put("stream", true);
        if (!command.environment().isEmpty()) {
            ObjectNode environment = request.putObject("env");
            command.environment().forEach(environment::put);
        }
        command.directory().ifPresent(directory -> request.put("cwd", directory));
        command.user().ifPresent(user -> request.put("user", user));
        command.input().ifPresent(input -> request.put("stdin", "follows"));
        try (AgentConnection connection = AgentConnection.open(address, CONNECT)) {
            connection.allow(command.timeout().map(GRACE::plus));
            if (command.input().isPresent()) {
                connection.request(Json.bytes(request), command.input().get());
            } else {
                connection.request(Json.bytes(request));
            }
            while (true) {
                ObjectNode reply = reply(connection);
                JsonNode stream = reply.path("stream");
                if (!stream.isString()) {
                    return end(reply, command, output);
                }
                byte[] bytes = base64(text(reply, "data_base64").orElse(""));
                if (stream.stringValue().equals("stderr")) {
                    output.stderr(bytes);
                } else {
                    output.stdout(bytes);
                }
            }
        } catch (IOException e) {
            throw broken(e);
        }
    }

    private int end(ObjectNode reply, GuestCommand command, Output output) {
        // An agent that knows nothing of streams sends it all at the end.
        text(reply, "stdout").ifPresent(all -> output.stdout(all.getBytes(StandardCharsets.UTF_8)));
        text(reply, "stderr").ifPresent(all -> output.stderr(all.getBytes(StandardCharsets.UTF_8)));
        Optional<String> error = text(reply, "error");
        if (error.isPresent()) {
            int status = status(reply);
            throw status == CommandFailed.TIMED_OUT
                    ? CommandFailed.late(command.timeout())
                    : new CommandFailed("the guest could not run the command: " + error.get(), status);
        }
        JsonNode code = reply.path("exit_code");
        if (!isWithin(code, -MAX_SIGNAL, 255)) {
            throw new ForkdException(
                    Kind.FAILED,
                    "the agent at " + address + " did not say how the command ended: " + printable(Json.text(reply)));
        }
        return code.intValue();
    }

    /** The exit status that an error has in a shell; agents of other makes give none. */
    private static int status(ObjectNode error) {
        JsonNode code = error.path("code");
        return isWithin(code, 1, 255) ? code.intValue() : 1;
    }

    private static boolean isWithin(JsonNode number, int least, int most) {
        return number.isIntegralNumber()
                && number.canConvertToInt()
                && number.intValue() >= least
                && number.intValue() <= most;
    }

    private static ObjectNode limit(ObjectNode request, Optional<Duration> timeout) {
        return timeout.isPresent() ? request.put("timeout", timeout.get().toSeconds()) : request.putNull("timeout");
    }

    private byte[] base64(String text) {
        try {
            return Base64.getDecoder().decode(text);
        } catch (IllegalArgumentException e) {
            throw new ForkdException(Kind.FAILED, "the agent at " + address + " sent output that is not base64");
        }
    }

    /**
     * Has the guest unmount its writable volumes, with all that was written to them on their disks. Children of a
     * snapshot that is taken then mount them again.
     *
     * @return where those are mounted that are in use and stay so; their disks have everything as well
     */
    public List<String> unmount() {
        ObjectNode reply = ask(JsonNodeFactory.instance.objectNode().put("action", "unmount"), CONNECT, UNMOUNT);
        text(reply, "error").ifPresent(error -> {
            throw new ForkdException(Kind.FAILED, "the guest could not unmount its volumes: " + error);
        });
        return reply.path("busy")
                .valueStream()
                .filter(JsonNode::isString)
                .map(JsonNode::stringValue)
                .toList();
    }

    /** Has a guest that goes on mount them again. */
    public void mount() {
        ObjectNode reply = ask(JsonNodeFactory.instance.objectNode().put("action", "mount"), CONNECT, UNMOUNT);
        text(reply, "error").ifPresent(error -> {
            throw new ForkdException(Kind.FAILED, "the guest could not mount its volumes: " + error);
        });
    }

    /** What an evaluation came to. */
    public sealed interface Evaluation {
        /**
         * It has a value.
         *
         * @param text the {@code repr()} of Python, or a JSON document
         * @param isJson which of them
         */
        record Value(String text, boolean isJson) implements Evaluation {}

        /**
         * It raised an error, or took longer than it may.
         *
         * @param trace where; may be empty
         * @param exitStatus {@link CommandFailed#TIMED_OUT} or 1
         */
        record Failure(String error, String trace, int exitStatus) implements Evaluation {}
    }

    @Override
    public Evaluation eval(String code, Optional<Duration> timeout) {
        return eval(code, timeout, evaluation -> evaluation);
    }

    /** The same, when many are asked at a time: until {@code use} is done with it, its answer counts among theirs. */
    public <T> T eval(String code, Optional<Duration> timeout, Function<Evaluation, T> use) {
        return ask(
                limit(
                        JsonNodeFactory.instance
                                .objectNode()
                                .put("action", "eval")
                                .put("code", code),
                        timeout),
                CONNECT,
                timeout.map(GRACE::plus),
                reply -> use.apply(evaluation(reply)));
    }

    private Evaluation evaluation(ObjectNode reply) {
        Optional<String> error = text(reply, "error");
        if (error.isPresent()) {
            return new Evaluation.Failure(
                    error.get(),
                    text(reply, "traceback").or(() -> text(reply, "stack")).orElse(""),
                    status(reply));
        }
        return text(reply, "result_json")
                .map(json -> new Evaluation.Value(json, true))
                .or(() -> text(reply, "result").map(repr -> new Evaluation.Value(repr, false)))
                .orElseThrow(() -> new ForkdException(
                        Kind.FAILED,
                        "the agent at " + address + " answered without a result: " + printable(Json.text(reply))));
    }

    /** One request, one answer. */
    private ObjectNode ask(ObjectNode request, Duration connect, Duration limit) {
        return ask(request, connect, Optional.of(limit), reply -> reply);
    }

    private <T> T ask(ObjectNode request, Duration connect, Optional<Duration> limit, Function<ObjectNode, T> use) {
        try (AgentConnection connection = AgentConnection.open(address, connect)) {
            connection.allow(limit);
            connection.request(Json.bytes(request));
            return use.apply(reply(connection));
        } catch (IOException e) {
            throw broken(e);
        }
    }

    private ObjectNode reply(AgentConnection connection) throws IOException {
        byte[] line = connection
                .readLine(AgentConnection.MAX_LINE)
                .orElseThrow(() -> new ForkdException(
                        Kind.FAILED, "the agent at " + address + " closed the connection without an answer"));
        try {
            if (Json.parseBounded(line) instanceof ObjectNode reply) {
                return reply;
            }
        } catch (JacksonException e) {
            // said below
        }
        throw new ForkdException(
                Kind.FAILED,
                "what answers at " + address + " is no agent: "
                        + printable(new String(line, 0, Math.min(line.length, 80), StandardCharsets.UTF_8)));
    }

    private static Optional<String> text(ObjectNode reply, String field) {
        JsonNode value = reply.path(field);
        return value.isString() ? Optional.of(value.stringValue()) : Optional.empty();
    }

    /** The beginning of what a guest said, without what a terminal would do something with. */
    private static String printable(String text) {
        return text.substring(0, Math.min(text.length(), 200)).replaceAll("\\p{Cc}", "?");
    }

    private ForkdException broken(IOException e) {
        return ForkdException.of("talk to the agent at " + address, e);
    }
}
