package io.forkd.cli;

import java.util.concurrent.Callable;
import picocli.CommandLine.Command;

@Command(name = "where", description = "Prints the folder that forkd keeps its data in.")
final class WhereCommand implements Callable<Integer> {
    private final Shell shell;

    WhereCommand(Shell shell) {
        this.shell = shell;
    }

    @Override
    public Integer call() {
        shell.print(shell.engine().dataDirectory().toString());
        return 0;
    }
}
