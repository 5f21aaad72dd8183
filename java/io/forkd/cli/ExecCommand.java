package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.agent.Agent;
import io.forkd.agent.AgentClient;
import io.forkd.agent.CommandFailed;
import io.forkd.agent.GuestCommand;
import io.forkd.agent.GuestException;
import io.forkd.agent.GuestProcess;
import io.forkd.agent.RunRequest;
import io.forkd.agent.TerminalSize;
import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;
import tools.jackson.databind.node.ObjectNode;

@Command(
        name = "exec",
        description = "Runs a command in a guest; its output and its exit code become ours. 124: it took too long;"
                + " 126: it cannot run; 127: there is no such command. It ends with this command, unless -d is given;"
                + " what it left in the background goes on.",
        sortOptions = false)
final class ExecCommand implements Callable<Integer> {
    private static final long DEFAULT_SECS = 30;

    private final Shell shell;

    @Mixin
    TargetOptions target = new TargetOptions();

    @Option(
            names = "--timeout-secs",
            paramLabel = "S",
            description = "How long it may take; 0: no limit. Default: 30, and none with -t and -d.")
    Optional<Long> timeoutSecs = Optional.empty();

    @Option(
            names = {"-e", "--env"},
            paramLabel = "NAME=VALUE",
            description = "A variable of its environment; may be given more than once.")
    List<String> environment = List.of();

    @Option(
            names = {"-w", "--cwd", "--workdir"},
            paramLabel = "DIR",
            description = "Its folder. Default: the image's.")
    Optional<String> directory = Optional.empty();

    @Option(
            names = {"-u", "--user"},
            paramLabel = "USER",
            description = "Its user: NAME or UID, with :GROUP or :GID. Default: the image's.")
    Optional<String> user = Optional.empty();

    @Option(
            names = {"-i", "--interactive"},
            description = "Pass stdin on to it. Without this its stdin is empty.")
    boolean interactive;

    @Option(
            names = {"-t", "--tty"},
            description = "Give it a terminal, which is this one with -i: keys are passed on as they are typed, Ctrl-C"
                    + " among them, and the size. Ctrl-P Ctrl-Q leaves it; attach comes back.")
    boolean terminal;

    @Option(
            names = {"-d", "--detach"},
            description = "Print its process number, and do not wait for it. attach shows the last MiB of what it"
                    + " wrote.")
    boolean detach;

    @Option(
            names = "--name",
            paramLabel = "NAME",
            description = "With -t or -d: what attach may call it, of A-Z, a-z, 0-9, _ . and -.")
    Optional<String> name = Optional.empty();

    @Option(
            names = "--json",
            description = "Print stdout, stderr and exit_code as a JSON object when it has ended; with -d the pid.")
    boolean json;

    @Parameters(arity = "0..*", paramLabel = "COMMAND", description = "After --: the command and its arguments.")
    List<String> command = List.of();

    ExecCommand(Shell shell) {
        this.shell = shell;
    }

    @Override
    public Integer call() {
        requireCommand(command);
        if (terminal || detach) {
            return target.explainingFailure(shell, this::stream);
        }
        if (name.isPresent()) {
            throw new ForkdException(Kind.USAGE, "--name is for -t and -d");
        }
        GuestCommand what = new GuestCommand(
                command,
                TimeLimit.of(timeoutSecs.orElse(DEFAULT_SECS)),
                variables(),
                directory,
                user,
                interactive ? Optional.of(System.in) : Optional.empty());
        return target.explainingFailure(
                shell, () -> shell.warningOfInput(interactive, () -> run(shell, target.agent(shell), what, json)));
    }

    /** With a terminal, or without waiting. */
    private int stream() {
        if (terminal && !detach && json) {
            throw new ForkdException(Kind.USAGE, "--json is not for -t");
        }
        if (terminal && interactive && !detach && !Shell.isTerminal(0)) {
            throw new ForkdException(
                    Kind.USAGE, "-i and -t together are for a stdin that is a terminal, and it is none");
        }
        RunRequest request = new RunRequest(
                command,
                variables(),
                directory,
                user,
                interactive,
                terminal ? Optional.of(size()) : Optional.empty(),
                TimeLimit.of(timeoutSecs.orElse(0L)),
                name,
                detach);
        try (GuestProcess process = target.streams(shell).run(request)) {
            return detach ? report(process) : attend(process);
        } catch (GuestException.Absent e) {
            throw Session.explained(e);
        } catch (GuestException.Refused e) {
            shell.fail(e, false);
            return status(e.code());
        } catch (CommandFailed e) {
            shell.fail(withRemedy(e), false);
            return e.exitStatus();
        } catch (Shell.OutputLost e) {
            return e.report(shell);
        }
    }

