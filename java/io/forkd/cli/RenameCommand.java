package io.forkd.cli;

import java.util.Optional;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

@Command(
        name = "rename",
        description = "Gives a sandbox a name, by which it can be called instead of its id, or another one.",
        sortOptions = false)
final class RenameCommand implements Callable<Integer> {
    private final Shell shell;

    @Parameters(index = "0", paramLabel = "ID", description = "The sandbox; forkd ls lists them.")
    String id = "";

    @Parameters(index = "1", paramLabel = "NAME", description = "Letters, digits, _ . and -; '' takes its name away.")
    String name = "";

    @Option(names = "--json", description = "Print the sandbox as JSON.")
    boolean json;

    @Mixin
    RemoteOptions remote = new RemoteOptions();

    RenameCommand(Shell shell) {
        this.shell = shell;
    }

    @Override
    public Integer call() {
        SandboxView renamed = remote.backend(shell).rename(id, Optional.of(name).filter(text -> !text.isEmpty()));
        shell.print(json ? renamed.json().toPrettyString() : renamed.id() + "  " + renamed.name());
        return 0;
    }
}
