package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.agent.AgentClient;
import io.forkd.agent.AgentClient.Evaluation;
import io.forkd.agent.CommandFailed;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

@Command(name = "eval", description = "Evaluates an expression in a guest's warm interpreter.", sortOptions = false)
final class EvalCommand implements Callable<Integer> {
    private final Shell shell;

    @Mixin
    TargetOptions target = new TargetOptions();

    @Option(
            names = "--timeout-secs",
            paramLabel = "S",
            defaultValue = "30",
            description = "How long it may take before it is interrupted; 0: no limit. Default: ${DEFAULT-VALUE}.")
    long timeoutSecs;

    @Parameters(arity = "0..*", paramLabel = "EXPRESSION", description = "After --: its words are joined by a space.")
    List<String> expression = List.of();

    EvalCommand(Shell shell) {
        this.shell = shell;
    }

    @Override
    public Integer call() {
        if (expression.isEmpty()) {
            throw new ForkdException(Kind.USAGE, "there is no expression; give it after --");
        }
        Optional<Duration> limit = TimeLimit.of(timeoutSecs);
        AgentClient agent = target.agent(shell);
        Evaluation result = shell.call().interruptibly(() -> agent.eval(String.join(" ", expression), limit));
        if (result instanceof Evaluation.Failure failure) {
            shell.note("Error: " + failure.error());
            if (!failure.trace().isEmpty()) {
                shell.note(failure.trace().stripTrailing());
            }
            if (failure.exitStatus() == CommandFailed.TIMED_OUT) {
                shell.note(TimeLimit.REMEDY);
            }
            return failure.exitStatus();
        }
        if (result instanceof Evaluation.Value value) {
            shell.print(value.text());
        }
        return 0;
    }
}
