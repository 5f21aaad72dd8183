package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.agent.AgentClient.Evaluation;
import java.util.List;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Parameters;

@Command(name = "eval", description = "Evaluates an expression in a guest's warm interpreter.", sortOptions = false)
final class EvalCommand implements Callable<Integer> {
    private final Shell shell;

    @Mixin
    TargetOptions target = new TargetOptions();

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
        Evaluation result = target.agent(shell).eval(String.join(" ", expression));
        if (result instanceof Evaluation.Failure failure) {
            shell.note("Error: " + failure.error());
            if (!failure.trace().isEmpty()) {
                shell.note(failure.trace().stripTrailing());
            }
            return 1;
        }
        if (result instanceof Evaluation.Value value) {
            shell.print(value.text());
        }
        return 0;
    }
}
