package io.forkd.cli;

import io.forkd.image.Reach;
import java.util.Optional;
import picocli.CommandLine.Option;

/** How a registry is spoken to; shared by the verbs that speak to one. */
final class RegistryOptions {
    @Option(
            names = "--insecure-registry",
            description = "Speak plain HTTP to a registry without TLS. Registries on this machine need no such option.")
    boolean insecure;

    Reach reach() {
        return new Reach(insecure, Optional.empty());
    }
}
