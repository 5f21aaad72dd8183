package io.forkd.cli;

import io.forkd.ForkdException;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.function.BiFunction;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** Sandboxes that one command does something to, each on its own. */
final class EachOptions {
    @Option(names = "--json", description = "Print what became of each as a JSON array.")
    boolean json;

    @Parameters(arity = "1..*", paramLabel = "ID", description = "The sandboxes; forkd ls lists them.")
    List<String> ids = List.of();

    @Mixin
    RemoteOptions remote = new RemoteOptions();

    /** Does it to each, which gives the line for people; one that fails keeps the others from nothing. */
    int each(Shell shell, BiFunction<Backend, String, String> job) {
        Backend backend = remote.backend(shell);
        ItemResults results = new ItemResults(shell, json, "id");
        for (String id : new LinkedHashSet<>(ids)) {
            try {
                results.done(id, job.apply(backend, id));
            } catch (ForkdException e) {
                results.failed(id, e);
            }
        }
        return results.end();
    }
}
