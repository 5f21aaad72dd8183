package io.forkd.cli;

import io.forkd.snapshot.SnapshotTag;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

@Command(
        name = "snapshot-info",
        description = "Shows a snapshot: its state, sizes, ancestors, and what depends on it.",
        sortOptions = false)
final class SnapshotInfoCommand implements Callable<Integer> {
    private final Shell shell;

    @Option(names = "--json", description = "Print it as JSON.")
    boolean json;

    @Parameters(paramLabel = "TAG", converter = TagConverter.class, description = "The snapshot.")
    SnapshotTag tag = new SnapshotTag("_");

    @Mixin
    RemoteOptions remote = new RemoteOptions();

    SnapshotInfoCommand(Shell shell) {
        this.shell = shell;
    }

    @Override
    public Integer call() {
        SnapshotView info = remote.backend(shell).info(tag);
        shell.clear();
        if (json) {
            shell.print(info.json().toPrettyString());
        } else {
            info.print(shell);
        }
        return 0;
    }
}
