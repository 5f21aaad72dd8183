package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.cli.Doctor.Check;
import io.forkd.cli.Doctor.Status;
import io.forkd.kernel.GuestKernel;
import io.forkd.snapshot.Snapshot.State;
import io.forkd.snapshot.SnapshotTag;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

@Command(
        name = "quickstart",
        description = "From nothing to N children of a container image: looks at the machine, makes a guest kernel if"
                + " there is none, takes the snapshot 'quickstart' unless it is there, and forks. Without root, without"
                + " Docker, and without a network for the guests.",
        sortOptions = false)
final class QuickstartCommand implements Callable<Integer> {
    private static final SnapshotTag TAG = new SnapshotTag("quickstart");

    private final Shell shell;

    @Option(
            names = {"-n", "--n"},
            paramLabel = "N",
            defaultValue = "10",
            description = "How many children, 1 to 10000. Default: ${DEFAULT-VALUE}.")
    int count;

    @Option(
            names = "--image",
            paramLabel = "IMAGE",
            defaultValue = "python:3.12-slim",
            description = "A container image, as from-image takes it, or a disk image: FILE.ext4 or FILE.squashfs."
                    + " Default: ${DEFAULT-VALUE}.")
    String reference = "";

    @Option(names = "--force", description = "Take the snapshot although it is there, and replace it.")
    boolean force;

    @Option(
            names = "--eval",
            paramLabel = "CODE",
            description =
                    "Evaluate this in the warm interpreter of each child, as fork does, and show what comes of it.")
    Optional<String> eval = Optional.empty();

    @Option(
            names = {"-y", "--yes"},
            description = "Do not ask before a guest kernel is made.")
    boolean yes;

    @Mixin
    ImageOptions image = new ImageOptions();

    @Mixin
    MachineOptions machine = new MachineOptions();

    @Option(names = "--json", description = "Print what the children do as JSON, as fork does; the rest is on stderr.")
    boolean json;

    QuickstartCommand(Shell shell) {
        this.shell = shell;
    }

    @Override
    public Integer call() {
        MachineOptions.requireRange("-n", count, 1, ForkOptions.MAX_CHILDREN);
        // Progress is no result here.
        Shell aside = new Shell(
                shell.err(),
                shell.err(),
                shell.terminal(),
                shell.terminal(),
                shell.environment(),
                shell.call(),
                shell.engine());
        requireMachine(aside);
        if (!machine.isKernelNamed() && !setUp(aside)) {
            return Kind.FAILED.exitStatus();
        }
        if (!force && isThere()) {
            shell.note("The snapshot '" + TAG + "' is there, and is used.");
        } else {
            takeSnapshot(aside);
        }
        Main.run(aside, "images");
        List<String> fork = new ArrayList<>(
                List.of("fork", "--tag", TAG.value(), "-n", Integer.toString(count), "--settle-secs", "2"));
        eval.ifPresent(code -> fork.add("--eval=" + code));
        if (json) {
            fork.add("--json");
        }
        int status = Main.run(shell, fork.toArray(String[]::new));
        if (status == 0) {
            shell.note("Go on: forkd fork --tag " + TAG + " -n 3 --eval '6 * 7'");
            shell.note("       forkd spawn --tag " + TAG + ", forkd ls, and forkd exec --child ID -- COMMAND");
        }
        return status;
    }

    /** Before anything is downloaded. Of a kernel that is named, the snapshot says whether it runs here. */
    private void requireMachine(Shell aside) {
        List<Check> failed = new Doctor(shell, new RemoteOptions())
                .needed().stream()
                        .filter(check -> check.status() == Status.FAIL)
                        .filter(check ->
                                !(machine.isKernelNamed() && check.name().equals(Doctor.VIRTUALISATION)))
                        .toList();
        if (!failed.isEmpty()) {
            failed.forEach(check -> DoctorCommand.print(aside, check));
            throw new ForkdException(
                    Kind.FAILED, "this machine does not have what forkd needs", "forkd doctor looks at it again.");
        }
    }

    /** Makes what is missing, when that is wanted. */
    private boolean setUp(Shell aside) {
        try {
            GuestKernel.find(Optional.empty(), Optional.empty(), shell.engine().dataDirectory());
            return true;
        } catch (ForkdException e) {
            shell.note(
                    "There is no guest kernel. 'forkd kernel install' makes one of the distribution's package, which it"
                            + " downloads and does not install.");
        }
        if (!yes && !isAgreed()) {
            shell.note("Nothing was changed.");
            return false;
        }
        return Main.run(aside, "kernel", "install") == 0;
    }

    private boolean isAgreed() {
        shell.err().print("Make it? [y/N] ");
        shell.err().flush();
        try {
            StringBuilder answer = new StringBuilder();
            for (int next = System.in.read(); next >= 0 && next != '\n'; next = System.in.read()) {
                answer.append((char) next);
            }
            return List.of("y", "yes").contains(answer.toString().strip());
        } catch (IOException e) {
            throw ForkdException.of("read the answer", e);
        }
    }

    private boolean isThere() {
        return shell.engine().store().list().stream()
                .anyMatch(entry -> entry.tag().equals(TAG.value()) && entry.state() == State.COMPLETE);
    }

    private void takeSnapshot(Shell aside) {
        if (RunCommand.isDisk(reference)) {
            SnapshotCommand take = new SnapshotCommand(aside);
            take.rootfs = Optional.of(Path.of(reference));
            take.machine = machine;
            take.tag = Optional.of(TAG);
            take.force = true;
            take.call();
            return;
        }
        FromImageCommand take = new FromImageCommand(aside);
        take.reference = reference;
        take.image = image;
        take.machine = machine;
        take.tag = Optional.of(TAG);
        take.force = true;
        take.call();
    }
}
