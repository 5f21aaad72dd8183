package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.agent.AgentClient;
import io.forkd.agent.CommandFailed;
import io.forkd.agent.GuestCommand;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

@Command(
        name = "exec",
        description = "Runs a command in a guest; its output and its exit code become ours. 124: it took too long;"
                + " 126: it cannot run; 127: there is no such command. It ends with this command; what it left in the"
                + " background goes on.",
        sortOptions = false)
final class ExecCommand implements Callable<Integer> {
    private final Shell shell;

    @Mixin
    TargetOptions target = new TargetOptions();

    @Option(
            names = "--timeout-secs",
            paramLabel = "S",
            defaultValue = "30",
            description = "How long it may take; 0: no limit. Default: ${DEFAULT-VALUE}.")
    long timeoutSecs;

    @Option(
            names = "--env",
            paramLabel = "NAME=VALUE",
            description = "A variable of its environment; may be given more than once.")
    List<String> environment = List.of();

    @Option(names = "--cwd", paramLabel = "DIR", description = "Its folder. Default: the image's.")
    Optional<String> directory = Optional.empty();

    @Option(
            names = "--user",
            paramLabel = "USER",
            description = "Its user: NAME or UID, with :GROUP or :GID. Default: the image's.")
    Optional<String> user = Optional.empty();

    @Option(
            names = {"-i", "--interactive"},
            description = "Pass stdin on to it. Without this its stdin is empty.")
    boolean interactive;

    @Parameters(arity = "0..*", paramLabel = "COMMAND", description = "After --: the command and its arguments.")
    List<String> command = List.of();

    ExecCommand(Shell shell) {
        this.shell = shell;
    }

    @Override
    public Integer call() {
        requireCommand(command);
        GuestCommand what = new GuestCommand(
                command,
                TimeLimit.of(timeoutSecs),
                variables(),
                directory,
                user,
                interactive ? Optional.of(System.in) : Optional.empty());
        boolean warned = warnOfInput();
        int status = run(shell, target.agent(shell), what);
        if (!warned) {
            warnOfInput(); // of what came later
        }
        if (status != 0) {
            target.explainFailure(shell);
        }
        return status;
    }

    private boolean warnOfInput() {
        boolean lost = !interactive && Shell.hasInput();
        if (lost) {
            shell.warn("the command does not get what is on stdin (-i passes it on)");
        }
        return lost;
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
    static int run(Shell shell, AgentClient agent, GuestCommand command) {
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
            shell.note("Error: " + e.sentence());
            if (e.exitStatus() == CommandFailed.TIMED_OUT) {
                shell.note(TimeLimit.REMEDY);
            }
            return e.exitStatus();
        } catch (Shell.OutputLost e) {
            return e.report(shell);
        }
    }

    static int shellStatus(int code) {
        return code < 0 ? 128 - code : code;
    }
}
