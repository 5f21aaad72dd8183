package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.engine.Snapshots.Removal;
import io.forkd.snapshot.SnapshotTag;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
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

    @Option(names = "--json", description = "Print what became of each as a JSON array.")
    boolean json;

    @Parameters(
            arity = "1..*",
            paramLabel = "TAG",
            converter = TagConverter.class,
            description = "The snapshots to remove: all of them, or none when one is refused.")
    List<SnapshotTag> tags = List.of();

    RmiCommand(Shell shell) {
        this.shell = shell;
    }

    @Override
    public Integer call() {
        if (cascade && force) {
            throw new ForkdException(Kind.USAGE, "--cascade and --force exclude each other");
        }
        shell.engine().sweep();
        Set<SnapshotTag> asked = new LinkedHashSet<>(tags);
        Removal removal = shell.engine().snapshots().planRemoval(asked, cascade, force);
        ItemResults results = new ItemResults(shell, json, "tag");
        if (removal.refused().isEmpty()) {
            remove(removal, results);
        } else {
            refuse(asked, removal, results);
        }
        return results.end();
    }

    private void remove(Removal removal, ItemResults results) {
        for (SnapshotTag tag : removal.all()) {
            try {
                shell.engine().snapshots().remove(tag, force);
                results.done(tag.value(), "removed " + tag + " (disk)");
            } catch (ForkdException e) {
                results.failed(tag.value(), e);
                return; // What comes after it may be its parent.
            }
        }
        if (!removal.orphans().isEmpty()) {
            shell.warn("without their parent, and so of no use: "
                    + removal.orphans().stream().map(SnapshotTag::value).collect(Collectors.joining(" ")));
        }
    }

    private void refuse(Set<SnapshotTag> asked, Removal removal, ItemResults results) {
        removal.refused().forEach((tag, why) -> results.failed(tag.value(), why));
        if (asked.size() == 1) {
            return;
        }
        if (json) {
            ForkdException others = new ForkdException(
                    Kind.CONFLICT, "it was not removed, since others that were asked for cannot be", "");
            asked.stream()
                    .filter(tag -> !removal.refused().containsKey(tag))
                    .forEach(tag -> results.failed(tag.value(), others));
        } else {
            shell.note("Nothing was removed.");
        }
    }
}
