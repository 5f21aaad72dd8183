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
import tools.jackson.core.JacksonException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/** Speaks the line-JSON protocol of a guest's agent: one request for each connection. */
public final class AgentClient {
    /** The guest of a busy host takes long, one that hangs for ever. */
    private static final Duration CONNECT = Duration.ofSeconds(30);

    private static final Duration PING = Duration.ofSeconds(3);
    private static final Duration UNMOUNT = Duration.ofSeconds(10);
    private static final Duration EVAL = Duration.ofSeconds(30);
    private static final Duration GRACE = Duration.ofSeconds(5);

    private final AgentAddress address;

    public AgentClient(AgentAddress address) {
        this.address = address;
    }

    /** Takes what a command writes, as it is written. */
    public interface Output {
        void stdout(byte[] bytes);

        void stderr(byte[] bytes);

        /** Collects all of it; {@code out} and {@code err} may be the same. */
        static Output into(ByteArrayOutputStream out, ByteArrayOutputStream err) {
            return new Output() {
                @Override
                public void stdout(byte[] bytes) {
                    out.writeBytes(bytes);
                }

                @Override
                public void stderr(byte[] bytes) {
                    err.writeBytes(bytes);
                }
            };
        }
    }

    /** The agent's own answer, which may have any fields. */
    public ObjectNode ping() {
        return ask(JsonNodeFactory.instance.objectNode().put("action", "ping"), PING, PING);
    }

    /**
     * Runs a command in the guest.
     *
     * @return its exit code; negative when a signal ended it
     * @throws ForkdException when the agent could not run it, or it took longer than {@code timeout}
     */
    public int exec(List<String> command, Duration timeout, Output output) {
        ObjectNode request = JsonNodeFactory.instance.objectNode().put("action", "exec");
        ArrayNode arguments = request.putArray("args");
        command.forEach(arguments::add);
        request.put("timeout", timeout.toSeconds()).put("stream", true);
        try (AgentConnection connection = AgentConnection.open(address, CONNECT)) {
            connection.allow(timeout.plus(GRACE));
            connection.request(Json.bytes(request));
            while (true) {
                ObjectNode reply = reply(connection);
                JsonNode stream = reply.path("stream");
                if (stream.isString()) {
                    byte[] bytes = Base64.getDecoder()
                            .decode(text(reply, "data_base64").orElse(""));
                    if (stream.stringValue().equals("stderr")) {
                        output.stderr(bytes);
                    } else {
                        output.stdout(bytes);
                    }
                    continue;
                }
                // An agent that knows nothing of streams sends it all at the end.
                text(reply, "stdout").ifPresent(all -> output.stdout(all.getBytes(StandardCharsets.UTF_8)));
                text(reply, "stderr").ifPresent(all -> output.stderr(all.getBytes(StandardCharsets.UTF_8)));
                text(reply, "error").ifPresent(error -> {
                    throw new ForkdException(Kind.FAILED, "the guest could not run the command: " + error);
                });
                return reply.path("exit_code").asInt(0);
            }
        } catch (IOException e) {
            throw broken(e);
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
        return reply.path("busy").valueStream().map(JsonNode::stringValue).toList();
    }

    /** What an evaluation came to. */
    public sealed interface Evaluation {
        /** It has a value: the {@code repr()} of Python, or a JSON document. */
        record Value(String text) implements Evaluation {}

        /** It raised an error; {@code trace} says where, and may be empty. */
        record Failure(String error, String trace) implements Evaluation {}
    }

    /** Evaluates an expression in the guest's warm interpreter. */
    public Evaluation eval(String code) {
        ObjectNode reply =
                ask(JsonNodeFactory.instance.objectNode().put("action", "eval").put("code", code), CONNECT, EVAL);
        Optional<String> error = text(reply, "error");
        if (error.isPresent()) {
            return new Evaluation.Failure(
                    error.get(),
                    text(reply, "traceback").or(() -> text(reply, "stack")).orElse(""));
        }
        return new Evaluation.Value(text(reply, "result_json")
                .or(() -> text(reply, "result"))
                .orElseThrow(() -> new ForkdException(
                        Kind.FAILED, "the agent at " + address + " answered without a result: " + Json.text(reply))));
    }

    /** One request, one answer. */
    private ObjectNode ask(ObjectNode request, Duration connect, Duration limit) {
        try (AgentConnection connection = AgentConnection.open(address, connect)) {
            connection.allow(limit);
            connection.request(Json.bytes(request));
            return reply(connection);
        } catch (IOException e) {
            throw broken(e);
        }
    }

    private ObjectNode reply(AgentConnection connection) throws IOException {
        byte[] line = connection
                .readLine()
                .orElseThrow(() -> new ForkdException(
                        Kind.FAILED, "the agent at " + address + " closed the connection without an answer"));
        try {
            if (Json.parse(line) instanceof ObjectNode reply) {
                return reply;
            }
        } catch (JacksonException e) {
            // said below
        }
        throw new ForkdException(
                Kind.FAILED,
                "what answers at " + address + " is no agent: "
                        + new String(line, 0, Math.min(line.length, 80), StandardCharsets.UTF_8));
    }

    private static Optional<String> text(ObjectNode reply, String field) {
        JsonNode value = reply.path(field);
        return value.isString() ? Optional.of(value.stringValue()) : Optional.empty();
    }

    private ForkdException broken(IOException e) {
        return ForkdException.of("talk to the agent at " + address, e);
    }
}
