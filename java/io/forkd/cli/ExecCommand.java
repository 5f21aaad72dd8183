package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.agent.AgentClient;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

@Command(
        name = "exec",
        description = "Runs a command in a guest; its output and its exit code become ours.",
        sortOptions = false)
final class ExecCommand implements Callable<Integer> {
    private final Shell shell;

    @Mixin
    TargetOptions target = new TargetOptions();

    @Option(
            names = "--timeout-secs",
            paramLabel = "S",
            defaultValue = "30",
            description = "How long it may take. Default: ${DEFAULT-VALUE}.")
    long timeoutSecs;

    @Parameters(arity = "0..*", paramLabel = "COMMAND", description = "After --: the command and its arguments.")
    List<String> command = List.of();

    ExecCommand(Shell shell) {
        this.shell = shell;
    }

    @Override
    public Integer call() {
        requireCommand(command);
        MachineOptions.requireRange("--timeout-secs", timeoutSecs, 1, 86_400 * 365);
        return run(shell, target.agent(shell), command, Duration.ofSeconds(timeoutSecs));
    }

    static void requireCommand(List<String> command) {
        if (command.isEmpty()) {
            throw new ForkdException(Kind.USAGE, "there is no command; give it after --");
        }
    }

    /** Returns what a shell would: a command that a signal ended has 128 and the signal's number. */
    static int run(Shell shell, AgentClient agent, List<String> command, Duration timeout) {
        int code = agent.exec(command, timeout, new AgentClient.Output() {
            @Override
            public void stdout(byte[] bytes) {
                shell.out().write(bytes, 0, bytes.length);
                shell.out().flush();
            }

            @Override
            public void stderr(byte[] bytes) {
                shell.err().write(bytes, 0, bytes.length);
                shell.err().flush();
            }
        });
        return code < 0 ? 128 - code : code;
    }
}
