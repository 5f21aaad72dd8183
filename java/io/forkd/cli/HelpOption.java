package io.forkd.cli;

import picocli.CommandLine.Option;

/** {@code --help}, on every verb. */
final class HelpOption {
    @Option(
            names = {"-h", "--help"},
            usageHelp = true,
            description = "Show this help.")
    private boolean help;

    boolean help() {
        return help;
    }
}
