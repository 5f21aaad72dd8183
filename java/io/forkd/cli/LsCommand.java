package io.forkd.cli;

import io.forkd.sandbox.Sandbox;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

@Command(name = "ls", description = "Lists the sandboxes that run, the oldest first.", sortOptions = false)
final class LsCommand implements Callable<Integer> {
    private final Shell shell;

    @Option(names = "--json", description = "Print them as a JSON array.")
    boolean json;

    LsCommand(Shell shell) {
        this.shell = shell;
    }

    @Override
    public Integer call() {
        shell.engine().sandboxes().sweep();
        List<Sandbox> sandboxes = shell.engine().sandboxes().list();
        if (json) {
            ArrayNode array = JsonNodeFactory.instance.arrayNode();
            sandboxes.forEach(sandbox -> array.add(json(sandbox)));
            shell.print(array.toPrettyString());
        } else if (sandboxes.isEmpty()) {
            shell.note("No sandbox runs. Make one: forkd spawn --tag TAG");
        } else {
            Table table = new Table("ID", "SNAPSHOT", "PID", "NETNS", "BRANCHES", "GUEST_ADDR", "CREATED");
            for (Sandbox sandbox : sandboxes) {
                table.row(
                        sandbox.id(),
                        sandbox.snapshot().tag(),
                        Integer.toString(sandbox.pid()),
                        sandbox.netns().orElse("-"),
                        Integer.toString(sandbox.branches()),
                        address(sandbox),
                        Format.age(Duration.between(sandbox.createdAt(), Instant.now())));
            }
            table.print(shell);
            shell.print(sandboxes.size() + (sandboxes.size() == 1 ? " sandbox" : " sandboxes"));
        }
        return 0;
    }

    /** How its agent is reached, as --target takes it. */
    static String address(Sandbox sandbox) {
        return "unix:" + sandbox.vsock();
    }

    static ObjectNode json(Sandbox sandbox) {
        ObjectNode node = Shell.json()
                .put("id", sandbox.id())
                .put("snapshot", sandbox.snapshot().tag())
                .put("pid", sandbox.pid())
                .put("branches", sandbox.branches())
                .put("guest_addr", address(sandbox))
                .put("created_at", sandbox.createdAt().toString());
        sandbox.netns().ifPresent(netns -> node.put("netns", netns));
        return node;
    }
}
