package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.snapshot.SnapshotTag;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.Callable;
import java.util.stream.Stream;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
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

    @Mixin
    RemoteOptions remote = new RemoteOptions();

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
        Backend backend = remote.backend(shell);
        List<String> targets = ids.isEmpty() ? listed(backend) : List.copyOf(new LinkedHashSet<>(ids));
        List<Optional<ForkdException>> failures = backend.kill(targets);
        ItemResults results = new ItemResults(shell, json, "id");
        for (int i = 0; i < targets.size(); i++) {
            String id = targets.get(i);
            failures.get(i)
                    .ifPresentOrElse(failure -> results.failed(id, failure), () -> results.done(id, "killed " + id));
        }
        return results.end();
    }

    private List<String> listed(Backend backend) {
        List<String> targets = backend.sandboxes().stream()
                .filter(found ->
                        all || found.known().map(SandboxView.Details::snapshot).equals(tag.map(SnapshotTag::value)))
                .map(SandboxView::id)
                .toList();
        if (targets.isEmpty()) {
            shell.note("No sandbox runs"
                    + tag.map(name -> " of the snapshot '" + name + "'").orElse("") + ".");
        }
        return targets;
    }
}
