package io.forkd.cli;

import java.util.concurrent.Callable;
import picocli.AutoComplete;
import picocli.CommandLine.Command;
import picocli.CommandLine.Parameters;

@Command(
        name = "completion",
        description = {"Prints the completion script of a shell.", "Use it so: source <(forkd completion bash)"})
final class CompletionCommand implements Callable<Integer> {
    private final Shell shell;

    enum Kind {
        bash,
        zsh
    }

    @Parameters(paramLabel = "bash|zsh", description = "One script serves both; in zsh it turns on bashcompinit.")
    Kind kind = Kind.bash;

    CompletionCommand(Shell shell) {
        this.shell = shell;
    }

    @Override
    public Integer call() {
        shell.print(AutoComplete.bash("forkd", Main.commandLine(shell)));
        return 0;
    }
}
