package io.forkd.cli;

import io.forkd.snapshot.SnapshotTag;
import java.time.Duration;
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
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ObjectNode;

@Command(
        name = "workspace",
        description =
                "Sandboxes with a name, which sleep as a snapshot. They are a daemon's: that of --daemon-url, else"
                        + " this user's own, else that at " + DaemonClient.DEFAULT_URL + ".",
        synopsisSubcommandLabel = "create|suspend|resume|list|delete")
final class WorkspaceCommand implements Runnable {
    private static final String WORKSPACES = "/v1/workspaces";
    private static final Duration LIMIT = Duration.ofSeconds(60);

    @Spec
    @SuppressWarnings("NullAway.Init") // picocli sets it before run
    CommandSpec spec;

    @Override
    public void run() {
        throw new ParameterException(
                spec.commandLine(), "workspace needs a verb: create, suspend, resume, list or delete");
    }

    /** What one of them shares with the others. */
    private abstract static class Verb implements Callable<Integer> {
        final Shell shell;

        @Mixin
        RemoteOptions remote = new RemoteOptions();

        @Option(names = "--json", description = "Print the result as JSON.")
        boolean json;

        Verb(Shell shell) {
            this.shell = shell;
        }

        DaemonClient daemon() {
            return remote.any(shell);
        }

        int print(JsonNode workspace) {
            if (json) {
                shell.print((ObjectNode) new Answer(workspace).node());
            } else {
                shell.print(String.join("  ", row(new Answer(workspace))));
            }
            return 0;
        }

        static String[] row(Answer workspace) {
            return new String[] {
                workspace.text("name"),
                workspace.text("status"),
                workspace.text("source_snapshot_tag"),
                workspace.optionalText("current_state_tag").orElse("-"),
                workspace.optionalText("live_sandbox_id").orElse("-")
            };
        }
    }

    /** One that is about a workspace. */
    private abstract static class OfOne extends Verb {
        @Parameters(
                paramLabel = "NAME",
                converter = TagConverter.class,
                description = "Its name; it has the rule of tags.")
        SnapshotTag name = new SnapshotTag("_");

        OfOne(Shell shell) {
            super(shell);
        }

        String path() {
            return WORKSPACES + "/" + name;
        }
    }

    /** {@code forkd workspace create}. */
    @Command(name = "create", description = "Makes one, which runs.", sortOptions = false)
    static final class Create extends OfOne {
        @Option(
                names = "--snapshot",
                required = true,
                paramLabel = "TAG",
                converter = TagConverter.class,
                description = "What its sandbox is forked from.")
        SnapshotTag snapshot = new SnapshotTag("_");

        @Option(
                names = "--per-child-netns",
                description = "It has its network in a namespace forkd-child-<i> that no other sandbox uses.")
        boolean perChildNetns;

        @Option(names = "--memory-limit-mib", paramLabel = "M", description = "Its memory limit (cgroup).")
        Optional<Long> memoryLimitMib = Optional.empty();

        Create(Shell shell) {
            super(shell);
        }

        @Override
        public Integer call() {
            memoryLimitMib.ifPresent(mib -> MachineOptions.requireRange("--memory-limit-mib", mib, 1, 1L << 40));
            ObjectNode body = Shell.json()
                    .put("name", name.value())
                    .put("snapshot_tag", snapshot.value())
                    .put("per_child_netns", perChildNetns);
            memoryLimitMib.ifPresent(mib -> body.put("memory_limit_mib", mib));
            return print(daemon().post(WORKSPACES, body, Optional.empty()));
        }
    }

    /** {@code forkd workspace suspend}. */
    @Command(
            name = "suspend",
            description = "Puts one to sleep: a snapshot is made of it, and its sandbox ends.",
            sortOptions = false)
    static final class Suspend extends OfOne {
        @Option(names = "--diff", description = "Accepted for compatibility; it makes no difference here.")
        boolean diff;

        Suspend(Shell shell) {
            super(shell);
        }

        @Override
        public Integer call() {
            return print(daemon().post(path() + "/suspend", Shell.json().put("diff", diff), Optional.empty()));
        }
    }

    /** {@code forkd workspace resume}. */
    @Command(
            name = "resume",
            description = "Wakes one: its sandbox is a child of what it was put to sleep as.",
            sortOptions = false)
    static final class Resume extends OfOne {
        Resume(Shell shell) {
            super(shell);
        }

        @Override
        public Integer call() {
            return print(daemon().post(path() + "/resume", Shell.json(), Optional.empty()));
        }
    }

    /** {@code forkd workspace list}. */
    @Command(name = "list", description = "Lists them.", sortOptions = false)
    static final class ListAll extends Verb {
        ListAll(Shell shell) {
            super(shell);
        }

        @Override
        public Integer call() {
            JsonNode all = daemon().get(WORKSPACES, LIMIT);
            List<Answer> workspaces = Answer.all(all);
            if (json) {
                shell.print(all.toPrettyString());
            } else if (workspaces.isEmpty()) {
                shell.print("(no workspaces)");
            } else {
                Table table = new Table("NAME", "STATUS", "SNAPSHOT", "STATE", "SANDBOX");
                workspaces.forEach(workspace -> table.row(row(workspace)));
                table.print(shell);
            }
            return 0;
        }
    }

    /** {@code forkd workspace delete}. */
    @Command(
            name = "delete",
            description = "Ends one, and removes what it was put to sleep as. The snapshot that it was made of stays.",
            sortOptions = false)
    static final class Delete extends OfOne {
        Delete(Shell shell) {
            super(shell);
        }

        @Override
        public Integer call() {
            daemon().delete(path(), LIMIT);
            if (json) {
                shell.print(Shell.json().put("name", name.value()).put("deleted", true));
            } else {
                shell.print("deleted " + name);
            }
            return 0;
        }
    }
}
