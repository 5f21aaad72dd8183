package io.forkd.cli;

import io.forkd.engine.NetworkRequest;
import io.forkd.network.NetworkPolicy;
import java.util.List;
import java.util.Optional;
import picocli.CommandLine.Option;

/** Which network children get. */
final class NetworkOptions {
    static final String POLICY =
            "none, internet (every public address), all, or where to: an address range, an address, or a name, each with"
                    + " a port or ports behind a colon if it is about those alone; ! in front denies. Several may be"
                    + " given, with commas or one at a time; docs/networking.md has them all.";

    @Option(
            names = "--per-child-netns",
            description =
                    "Each has its network in a namespace of its own, forkd-child-<i>: one that is there, or is made"
                            + " for it. Needs root.")
    boolean perChildNetns;

    @Option(
            names = "--network",
            paramLabel = "POLICY",
            description = "What each may reach, from a namespace of its own: " + POLICY
                    + " Default: what the snapshot was branched with, else internet.")
    List<String> policy = List.of();

    NetworkRequest request(Shell shell) {
        return new NetworkRequest(
                perChildNetns, policy.isEmpty() ? Optional.empty() : Optional.of(parse(shell, policy)));
    }

    static NetworkPolicy parse(Shell shell, List<String> texts) {
        NetworkPolicy parsed = NetworkPolicy.parse(texts);
        parsed.contradictions().forEach(rule -> shell.warn(rule + " is both allowed and denied, which denies it"));
        return parsed;
    }
}