    private static TerminalSize size() {
        return Shell.isTerminal(0) ? Terminal.size() : new TerminalSize(24, 80);
    }

    private int report(GuestProcess process) {
        if (json) {
            shell.print(Shell.json().put("pid", process.pid()));
        } else {
            shell.print(Long.toString(process.pid()));
        }
        return 0;
    }

    /** It ends with us, unless its user leaves it. */
    private int attend(GuestProcess process) {
        Session session = new Session(shell, process, interactive);
        boolean ended = false;
        try {
            int status = session.run();
            ended = true;
            return status;
        } catch (CommandFailed e) {
            ended = true;
            throw e;
        } finally {
            if (!ended && !session.hasLeft()) {
                session.hangUp();
            }
        }
    }

    /** What a shell has for a command that does not run. */
    static int status(String code) {
        return switch (code) {
            case "ENOENT" -> 127;
            case "EACCES", "EPERM", "ENOTDIR", "EISDIR", "ENOEXEC", "ELOOP", "ETXTBSY" -> 126;
            default -> Kind.FAILED.exitStatus();
        };
    }

    static void requireCommand(List<String> command) {
        if (command.isEmpty()) {
            throw new ForkdException(Kind.USAGE, "there is no command; give it after --");
        }
    }

    private Map<String, String> variables() {
        Map<String, String> variables = new LinkedHashMap<>();
        for (String variable : environment) {
            int equals = variable.indexOf('=');
            if (equals <= 0) {
                throw new ForkdException(Kind.USAGE, "--env " + variable + ": it must be NAME=VALUE");
            }
            variables.put(variable.substring(0, equals), variable.substring(equals + 1));
        }
        return variables;
    }

    /** Returns what a shell would: a command that a signal ended has 128 and the signal's number. */
    static int run(Shell shell, Agent agent, GuestCommand command, boolean json) {
        if (json) {
            return runToJson(shell, agent, command);
        }
        try {
            return shellStatus(shell.call()
                    .interruptibly(() -> agent.exec(command, new AgentClient.Output() {
                        @Override
                        public void stdout(byte[] bytes) {
                            shell.write(shell.out(), bytes);
                        }

                        @Override
                        public void stderr(byte[] bytes) {
                            shell.write(shell.err(), bytes);
                        }
                    })));
        } catch (CommandFailed e) {
            shell.fail(withRemedy(e), false);
            return e.exitStatus();
        } catch (Shell.OutputLost e) {
            return e.report(shell);
        }
    }

    private static int runToJson(Shell shell, Agent agent, GuestCommand command) {
        Collected collected = new Collected();
        Optional<CommandFailed> failure = Optional.empty();
        int status;
        try {
            status = shellStatus(shell.call().interruptibly(() -> agent.exec(command, collected)));
        } catch (CommandFailed e) {
            status = e.exitStatus();
            failure = Optional.of(e);
        }
        ObjectNode node = Shell.json()
                .put("stdout", collected.out.toString(StandardCharsets.UTF_8))
                .put("stderr", collected.err.toString(StandardCharsets.UTF_8))
                .put("exit_code", status);
        failure.ifPresent(e -> node.set("error", Shell.error(withRemedy(e))));
        shell.print(node);
        return status;
    }

    /** What a command writes, until it has ended. */
    private static final class Collected implements AgentClient.Output {
        /** Of what is in a document a control character takes six bytes, and all of it must have room in the heap. */
        private static final int MOST = 8 << 20;

        private final ByteArrayOutputStream out = new ByteArrayOutputStream();
        private final ByteArrayOutputStream err = new ByteArrayOutputStream();

        @Override
        public void stdout(byte[] bytes) {
            add(bytes, out);
        }

        @Override
        public void stderr(byte[] bytes) {
            add(bytes, err);
        }

        private void add(byte[] bytes, ByteArrayOutputStream to) {
            if (bytes.length > MOST - out.size() - err.size()) {
                throw new ForkdException(
                        Kind.FAILED,
                        "the command wrote more than the " + (MOST >> 20) + " MiB that --json takes, and was ended",
                        "Without --json its output has no limit.");
            }
            to.writeBytes(bytes);
        }
    }

    private static ForkdException withRemedy(CommandFailed e) {
        return TimeLimit.explained(e, e.exitStatus());
    }

    static int shellStatus(int code) {
        return code < 0 ? 128 - code : code;
    }
}
