package io.forkd.cli;

import io.forkd.ForkdException.Kind;
import io.forkd.cli.Doctor.Check;
import io.forkd.cli.Doctor.Status;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.Callable;
import java.util.stream.Collectors;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.ObjectNode;

@Command(
        name = "doctor",
        description = "Looks at what forkd needs of this machine, and says how to mend what is missing: fail, nothing"
                + " goes without it, and the exit status is 1; warn, a part of what forkd does is not to be had, or not"
                + " for long; skip, it is not needed as things are.",
        sortOptions = false)
final class DoctorCommand implements Callable<Integer> {
    private final Shell shell;

    @Option(names = "--json", description = "Print the checks as JSON.")
    boolean json;

    @Mixin
    RemoteOptions remote = new RemoteOptions();

    DoctorCommand(Shell shell) {
        this.shell = shell;
    }

    @Override
    public Integer call() {
        List<Check> checks = new Doctor(shell, remote).all();
        if (json) {
            shell.print(json(checks));
        } else {
            checks.forEach(check -> print(shell, check));
            shell.print(Arrays.stream(Status.values())
                    .map(status -> count(checks, status) + " " + status.word())
                    .collect(Collectors.joining(", ")));
        }
        return count(checks, Status.FAIL) == 0 ? 0 : Kind.FAILED.exitStatus();
    }

    static void print(Shell shell, Check check) {
        shell.print(String.format(Locale.ROOT, "%-4s  %-15s  %s", check.status().word(), check.name(), check.detail()));
        if (!check.remedy().isEmpty()) {
            shell.print(" ".repeat(23) + check.remedy());
        }
    }

    private static long count(List<Check> checks, Status status) {
        return checks.stream().filter(check -> check.status() == status).count();
    }

    private static ObjectNode json(List<Check> checks) {
        ObjectNode node = Shell.json();
        ArrayNode all = node.putArray("checks");
        for (Check check : checks) {
            all.addObject()
                    .put("name", check.name())
                    .put("status", check.status().word())
                    .put("detail", check.detail())
                    .put("remedy", check.remedy());
        }
        for (Status status : Status.values()) {
            node.put(status.word(), count(checks, status));
        }
        return node;
    }
}
