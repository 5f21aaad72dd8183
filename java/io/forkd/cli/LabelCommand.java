package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

@Command(
        name = "label",
        description = "Gives a sandbox labels, and takes some away; the others stay.",
        sortOptions = false)
final class LabelCommand implements Callable<Integer> {
    private final Shell shell;

    @Parameters(index = "0", paramLabel = "ID", description = "The sandbox; forkd ls lists them.")
    String id = "";

    @Parameters(
            index = "1..*",
            arity = "1..*",
            paramLabel = "KEY=VALUE|KEY-",
            description = "A label that it is to have; with - instead of =VALUE, one that it is not to have any more.")
    List<String> labels = List.of();

    @Option(names = "--json", description = "Print the sandbox as JSON.")
    boolean json;

    @Mixin
    RemoteOptions remote = new RemoteOptions();

    LabelCommand(Shell shell) {
        this.shell = shell;
    }

    @Override
    public Integer call() {
        Map<String, Optional<String>> changes = new LinkedHashMap<>();
        for (String label : labels) {
            int equals = label.indexOf('=');
            if (equals < 0 && !label.endsWith("-")) {
                throw new ForkdException(Kind.USAGE, "'" + label + "' is neither KEY=VALUE nor KEY-");
            }
            changes.put(
                    label.substring(0, equals < 0 ? label.length() - 1 : equals),
                    equals < 0 ? Optional.empty() : Optional.of(label.substring(equals + 1)));
        }
        SandboxView labelled = remote.backend(shell).label(id, changes);
        shell.print(json ? labelled.json().toPrettyString() : labelled.id() + "  " + labelled.labels());
        return 0;
    }
}
