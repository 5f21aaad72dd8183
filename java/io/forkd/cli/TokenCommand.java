package io.forkd.cli;

import io.forkd.Json;
import io.forkd.http.Caller;
import io.forkd.http.Caller.Quotas;
import io.forkd.http.Caller.Role;
import io.forkd.http.TokenFile;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.Spec;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

@Command(
        name = "token",
        description = "Who may ask a daemon over TCP: a file with a line for each caller, which `forkd daemon"
                + " --token-file` reads, and again after SIGHUP.",
        synopsisSubcommandLabel = "add|list|remove")
final class TokenCommand implements Runnable {
    @Spec
    @SuppressWarnings("NullAway.Init") // picocli sets it before run
    CommandSpec spec;

    @Override
    public void run() {
        throw new ParameterException(spec.commandLine(), "token needs a verb: add, list or remove");
    }

    /** What one of them shares with the others. */
    private abstract static class Verb implements Callable<Integer> {
        final Shell shell;

        @Option(
                names = "--token-file",
                required = true,
                paramLabel = "FILE",
                defaultValue = "${env:FORKD_TOKEN_FILE}",
                description = "The file. Also FORKD_TOKEN_FILE.")
        Path file = Path.of("");

        @Option(names = "--json", description = "Print it as JSON.")
        boolean json;

        Verb(Shell shell) {
            this.shell = shell;
        }
    }

    /** {@code forkd token add}. */
    @Command(
            name = "add",
            description = "Adds a caller, and prints its secret, which is not kept: the file has a hash of it.",
            sortOptions = false)
    static final class Add extends Verb {
        @Parameters(paramLabel = "NAME", description = "Its name: letters, digits, . _ -")
        String name = "";

        @Option(
                names = "--role",
                required = true,
                paramLabel = "ROLE",
                description =
                        "admin: may do everything. user: knows of what it made, and of snapshots that are for all."
                                + " read: may look at everything.")
        Role role = Role.READ;

        @Option(names = "--sandboxes", paramLabel = "N", description = "How many a user may have at a time.")
        Optional<Long> sandboxes = Optional.empty();

        @Option(
                names = "--memory-mib",
                paramLabel = "N",
                description = "How much memory its sandboxes may have together.")
        Optional<Long> memoryMib = Optional.empty();

        @Option(names = "--snapshots", paramLabel = "N", description = "How many of its own it may have.")
        Optional<Long> snapshots = Optional.empty();

        Add(Shell shell) {
            super(shell);
        }

        @Override
        public Integer call() {
            Quotas quotas = new Quotas(
                    most("--sandboxes", sandboxes), most("--memory-mib", memoryMib), most("--snapshots", snapshots));
            String secret = TokenFile.add(file, name, role, quotas);
            if (json) {
                shell.print(Shell.json().put("name", name).put("secret", secret));
            } else {
                shell.print(secret);
            }
            return 0;
        }

        private static OptionalLong most(String option, Optional<Long> number) {
            number.ifPresent(most -> MachineOptions.requireRange(option, most, 0, 1L << 40));
            return number.map(OptionalLong::of).orElse(OptionalLong.empty());
        }
    }

    /** {@code forkd token list}. */
    @Command(name = "list", description = "Lists the callers.", sortOptions = false)
    static final class ListAll extends Verb {
        ListAll(Shell shell) {
            super(shell);
        }

        @Override
        public Integer call() {
            List<Caller> callers = TokenFile.list(file);
            if (json) {
                ArrayNode list = JsonNodeFactory.instance.arrayNode();
                callers.forEach(caller -> list.add(json(caller)));
                shell.print(Json.text(list));
                return 0;
            }
            if (callers.isEmpty()) {
                shell.print("(no callers)");
                return 0;
            }
            Table table = new Table("NAME", "ROLE", "SANDBOXES", "MEMORY_MIB", "SNAPSHOTS");
            callers.forEach(caller -> table.row(
                    caller.name(),
                    caller.role().name().toLowerCase(Locale.ROOT),
                    text(caller.quotas().sandboxes()),
                    text(caller.quotas().memoryMib()),
                    text(caller.quotas().snapshots())));
            table.print(shell);
            return 0;
        }

        private static ObjectNode json(Caller caller) {
            ObjectNode node = Shell.json()
                    .put("name", caller.name())
                    .put("role", caller.role().name().toLowerCase(Locale.ROOT));
            caller.quotas().sandboxes().ifPresent(most -> node.put("sandboxes", most));
            caller.quotas().memoryMib().ifPresent(most -> node.put("memory_mib", most));
            caller.quotas().snapshots().ifPresent(most -> node.put("snapshots", most));
            return node;
        }

        private static String text(OptionalLong most) {
            return most.isPresent() ? Long.toString(most.getAsLong()) : "-";
        }
    }

    /** {@code forkd token remove}. */
    @Command(
            name = "remove",
            description = "Removes a caller. What it made stays, and is that of the next one of its name.",
            sortOptions = false)
    static final class Remove extends Verb {
        @Parameters(paramLabel = "NAME", description = "Its name.")
        String name = "";

        Remove(Shell shell) {
            super(shell);
        }

        @Override
        public Integer call() {
            TokenFile.remove(file, name);
            if (json) {
                shell.print(Shell.json().put("removed", name));
            }
            return 0;
        }
    }
}
