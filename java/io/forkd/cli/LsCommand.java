package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

@Command(
        name = "ls",
        description =
                "Lists the sandboxes that live or are paused, the oldest first. STATE: running; paused, until forkd resume; full, when the host had no room"
                        + " for what the guest wrote; unmounted, while it is branched without its volumes; stopped, when its process does not answer; other version; damaged, when"
                        + " what forkd wrote of it cannot be read. forkd kill ends any of them.",
        sortOptions = false)
final class LsCommand implements Callable<Integer> {
    private static final String LABEL = "label=";

    private final Shell shell;

    @Option(
            names = "--filter",
            paramLabel = "label=KEY[=VALUE]",
            description = "Those with this label only; given more than once, with all of them.")
    List<String> filters = List.of();

    @Option(names = "--json", description = "Print them as a JSON array.")
    boolean json;

    @Mixin
    RemoteOptions remote = new RemoteOptions();

    LsCommand(Shell shell) {
        this.shell = shell;
    }

    @Override
    public Integer call() {
        Map<String, Optional<String>> wanted = wanted();
        List<SandboxView> found = remote.backend(shell).sandboxes().stream()
                .filter(each -> wanted.isEmpty()
                        || each.known()
                                .map(SandboxView.Details::naming)
                                .filter(naming -> naming.has(wanted))
                                .isPresent())
                .toList();
        if (json) {
            shell.print(SandboxView.json(found).toPrettyString());
        } else if (found.isEmpty()) {
            shell.note("No sandbox runs. forkd spawn --tag TAG makes one.");
        } else {
            Table table = new Table(
                    "ID",
                    "SNAPSHOT",
                    "PID",
                    "NETNS",
                    "BRANCHES",
                    "GUEST_ADDR",
                    "CREATED",
                    "MEMORY",
                    "CPU",
                    "NAME",
                    "STATE");
            found.forEach(each -> table.row(each.row()));
            table.print(shell);
            shell.print(found.size() + (found.size() == 1 ? " sandbox" : " sandboxes"));
        }
        if (remote.named(shell).isEmpty()) {
            shell.engine()
                    .sandboxes()
                    .killed()
                    .forEach(killed -> shell.note(killed.id() + " is no more: " + killed.reason()));
            warnOfEarlier();
        }
        return 0;
    }

    private Map<String, Optional<String>> wanted() {
        Map<String, Optional<String>> wanted = new LinkedHashMap<>();
        for (String filter : filters) {
            if (!filter.startsWith(LABEL)) {
                throw new ForkdException(Kind.USAGE, "--filter " + filter + " is not label=KEY or label=KEY=VALUE");
            }
            String label = filter.substring(LABEL.length());
            int equals = label.indexOf('=');
            wanted.put(
                    equals < 0 ? label : label.substring(0, equals),
                    equals < 0 ? Optional.empty() : Optional.of(label.substring(equals + 1)));
        }
        return wanted;
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
