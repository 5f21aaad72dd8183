package io.forkd.cli;

import java.util.List;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

@Command(
        name = "ls",
        description = "Lists the sandboxes that live, the oldest first. STATE: running; full, when the host had no room"
                + " for what the guest wrote; unmounted, while it is branched without its volumes; stopped, when its process does not answer; other version; damaged, when"
                + " what forkd wrote of it cannot be read. forkd kill ends any of them.",
        sortOptions = false)
final class LsCommand implements Callable<Integer> {
    private final Shell shell;

    @Option(names = "--json", description = "Print them as a JSON array.")
    boolean json;

    @Mixin
    RemoteOptions remote = new RemoteOptions();

    LsCommand(Shell shell) {
        this.shell = shell;
    }

    @Override
    public Integer call() {
        List<SandboxView> found = remote.backend(shell).sandboxes();
        if (json) {
            shell.print(SandboxView.json(found).toPrettyString());
        } else if (found.isEmpty()) {
            shell.note("No sandbox runs. forkd spawn --tag TAG makes one.");
        } else {
            Table table = new Table("ID", "SNAPSHOT", "PID", "NETNS", "BRANCHES", "GUEST_ADDR", "CREATED", "STATE");
            found.forEach(each -> table.row(each.row()));
            table.print(shell);
            shell.print(found.size() + (found.size() == 1 ? " sandbox" : " sandboxes"));
        }
        if (remote.named(shell).isEmpty()) {
            warnOfEarlier();
        }
        return 0;
    }

    /** By another name, as that of a session is not taken for root. */
    private void warnOfEarlier() {
        shell.engine()
                .runtime()
                .earlier()
                .ifPresent(path -> shell.warn("an earlier version left sandboxes in " + path
                        + ": XDG_RUNTIME_DIR=/var/run/user/0 forkd ls, or kill"));
    }
}
