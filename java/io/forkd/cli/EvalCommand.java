package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.agent.Agent;
import io.forkd.agent.AgentClient.Evaluation;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;
import tools.jackson.databind.node.ObjectNode;

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

    @Option(names = "--json", description = "Print the result, or the error, and exit_code as a JSON object.")
    boolean json;

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
        return target.explainingFailure(shell, () -> {
            Agent agent = target.agent(shell);
            return report(shell.call().interruptibly(() -> agent.eval(String.join(" ", expression), limit)));
        });
    }

    private int report(Evaluation evaluation) {
        if (evaluation instanceof Evaluation.Failure failure) {
            return report(failure);
        }
        if (evaluation instanceof Evaluation.Value value) {
            if (json) {
                shell.print(Shell.json().put("result", value.text()).put("exit_code", 0));
            } else {
                shell.print(value.text());
            }
        }
        return 0;
    }

    private int report(Evaluation.Failure failure) {
        ForkdException error =
                TimeLimit.explained(new ForkdException(Kind.FAILED, failure.error()), failure.exitStatus());
        if (json) {
            ObjectNode node = Shell.json();
            node.set("error", Shell.error(error));
            shell.print(node.put("traceback", failure.trace()).put("exit_code", failure.exitStatus()));
            return failure.exitStatus();
        }
        shell.note("Error: " + Remedies.sentence(error));
        if (!failure.trace().isEmpty()) {
            shell.note(failure.trace().stripTrailing());
        }
        String remedy = Remedies.remedy(error);
        if (!remedy.isEmpty()) {
            shell.note(remedy);
        }
        return failure.exitStatus();
    }
}
