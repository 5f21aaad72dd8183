package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.sandbox.Found;
import io.forkd.sandbox.Found.Known;
import io.forkd.snapshot.SnapshotTag;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.Callable;
import java.util.stream.Stream;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

@Command(name = "kill", description = "Ends sandboxes.", sortOptions = false)
final class KillCommand implements Callable<Integer> {
    private final Shell shell;

    @Option(names = "--all", description = "End all of them.")
    boolean all;

    @Option(
            names = "--tag",
            paramLabel = "TAG",
            converter = TagConverter.class,
            description = "End those that were forked from this snapshot.")
    Optional<SnapshotTag> tag = Optional.empty();

    @Parameters(arity = "0..*", paramLabel = "ID", description = "The sandboxes; forkd ls lists them.")
    List<String> ids = List.of();

    KillCommand(Shell shell) {
        this.shell = shell;
    }

    @Override
    public Integer call() {
        if (Stream.of(all, tag.isPresent(), !ids.isEmpty())
                        .filter(given -> given)
                        .count()
                != 1) {
            throw new ForkdException(Kind.USAGE, "give the sandboxes' ids, or --all, or --tag TAG");
        }
        return ids.isEmpty() ? killListed() : killNamed();
    }

    private int killListed() {
        List<Found> targets = shell.engine().sandboxes().list().stream()
                .filter(found -> all
                        || (found instanceof Known known
                                && tag.map(SnapshotTag::value)
                                        .equals(Optional.of(
                                                known.sandbox().snapshot().tag()))))
                .toList();
        if (targets.isEmpty()) {
            shell.note("No sandbox runs"
                    + tag.map(name -> " of the snapshot '" + name + "'").orElse("") + ".");
        }
        boolean success = true;
        for (Found found : targets) {
            success &= attempt(() -> kill(found));
        }
        return success ? 0 : 1;
    }

    private int killNamed() {
        boolean success = true;
        for (String id : ids) {
            success &= attempt(() -> kill(shell.engine().sandboxes().findAny(id)));
        }
        return success ? 0 : 1;
    }

    private void kill(Found found) {
        shell.engine().sandboxes().kill(found, shell.call());
        shell.print("killed " + found.id());
    }

    /** The others are ended all the same. */
    private boolean attempt(Runnable job) {
        try {
            job.run();
            return true;
        } catch (ForkdException e) {
            shell.note("Error: " + e.sentence());
            return false;
        }
    }
}
