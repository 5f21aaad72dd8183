package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.sandbox.Sandbox;
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
        List<String> targets = ids;
        if (ids.isEmpty()) {
            targets = shell.engine().sandboxes().list().stream()
                    .filter(sandbox -> all
                            || tag.map(SnapshotTag::value)
                                    .equals(Optional.of(sandbox.snapshot().tag())))
                    .map(Sandbox::id)
                    .toList();
            if (targets.isEmpty()) {
                shell.note("No sandbox runs"
                        + tag.map(name -> " of the snapshot '" + name + "'").orElse("") + ".");
            }
        }
        int killed = 0;
        for (String id : targets) {
            try {
                shell.engine().sandboxes().kill(id, shell);
                shell.print("killed " + id);
                killed++;
            } catch (ForkdException e) {
                shell.note("Error: " + e.sentence());
            }
        }
        return killed == targets.size() ? 0 : 1;
    }
}
