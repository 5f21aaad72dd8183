package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.Json;
import io.forkd.agent.Agent;
import io.forkd.agent.AgentClient.Evaluation;
import io.forkd.agent.AgentClient.Output;
import io.forkd.agent.CommandFailed;
import io.forkd.agent.GuestCommand;
import io.forkd.agent.GuestException;
import io.forkd.agent.GuestProcess;
import io.forkd.agent.GuestProcess.Exit;
import io.forkd.agent.GuestStreams;
import io.forkd.agent.RunRequest;
import io.forkd.cli.DaemonClient.Refused;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Optional;
import java.util.Set;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.ObjectNode;

/** The agent of a daemon's sandbox. */
record DaemonAgent(DaemonClient daemon, String id, GuestStreams streams) implements Agent {
    private static final Duration PING = Duration.ofSeconds(60);

    /** What the daemon has beyond the time limit of a command, to end it and to say so. */
    private static final Duration GRACE = Duration.ofSeconds(60);

    /** The longest time limit that a daemon takes, for those without one. */
    private static final Duration LONGEST = Duration.ofDays(7);

    /** Of a daemon or a guest that knows no streams. */
    private static final Set<Integer> OLDER = Set.of(404, 501);

    private static final int SIGKILL = 9;

    @Override
    public ObjectNode ping() {
        JsonNode answer = daemon.post(path("ping"), Shell.json(), Optional.of(PING));
        return (ObjectNode) new Answer(answer).node();
    }

    private String path(String action) {
        return DaemonBackend.sandbox(id) + "/" + action;
    }

    @Override
    public int exec(GuestCommand command, Output output) {
        try (GuestProcess process = streams.run(new RunRequest(
                command.words(),
                command.environment(),
                command.directory(),
                command.user(),
                command.input().isPresent(),
                Optional.empty(),
                command.timeout(),
                Optional.empty(),
                false))) {
            return attend(process, command, output);
        } catch (GuestException.Refused e) {
            throw new CommandFailed(
                    "the guest could not run the command: " + e.sentence(), ExecCommand.status(e.code()));
        } catch (Refused e) {
            if (OLDER.contains(e.status())) {
                return execAtOnce(command, output);
            }
            throw e;
        }
    }

    /** It ends with us. */
    private static int attend(GuestProcess process, GuestCommand command, Output output) {
        command.input().ifPresent(input -> {
            Thread pump = new Thread(() -> feed(process, input), "stdin");
            pump.setDaemon(true); // nobody can end a read of stdin
            pump.start();
        });
        boolean ended = false;
        try {
            Exit exit = process.await(new GuestProcess.Output() {
                @Override
                public void stdout(ByteBuffer bytes) {
                    output.stdout(copy(bytes));
                }

                @Override
                public void stderr(ByteBuffer bytes) {
                    output.stderr(copy(bytes));
                }
            });
            ended = true;
            if (exit.timedOut()) {
                throw CommandFailed.late(command.timeout());
            }
            return exit.code();
        } finally {
            if (!ended) {
                Session.end(process, SIGKILL);
            }
        }
    }

    private static void feed(GuestProcess process, InputStream input) {
        try {
            process.feed(input);
        } catch (IOException | ForkdException e) {
            // Its reader finds out.
        }
    }

    private static byte[] copy(ByteBuffer bytes) {
        byte[] copy = new byte[bytes.remaining()];
        bytes.get(copy);
        return copy;
    }

    /** What it writes comes when it has ended. */
    private int execAtOnce(GuestCommand command, Output output) {
        DaemonBackend.requireNot(command.input().isPresent(), "--interactive");
        ObjectNode body = Shell.json();
        ArrayNode arguments = body.putArray("args");
        command.words().forEach(arguments::add);
        if (!command.environment().isEmpty()) {
            ObjectNode environment = body.putObject("env");
            command.environment().forEach(environment::put);
        }
        command.directory().ifPresent(directory -> body.put("cwd", directory));
        command.user().ifPresent(user -> body.put("user", user));
        Answer answer = ask("exec", body, command.timeout());
        String error = answer.raw("error").orElse("");
        String stderr = answer.raw("stderr").orElse("");
        output.stdout(bytes(answer.raw("stdout").orElse("")));
        // For clients that know no error it is there, too.
        output.stderr(bytes(stderr.endsWith(error) ? stderr.substring(0, stderr.length() - error.length()) : stderr));
        int code = (int) Math.max(-127, Math.min(255, answer.number("exit_code")));
        if (!error.isEmpty()) {
            throw new CommandFailed(answer.text("error"), code);
        }
        return code;
    }

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    private Answer ask(String action, ObjectNode body, Optional<Duration> timeout) {
        body.put("timeout_secs", timeout.orElse(LONGEST).toSeconds());
        Answer answer = new Answer(daemon.post(path(action), body, timeout.map(GRACE::plus)));
        answer.optionalText("warning").ifPresent(daemon::warn);
        return answer;
    }

    @Override
    public Evaluation eval(String code, Optional<Duration> timeout) {
        Answer answer = ask("eval", Shell.json().put("code", code), timeout);
        Optional<String> error = answer.raw("error");
        if (error.isPresent()) {
            return new Evaluation.Failure(error.get(), answer.raw("traceback").orElse(""), (int)
                    Math.max(1, Math.min(255, answer.number("exit_code"))));
        }
        JsonNode result = answer.node().path("result");
        if (result.isMissingNode()) {
            throw new ForkdException(ForkdException.Kind.FAILED, "the daemon answered without a result");
        }
        return result.isString()
                ? new Evaluation.Value(result.stringValue(), false)
                : new Evaluation.Value(Json.text(result), true);
    }
}
