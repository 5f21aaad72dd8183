package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.snapshot.SnapshotTag;
import java.util.Optional;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

@Command(
        name = "snapshot-compact",
        description = "Makes a snapshot that is a layer whole, so that it needs its parent no more. It restores to the"
                + " same; snapshots that are based on it stay so. With --from and --to the whole one is another, and the"
                + " layer stays.",
        sortOptions = false)
final class SnapshotCompactCommand implements Callable<Integer> {
    private final Shell shell;

    @Option(
            names = "--from",
            paramLabel = "TAG",
            converter = TagConverter.class,
            description = "The snapshot that stays as it is.")
    Optional<SnapshotTag> from = Optional.empty();

    @Option(
            names = "--to",
            paramLabel = "TAG",
            converter = NewTagConverter.class,
            description = "Name of the whole one that is made of it.")
    Optional<SnapshotTag> to = Optional.empty();

    @Option(names = "--json", description = "Print the result as JSON.")
    boolean json;

    @Mixin
    RemoteOptions remote = new RemoteOptions();

    @Parameters(
            arity = "0..1",
            paramLabel = "TAG",
            converter = TagConverter.class,
            description = "The snapshot, in place of --from and --to.")
    Optional<SnapshotTag> tag = Optional.empty();

    SnapshotCompactCommand(Shell shell) {
        this.shell = shell;
    }

    @Override
    public Integer call() {
        if (from.isPresent() != to.isPresent() || from.isPresent() == tag.isPresent()) {
            throw new ForkdException(Kind.USAGE, "give the snapshot, or --from TAG and --to TAG");
        }
        if (from.isPresent() && from.equals(to)) {
            throw new ForkdException(Kind.USAGE, "--from and --to are the same");
        }
        SnapshotTag made = to.or(() -> tag).orElseThrow();
        String directory = from.isPresent() ? remote.backend(shell).compact(from.get(), made) : compactInPlace(made);
        shell.clear();
        if (json) {
            shell.print(Shell.json().put("tag", made.value()).put("dir", directory));
        } else {
            shell.print("tag:  " + made);
            shell.print("dir:  " + directory);
            from.ifPresent(source -> shell.print("from: " + source));
        }
        return 0;
    }

    private String compactInPlace(SnapshotTag made) {
        DaemonBackend.requireNot(remote.named(shell).isPresent(), "a snapshot without --from and --to");
        shell.engine().snapshots().compact(made, shell.call());
        return shell.engine().store().directory(made).toString();
    }
}
