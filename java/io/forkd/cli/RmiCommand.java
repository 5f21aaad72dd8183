package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.snapshot.SnapshotStore;
import io.forkd.snapshot.SnapshotTag;
import java.util.List;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

@Command(
        name = "rmi",
        description = "Removes snapshots. One that others are based on, or that a running fork uses, is refused.",
        sortOptions = false)
final class RmiCommand implements Callable<Integer> {
    private final Shell shell;

    @Option(names = "--cascade", description = "Remove the snapshots that are based on it, too.")
    boolean cascade;

    @Option(names = "--force", description = "Remove it although others are based on it or a running fork uses it.")
    boolean force;

    @Parameters(arity = "1..*", paramLabel = "TAG", description = "The snapshots to remove.")
    List<String> tags = List.of();

    RmiCommand(Shell shell) {
        this.shell = shell;
    }

    @Override
    public Integer call() {
        if (cascade && force) {
            throw new ForkdException(Kind.FAILED, "--cascade and --force exclude each other");
        }
        SnapshotStore store = shell.engine().store();
        store.sweep();
        int removed = 0;
        for (String tag : tags) {
            try {
                remove(store, new SnapshotTag(tag));
                removed++;
            } catch (ForkdException e) {
                shell.note("Error: " + e.sentence());
                if (!e.remedy().isEmpty()) {
                    shell.note(e.remedy());
                }
            }
        }
        if (removed < tags.size()) {
            shell.note("Removed " + removed + " of " + tags.size() + ".");
        }
        return removed == tags.size() ? 0 : 1;
    }

    private void remove(SnapshotStore store, SnapshotTag tag) {
        List<SnapshotTag> dependents = force ? List.of() : store.dependents(tag);
        if (!dependents.isEmpty() && !cascade) {
            throw new ForkdException(
                    Kind.CONFLICT,
                    "the snapshot '" + tag + "' is the parent of " + dependents,
                    "--cascade removes them, too; --force leaves them without their parent.");
        }
        for (SnapshotTag dependent : dependents) {
            remove(store, dependent);
        }
        store.remove(tag, force);
        shell.print("removed " + tag + " (disk)");
    }
}
