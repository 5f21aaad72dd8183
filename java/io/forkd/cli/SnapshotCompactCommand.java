package io.forkd.cli;

import io.forkd.snapshot.SnapshotTag;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

@Command(
        name = "snapshot-compact",
        description = "Makes a snapshot that is a layer whole, so that it needs its parent no more. It restores to the"
                + " same; snapshots that are based on it stay so.",
        sortOptions = false)
final class SnapshotCompactCommand implements Callable<Integer> {
    private final Shell shell;

    @Option(names = "--json", description = "Print the result as JSON.")
    boolean json;

    @Parameters(paramLabel = "TAG", converter = TagConverter.class, description = "The snapshot.")
    SnapshotTag tag = new SnapshotTag("_");

    SnapshotCompactCommand(Shell shell) {
        this.shell = shell;
    }

    @Override
    public Integer call() {
        shell.engine().snapshots().compact(tag, shell.call());
        shell.clear();
        String directory = shell.engine().store().directory(tag).toString();
        if (json) {
            shell.print(Shell.json().put("tag", tag.value()).put("dir", directory));
        } else {
            shell.print("tag:  " + tag);
            shell.print("dir:  " + directory);
        }
        return 0;
    }
}
