package io.forkd.cli;

import io.forkd.network.NetworkPolicy;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.Spec;

@Command(name = "network", description = "What sandboxes may reach.", synopsisSubcommandLabel = "set|show")
final class NetworkCommand implements Runnable {
    @Spec
    @SuppressWarnings("NullAway.Init") // picocli sets it before run
    CommandSpec spec;

    @Override
    public void run() {
        throw new ParameterException(spec.commandLine(), "network needs a verb: set or show");
    }

    /** What they share. */
    private abstract static class Verb implements Callable<Integer> {
        final Shell shell;

        @Parameters(index = "0", paramLabel = "ID", description = "The sandbox; forkd ls lists them.")
        String id = "";

        @Mixin
        RemoteOptions remote = new RemoteOptions();

        @Option(names = "--json", description = "Print the policy as JSON.")
        boolean json;

        Verb(Shell shell) {
            this.shell = shell;
        }

        int print(Optional<NetworkPolicy> policy) {
            if (json) {
                var node = Shell.json();
                policy.ifPresentOrElse(known -> node.set("network", known.toJson()), () -> node.putNull("network"));
                shell.print(node);
            } else {
                shell.print(policy.map(NetworkPolicy::toString).orElse("-"));
            }
            return 0;
        }
    }

    /** {@code forkd network set}. */
    @Command(
            name = "set",
            description =
                    "Has a sandbox with a network of its own follow another policy from now on, wider or narrower;"
                            + " open connections that it forbids end.",
            sortOptions = false)
    static final class Set extends Verb {
        @Parameters(index = "1..*", arity = "1..*", paramLabel = "POLICY", description = NetworkOptions.POLICY)
        List<String> policy = List.of();

        Set(Shell shell) {
            super(shell);
        }

        @Override
        public Integer call() {
            NetworkPolicy wanted = NetworkOptions.parse(shell, policy);
            return print(Optional.of(remote.backend(shell).setNetwork(id, wanted)));
        }
    }

    /** {@code forkd network show}. */
    @Command(
            name = "show",
            description = "Shows which policy a sandbox follows; - when none of forkd's.",
            sortOptions = false)
    static final class Show extends Verb {
        Show(Shell shell) {
            super(shell);
        }

        @Override
        public Integer call() {
            return print(remote.backend(shell).network(id));
        }
    }
}
