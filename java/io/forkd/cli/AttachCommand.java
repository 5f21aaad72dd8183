package io.forkd.cli;

import io.forkd.agent.CommandFailed;
import io.forkd.agent.GuestException;
import io.forkd.agent.GuestProcess;
import io.forkd.agent.GuestProcessEntry;
import io.forkd.agent.GuestStreams;
import io.forkd.agent.ProcessName;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

@Command(
        name = "attach",
        description = "Connects this terminal with a program that exec -t or -d started in a guest: what it wrote, the"
                + " last MiB at most, what it writes, and its input. Its exit code becomes ours. When this is ended it"
                + " goes on. Without PROCESS: which there are.",
        sortOptions = false)
final class AttachCommand implements Callable<Integer> {
    private final Shell shell;

    @Mixin
    TargetOptions target = new TargetOptions();

    @Option(names = "--no-stdin", description = "Do not pass stdin on.")
    boolean noStdin;

    @Option(names = "--json", description = "Without PROCESS: print a JSON array.")
    boolean json;

    @Parameters(
            arity = "0..1",
            paramLabel = "PROCESS",
            description = "Its process number, or its --name. From a terminal Ctrl-P Ctrl-Q leaves it.")
    Optional<String> process = Optional.empty();

    AttachCommand(Shell shell) {
        this.shell = shell;
    }

    @Override
    public Integer call() {
        try {
            GuestStreams guest = target.streams(shell);
            return process.isEmpty() ? list(guest) : attach(guest, ProcessName.parse(process.get()));
        } catch (GuestException.Absent e) {
            throw Session.explained(e);
        }
    }

    private int attach(GuestStreams guest, ProcessName name) {
        try (GuestProcess there = guest.attach(name, Optional.empty())) {
            return new Session(shell, there, !noStdin).run();
        } catch (CommandFailed e) {
            shell.fail(e, false);
            return e.exitStatus();
        } catch (Shell.OutputLost e) {
            return e.report(shell);
        }
    }

    private int list(GuestStreams guest) {
        List<GuestProcessEntry> all = guest.processes();
        if (json) {
            ArrayNode array = JsonNodeFactory.instance.arrayNode();
            all.forEach(one -> array.add(json(one)));
            shell.print(array.toPrettyString());
            return 0;
        }
        all.forEach(one -> shell.print((one.pid() + "  " + one.tag().orElse("-") + "  "
                        + (one.exitCode().isPresent()
                                ? "ended " + one.exitCode().getAsInt()
                                : "running") + "  "
                        + String.join(" ", one.argv()))
                .replaceAll("\\p{Cc}", "?")));
        return 0;
    }

    private static ObjectNode json(GuestProcessEntry one) {
        ObjectNode node = Shell.json().put("pid", one.pid());
        one.tag().ifPresent(tag -> node.put("name", tag));
        ArrayNode argv = node.putArray("argv");
        one.argv().forEach(argv::add);
        node.put("cwd", one.directory())
                .put("tty", one.terminal())
                .put("started_at", one.started().toString());
        one.exitCode().ifPresent(code -> node.put("exit_code", code));
        return node;
    }
}
