package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.network.Networks;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Optional;
import java.util.TreeMap;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;
import tools.jackson.databind.node.ObjectNode;

@Command(
        name = "net",
        description = "The networks of children, for administrators.",
        synopsisSubcommandLabel = "setup|status|teardown")
final class NetCommand implements Runnable {
    private static final Path USERS = Path.of("/etc/passwd");

    @Spec
    @SuppressWarnings("NullAway.Init") // picocli sets it before run
    CommandSpec spec;

    @Override
    public void run() {
        throw new ParameterException(spec.commandLine(), "net needs a verb: setup, status or teardown");
    }

    private static ObjectNode json(Networks.Status status) {
        ObjectNode node = Shell.json()
                .put("range", status.range())
                .put("host_rules", status.hostRules())
                .put("tap", status.tap())
                .put("pool", status.wanted());
        status.resolvers().forEach(node.putArray("resolvers")::add);
        status.ready().forEach(node.putArray("ready")::add);
        ObjectNode used = node.putObject("used");
        new TreeMap<>(status.used()).forEach(used::put);
        return node;
    }

    /** {@code forkd net setup}. */
    @Command(
            name = "setup",
            description =
                    "Has namespaces ready for children, and forkd-tap0 for parents, until net teardown. Needs root."
                            + " Namespaces are made when they are needed, too, which takes each some milliseconds longer.",
            sortOptions = false)
    static final class Setup implements Callable<Integer> {
        private final Shell shell;

        @Option(
                names = "--pool",
                paramLabel = "N",
                defaultValue = "16",
                description = "How many are ready at any time, 0 to 10000. Default: ${DEFAULT-VALUE}.")
        int pool;

        @Option(
                names = "--user",
                paramLabel = "USER",
                description = "Who may boot parents on forkd-tap0. Default: who called sudo, else root.")
        Optional<String> user = Optional.empty();

        @Option(names = "--no-tap", description = "Make no forkd-tap0.")
        boolean noTap;

        @Option(names = "--json", description = "Print what there is, as net status does.")
        boolean json;

        Setup(Shell shell) {
            this.shell = shell;
        }

        @Override
        public Integer call() {
            MachineOptions.requireRange("--pool", pool, 0, ForkOptions.MAX_CHILDREN);
            Optional<Integer> owner = noTap ? Optional.empty() : Optional.of(uid());
            shell.engine().sandboxes().sweepNetworks();
            shell.engine().networks().setUp(pool, owner);
            if (json) {
                shell.print(NetCommand.json(shell.engine().networks().status()));
            } else {
                shell.print(pool + " networks are ready" + (noTap ? "" : ", and forkd-tap0 is up"));
            }
            return 0;
        }

        private int uid() {
            String name = user.or(() -> Optional.ofNullable(shell.environment().get("SUDO_USER")))
                    .orElse("root");
            try {
                return Files.readAllLines(USERS).stream()
                        .map(line -> line.split(":", -1))
                        .filter(fields -> fields.length > 2 && fields[0].equals(name))
                        .map(fields -> Integer.parseInt(fields[2]))
                        .findFirst()
                        .orElseThrow(() -> new ForkdException(Kind.USAGE, "there is no user '" + name + "'"));
            } catch (IOException e) {
                throw ForkdException.of("read " + USERS, e);
            }
        }
    }

    /** {@code forkd net status}. */
    @Command(name = "status", description = "Shows which networks there are, and whose.", sortOptions = false)
    static final class Status implements Callable<Integer> {
        private final Shell shell;

        @Option(names = "--json", description = "Print it as JSON.")
        boolean json;

        Status(Shell shell) {
            this.shell = shell;
        }

        @Override
        public Integer call() {
            shell.engine().sandboxes().sweepNetworks();
            Networks.Status status = shell.engine().networks().status();
            if (json) {
                shell.print(NetCommand.json(status));
                return 0;
            }
            shell.print("range:      " + status.range());
            shell.print("resolvers:  " + (status.resolvers().isEmpty() ? "-" : String.join(" ", status.resolvers())));
            shell.print("host rules: " + (status.hostRules() ? "set" : "-"));
            shell.print("tap:        " + (status.tap() ? "forkd-tap0" : "-"));
            shell.print("ready:      " + status.ready().size() + " of " + status.wanted());
            shell.print("in use:     " + status.used().size());
            new TreeMap<>(status.used()).forEach((name, user) -> shell.print("  " + name + "  " + user));
            return 0;
        }
    }

    /** {@code forkd net teardown}. */
    @Command(
            name = "teardown",
            description = "Removes all networks that forkd made, and what it set up for them on this host.",
            sortOptions = false)
    static final class Teardown implements Callable<Integer> {
        private final Shell shell;

        @Option(names = "--force", description = "Also those that are in use: their guests are cut off.")
        boolean force;

        @Option(names = "--json", description = "Print it as JSON.")
        boolean json;

        Teardown(Shell shell) {
            this.shell = shell;
        }

        @Override
        public Integer call() {
            shell.engine().sandboxes().sweepNetworks();
            shell.engine().networks().tearDown(force);
            if (json) {
                shell.print(Shell.json().put("removed", true));
            } else {
                shell.print("removed");
            }
            return 0;
        }
    }
}
