package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.snapshot.SnapshotTag;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.stream.Collectors;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

@Command(
        name = "rmi",
        description = "Removes snapshots. One that others are based on, or that a sandbox or a running fork uses, is"
                + " refused.",
        sortOptions = false)
final class RmiCommand implements Callable<Integer> {
    private final Shell shell;

    @Option(names = "--cascade", description = "Remove the snapshots that are based on it, too.")
    boolean cascade;

    @Option(
            names = "--force",
            description = "Remove it although others are based on it or something that runs uses it.")
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
        shell.engine().sweep();
        int removed = 0;
        for (String tag : tags) {
            try {
                List<SnapshotTag> orphans = shell.engine()
                        .snapshots()
                        .remove(
                                new SnapshotTag(tag),
                                cascade,
                                force,
                                each -> shell.print("removed " + each + " (disk)"));
                if (!orphans.isEmpty()) {
                    shell.warn("without their parent, and so of no use: "
                            + orphans.stream().map(SnapshotTag::value).collect(Collectors.joining(" ")));
                }
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
}
