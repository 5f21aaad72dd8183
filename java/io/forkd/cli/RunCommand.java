package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.agent.AgentAddress;
import io.forkd.agent.AgentClient;
import io.forkd.agent.GuestCommand;
import io.forkd.engine.Fork;
import io.forkd.engine.ForkRequest;
import io.forkd.engine.VolumeConflict;
import io.forkd.snapshot.SnapshotTag;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

@Command(
        name = "run",
        description = "Boots a disk image, forks one child of it and runs a command there. The snapshot stays, as"
                + " run-<name of the image>.",
        sortOptions = false)
final class RunCommand implements Callable<Integer> {
    private final Shell shell;

    @Option(
            names = {"--image", "--rootfs"},
            required = true,
            paramLabel = "FILE",
            description = "The root disk. (Container images by name are not in this version.)")
    String image = "";

    @Mixin
    MachineOptions machine = new MachineOptions();

    @Option(
            names = "--timeout-secs",
            paramLabel = "S",
            defaultValue = "60",
            description = "How long the command may take; 0: no limit. Default: ${DEFAULT-VALUE}.")
    long timeoutSecs;

    @Option(
            names = {"-i", "--interactive"},
            description = "Pass stdin on to it. Without this its stdin is empty.")
    boolean interactive;

    @Option(names = "--json", description = "Print stdout, stderr and exit_code as a JSON object when it has ended.")
    boolean json;

    @Parameters(arity = "0..*", paramLabel = "COMMAND", description = "After --: the command and its arguments.")
    List<String> command = List.of();

    RunCommand(Shell shell) {
        this.shell = shell;
    }

    @Override
    public Integer call() {
        ExecCommand.requireCommand(command);
        GuestCommand what = new GuestCommand(
                command,
                TimeLimit.of(timeoutSecs),
                Map.of(),
                Optional.empty(),
                Optional.empty(),
                interactive ? Optional.of(System.in) : Optional.empty());
        Path rootfs = Path.of(image);
        if (!Files.exists(rootfs)) {
            throw new ForkdException(
                    Kind.NOT_FOUND,
                    "there is no disk image " + image,
                    "Container images by name are not in this version of forkd: give the path of an ext4 image.");
        }
        SnapshotTag tag = tag(rootfs);
        shell.engine()
                .snapshot(
                        machine.request(shell, tag, rootfs, false, List.of(), VolumeConflict.FAIL, true), shell.call());
        ForkRequest request = new ForkRequest(
                tag, 1, false, OptionalLong.empty(), VolumeConflict.FAIL, false, false, machine.keepWorkdir);
        try (Fork fork = shell.engine().fork(request, shell.call())) {
            List<Fork.Child> children = new ArrayList<>();
            fork.awaitReady(children::add);
            shell.clear();
            AgentClient agent =
                    new AgentClient(new AgentAddress.Vsock(children.get(0).socket()));
            int status = Kind.FAILED.exitStatus();
            try {
                status = shell.warningOfInput(interactive, () -> ExecCommand.run(shell, agent, what, json));
                return status;
            } finally {
                if (status != 0 && fork.anyHostFull()) {
                    shell.warn(TargetOptions.noRoom("the child"));
                }
            }
        }
    }

    /** run- and the image's name, with a dash for all that is neither a letter nor a digit. */
    static SnapshotTag tag(Path rootfs) {
        String slug = String.valueOf(rootfs.getFileName())
                .replaceFirst("\\.(ext4|squashfs)$", "")
                .replaceAll("[^A-Za-z0-9]", "-")
                .replaceAll("^-+|-+$", "");
        return new SnapshotTag("run-" + (slug.length() > 60 ? slug.substring(0, 60) : slug));
    }
}
