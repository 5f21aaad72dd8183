package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.engine.Snapshots.Removal;
import io.forkd.snapshot.SnapshotTag;
import java.time.Duration;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.function.Predicate;
import java.util.stream.Collectors;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

@Command(
        name = "rmi",
        description = "Removes snapshots. One that others are based on, or that a sandbox or a running fork uses, is"
                + " refused. A daemon is asked first: that of --daemon-url, else this user's own if it runs; what it does"
                + " not know, or when it cannot be reached, is removed from this machine's disk.",
        sortOptions = false)
final class RmiCommand implements Callable<Integer> {
    private static final Duration LIMIT = Duration.ofSeconds(30);

    private final Shell shell;

    @Option(names = "--cascade", description = "Remove the snapshots that are based on it, too.")
    boolean cascade;

    @Option(
            names = "--force",
            description = "Remove it although others are based on it or something that runs uses it.")
    boolean force;

    @Option(names = "--json", description = "Print what became of each as a JSON array.")
    boolean json;

    @Mixin
    RemoteOptions remote = new RemoteOptions();

    @Parameters(
            arity = "1..*",
            paramLabel = "TAG",
            converter = TagConverter.class,
            description = "The snapshots to remove: all of them, or none when one is refused.")
    List<SnapshotTag> tags = List.of();

    /** Who is asked first; nobody any more once it was not reached. */
    private Optional<DaemonClient> daemon = Optional.empty();

    RmiCommand(Shell shell) {
        this.shell = shell;
    }

    @Override
    public Integer call() {
        if (cascade && force) {
            throw new ForkdException(Kind.USAGE, "--cascade and --force exclude each other");
        }
        daemon = remote.namedOrOwn(shell);
        ItemResults results = new ItemResults(shell, json, "tag");
        if (remote.named(shell).isPresent()) {
            new LinkedHashSet<>(tags).forEach(tag -> removeThere(tag, results));
        } else {
            shell.engine().sweep();
            removeHere(new LinkedHashSet<>(tags), results, this::removedByDaemon);
        }
        return results.end();
    }

    /** Each for itself, since what depends on what is for the daemon to know. */
    private void removeThere(SnapshotTag tag, ItemResults results) {
        try {
            if (removedByDaemon(tag)) {
                results.done(tag.value(), "removed " + tag + " (daemon)");
            } else {
                removeHere(Set.of(tag), results, each -> false);
            }
        } catch (ForkdException e) {
            results.failed(tag.value(), e);
        }
    }

    /** False when there is none, it cannot be reached, or does not know the snapshot: that is removed from the disk then. */
    private boolean removedByDaemon(SnapshotTag tag) {
        if (daemon.isEmpty()) {
            return false;
        }
        try {
            daemon.get()
                    .delete(
                            DaemonBackend.snapshot(tag) + (cascade ? "?cascade=true" : force ? "?force=true" : ""),
                            LIMIT);
            return true;
        } catch (DaemonClient.Unreachable e) {
            shell.warn(e.sentence() + "; snapshots are removed from this machine's disk");
            daemon = Optional.empty();
            return false;
        } catch (DaemonClient.Refused e) {
            if (e.status() != 404) {
                throw e;
            }
            return false;
        }
    }

    private void removeHere(Set<SnapshotTag> asked, ItemResults results, Predicate<SnapshotTag> elsewhere) {
        Removal removal = shell.engine().snapshots().planRemoval(asked, cascade, force);
        if (!removal.refused().isEmpty()) {
            refuse(asked, removal, results);
            return;
        }
        for (SnapshotTag tag : removal.all()) {
            try {
                if (elsewhere.test(tag)) {
                    results.done(tag.value(), "removed " + tag + " (daemon)");
                } else {
                    shell.engine().snapshots().remove(tag, removal, force);
                    results.done(tag.value(), "removed " + tag + " (disk)");
                }
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
