package io.forkd.cli;

import io.forkd.engine.Engine;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

@Command(name = "version", description = "Prints the version.")
final class VersionCommand implements Callable<Integer> {
    private final Shell shell;

    @Option(names = "--json", description = "Print it as JSON.")
    boolean json;

    VersionCommand(Shell shell) {
        this.shell = shell;
    }

    @Override
    public Integer call() {
        if (json) {
            shell.print(Shell.json().put("version", Engine.VERSION));
        } else {
            shell.print("forkd " + Engine.VERSION);
        }
        return 0;
    }
}
