package io.forkd.cli;

import io.forkd.sandbox.Found;
import io.forkd.sandbox.Found.Known;
import io.forkd.sandbox.Found.OtherVersion;
import io.forkd.sandbox.Found.Running;
import io.forkd.sandbox.Found.Stopped;
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

@Command(
        name = "ls",
        description = "Lists the sandboxes that live, the oldest first. STATE: running; full, when the host had no room"
                + " for what the guest wrote; stopped, when its process does not answer; other version; damaged, when"
                + " what forkd wrote of it cannot be read. forkd kill ends any of them.",
        sortOptions = false)
final class LsCommand implements Callable<Integer> {
    private final Shell shell;

    @Option(names = "--json", description = "Print them as a JSON array.")
    boolean json;

    LsCommand(Shell shell) {
        this.shell = shell;
    }

    @Override
    public Integer call() {
        List<Found> found = shell.engine().sandboxes().sweep();
        if (json) {
            ArrayNode array = JsonNodeFactory.instance.arrayNode();
            found.forEach(each -> array.add(json(each)));
            shell.print(array.toPrettyString());
        } else if (found.isEmpty()) {
            shell.note("No sandbox runs. Make one: forkd spawn --tag TAG");
        } else {
            Table table = new Table("ID", "SNAPSHOT", "PID", "NETNS", "BRANCHES", "GUEST_ADDR", "CREATED", "STATE");
            for (Found each : found) {
                table.row(row(each));
            }
            table.print(shell);
            shell.print(found.size() + (found.size() == 1 ? " sandbox" : " sandboxes"));
        }
        // By another name, as that of a session is not taken for root.
        shell.engine()
                .runtime()
                .earlier()
                .ifPresent(path -> shell.warn("an earlier version left sandboxes in " + path
                        + ": XDG_RUNTIME_DIR=/var/run/user/0 forkd ls, or kill"));
        return 0;
    }

    private static String[] row(Found found) {
        if (!(found instanceof Known known)) {
            return new String[] {found.id(), "-", "-", "-", "-", "-", "-", state(found)};
        }
        Sandbox sandbox = known.sandbox();
        return new String[] {
            sandbox.id(),
            sandbox.snapshot().tag(),
            Integer.toString(sandbox.pid()),
            sandbox.netns().orElse("-"),
            Integer.toString(sandbox.branches()),
            address(sandbox),
            Format.age(Duration.between(sandbox.createdAt(), Instant.now())),
            state(found)
        };
    }

    private static String state(Found found) {
        if (found instanceof Running running) {
            return running.hostFull() ? "full" : running.volumesAway() ? "unmounted" : "running";
        }
        if (found instanceof Stopped) {
            return "stopped";
        }
        return found instanceof OtherVersion ? "other version" : "damaged";
    }

    /** How its agent is reached, as --target takes it. */
    static String address(Sandbox sandbox) {
        return "unix:" + sandbox.vsock();
    }

    private static ObjectNode json(Found found) {
        ObjectNode node = found instanceof Known known
                ? json(known.sandbox())
                : Shell.json().put("id", found.id());
        return node.put("state", state(found));
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
