package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.Limits;
import io.forkd.agent.AgentAddress;
import io.forkd.agent.AgentClient;
import io.forkd.agent.GuestCommand;
import io.forkd.engine.Fork;
import io.forkd.engine.ForkRequest;
import io.forkd.engine.NetworkRequest;
import io.forkd.engine.SnapshotRequest;
import io.forkd.engine.VolumeConflict;
import io.forkd.image.ImageReference;
import io.forkd.rootfs.RootfsCache;
import io.forkd.rootfs.RootfsCache.Request;
import io.forkd.snapshot.SnapshotTag;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

@Command(
        name = "run",
        description = "Boots an image, forks one child of it and runs a command there. The snapshot stays, as run-<name"
                + " of the image>, and the next run replaces it.",
        sortOptions = false)
final class RunCommand implements Callable<Integer> {
    private static final String DISK = "\\.(ext4|squashfs)$";

    private final Shell shell;

    @Option(
            names = {"--image", "--rootfs"},
            required = true,
            paramLabel = "IMAGE",
            description = "A container image, as from-image takes it, or a disk image: FILE.ext4 or FILE.squashfs.")
    String image = "";

    @Mixin
    ImageOptions options = new ImageOptions();

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
        return isDisk(image) ? run(Path.of(image), what) : runContainer(what);
    }

    /** A disk has the name of one; a reference is no file, unless it says so: oci-archive:FILE. */
    static boolean isDisk(String image) {
        return image.matches(".*" + DISK) || Files.isRegularFile(Path.of(image));
    }

    private int runContainer(GuestCommand what) {
        Request request = options.request(image);
        snapshotOf(Path.of("rootfs.ext4")); // What would fail after the pull had better fail before it.
        // In use until the snapshot says that it needs the disk image.
        try (RootfsCache cache = options.cache(shell)) {
            return run(cache.get(request).file(), what);
        }
    }

    private SnapshotRequest snapshotOf(Path rootfs) {
        return machine.request(shell, tag(image), rootfs, false, List.of(), VolumeConflict.FAIL, true);
    }

    private int run(Path rootfs, GuestCommand what) {
        if (!Files.exists(rootfs)) {
            throw new ForkdException(Kind.NOT_FOUND, "there is no disk image " + rootfs);
        }
        shell.engine().snapshot(snapshotOf(rootfs), shell.call());
        ForkRequest request = new ForkRequest(
                tag(image),
                1,
                NetworkRequest.OF_HOST,
                Limits.NONE,
                VolumeConflict.FAIL,
                false,
                false,
                machine.keepWorkdir);
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
                if (status != 0) {
                    TargetOptions.noRoom(fork.room(), "the child").ifPresent(shell::warn);
                }
            }
        }
    }

    /** run- and the image's name, of a disk that of its file, with a dash for all that is neither a letter nor a digit. */
    static SnapshotTag tag(String image) {
        String name = isDisk(image) ? image.replaceFirst(".*/", "").replaceFirst(DISK, "") : image;
        String slug = ImageReference.slug(name);
        return new SnapshotTag("run-" + (slug.length() > 60 ? slug.substring(0, 60) : slug));
    }
}
