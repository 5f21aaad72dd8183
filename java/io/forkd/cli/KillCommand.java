package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.sandbox.Found;
import io.forkd.sandbox.Found.Known;
import io.forkd.snapshot.SnapshotTag;
import java.util.ArrayList;
import java.util.LinkedHashSet;
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

    @Option(names = "--json", description = "Print what became of each as a JSON array.")
    boolean json;

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
        return kill(targets, new ItemResults(shell, json, "id"));
    }

    private int killNamed() {
        ItemResults results = new ItemResults(shell, json, "id");
        List<Found> targets = new ArrayList<>();
        for (String id : new LinkedHashSet<>(ids)) {
            try {
                targets.add(shell.engine().sandboxes().findAny(id));
            } catch (ForkdException e) {
                results.failed(id, e); // The others are ended all the same.
            }
        }
        return kill(targets, results);
    }

    private int kill(List<Found> targets, ItemResults results) {
        List<Optional<ForkdException>> failures = shell.engine().sandboxes().kill(targets, shell.call());
        for (int i = 0; i < targets.size(); i++) {
            String id = targets.get(i).id();
            failures.get(i)
                    .ifPresentOrElse(failure -> results.failed(id, failure), () -> results.done(id, "killed " + id));
        }
        return results.end();
    }
}
