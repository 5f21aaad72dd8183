package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.engine.BranchRequest;
import io.forkd.engine.SnapshotResult;
import io.forkd.engine.VolumeConflict;
import io.forkd.snapshot.SnapshotTag;
import io.forkd.snapshot.Volume;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

@Command(
        name = "snapshot",
        description = "Boots a parent from a kernel and a disk image, warms it up and writes it down; or branches a"
                + " running sandbox, which goes on.",
        sortOptions = false)
final class SnapshotCommand implements Callable<Integer> {
    private final Shell shell;

    @Option(
            names = "--tag",
            paramLabel = "TAG",
            converter = NewTagConverter.class,
            description = "Name of the snapshot: 1 to 64 letters, digits, . _ -")
    Optional<SnapshotTag> tag = Optional.empty();

    @Option(
            names = "--rootfs",
            paramLabel = "FILE",
            defaultValue = "${env:FORKD_ROOTFS}",
            description = "The root disk: .ext4 is writable (copy-on-write: the file is never changed), .squashfs is"
                    + " not. Also FORKD_ROOTFS.")
    Optional<Path> rootfs = Optional.empty();

    @Option(names = "--rw", description = "The root disk is writable whatever its name.")
    boolean readWrite;

    @Option(
            names = "--volume",
            paramLabel = "HOST:GUEST[:ro]",
            description = "An ext4 image for the guest to mount; repeatable, up to 24. A writable one is written by one"
                    + " VM at a time.")
    List<String> volumes = List.of();

    @Option(
            names = "--volume-conflict",
            paramLabel = "fail|private",
            defaultValue = "fail",
            description = "fail: what the guest writes to a volume goes to its image, which no other VM may have;"
                    + " private: it has a copy-on-write view of its own, which its snapshots keep."
                    + " Default: ${DEFAULT-VALUE}.")
    VolumeConflict volumeConflict = VolumeConflict.FAIL;

    @Mixin
    MachineOptions machine = new MachineOptions();

    @Option(names = "--force", description = "Replace a snapshot of that name.")
    boolean force;

    @Option(names = "--json", description = "Print the result as JSON.")
    boolean json;

    @Option(
            names = "--from-sandbox",
            paramLabel = "ID",
            description = "Branch a running sandbox. It stands still for milliseconds; the branch can be forked at"
                    + " once. Without --tag it is called branch-<ID>-<time>-<random>.")
    Optional<String> fromSandbox = Optional.empty();

    @Option(
            names = "--diff",
            description = "With --from-sandbox: write only what differs from the snapshot that the sandbox was forked"
                    + " from, which is needed from then on.")
    boolean diff;

    @Option(names = "--live", description = "With --from-sandbox: as every branch is, without --diff.")
    boolean live;

    @Option(names = "--no-wait", description = "With --from-sandbox: do not wait until it is written.")
    boolean noWait;

    @Mixin
    RemoteOptions remote = new RemoteOptions();

    SnapshotCommand(Shell shell) {
        this.shell = shell;
    }

    @Override
    public Integer call() {
        check();
        return fromSandbox.isPresent() ? branch(fromSandbox.get()) : boot();
    }

    private int branch(String sandbox) {
        long start = System.nanoTime();
        BranchView branch = remote.backend(shell).branch(new BranchRequest(sandbox, tag, diff, force, !noWait));
        Duration total = Duration.ofNanos(System.nanoTime() - start);
        shell.clear();
        if (json) {
            shell.print(branch.json(total).put("branched_from", sandbox));
        } else {
            branch.print(shell, total);
            shell.print("branched_from: " + sandbox);
        }
        return 0;
    }

    private int boot() {
        SnapshotTag name = tag.orElseThrow(() -> new ForkdException(Kind.USAGE, "missing: --tag TAG"));
        Path root = rootfs.filter(path -> !path.toString().isEmpty())
                .orElseThrow(() -> new ForkdException(Kind.USAGE, "missing: --rootfs FILE (or FORKD_ROOTFS)"));
        List<Volume> parsed = volumes.stream().map(Volume::parse).toList();
        if (parsed.size() > Volume.MAX) {
            throw new ForkdException(Kind.USAGE, parsed.size() + " volumes are too many: the most is " + Volume.MAX);
        }
        SnapshotResult result = shell.engine()
                .snapshot(machine.request(shell, name, root, readWrite, parsed, volumeConflict, force), shell.call());
        shell.clear();
        if (json) {
            shell.print(Shell.json()
                    .put("tag", name.value())
                    .put("dir", result.directory().toString())
                    .put("memory_bytes", result.memoryBytes())
                    .put("boot_ms", Format.inMillis(result.boot()))
                    .put("snapshot_ms", Format.inMillis(result.write())));
        } else {
            shell.print("tag:      " + name);
            shell.print("dir:      " + result.directory());
            shell.print("memory:   " + Format.size(result.memoryBytes()));
            shell.print("boot:     " + result.boot().toMillis() + " ms");
            shell.print("snapshot: " + result.write().toMillis() + " ms");
            shell.note("Next: forkd fork --tag " + name + " -n 10");
        }
        return 0;
    }

    private void check() {
        if (diff && live) {
            throw new ForkdException(Kind.USAGE, "--diff and --live exclude each other");
        }
        if (noWait && fromSandbox.isEmpty() && !live) {
            throw new ForkdException(Kind.USAGE, "--no-wait is for --from-sandbox");
        }
        if (remote.onCommandLine() && fromSandbox.isEmpty()) {
            throw new ForkdException(Kind.USAGE, "--daemon-url is for --from-sandbox");
        }
        if ((diff || live) && fromSandbox.isEmpty()) {
            throw new ForkdException(Kind.FAILED, "--diff and --live are for --from-sandbox");
        }
    }
}
