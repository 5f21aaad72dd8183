package io.forkd.cli;

import io.forkd.sandbox.Naming;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Optional;
import picocli.CommandLine.Option;

/** What a sandbox is called. */
final class NamingOptions {
    @Option(
            names = "--name",
            paramLabel = "NAME",
            description = "A name by which it can be called instead of its id; no other may have it.")
    Optional<String> name = Optional.empty();

    @Option(
            names = "--label",
            paramLabel = "KEY=VALUE",
            description = "A label, for ls --filter and others; more than one can be given.")
    Map<String, String> labels = new LinkedHashMap<>();

    Naming naming() {
        return new Naming(name, labels);
    }
}
