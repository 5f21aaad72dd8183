package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.engine.SnapshotResult;
import io.forkd.snapshot.SnapshotTag;
import io.forkd.snapshot.Volume;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

@Command(
        name = "snapshot",
        description = "Boots a parent from a kernel and a disk image, warms it up and writes it down.",
        sortOptions = false)
final class SnapshotCommand implements Callable<Integer> {
    private final Shell shell;

    @Option(
            names = "--tag",
            paramLabel = "TAG",
            converter = TagConverter.class,
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
            description = "An ext4 image for the guest to mount; repeatable, up to 24. Writable ones are"
                    + " copy-on-write for now: what a child writes is its own and ends with it.")
    List<String> volumes = List.of();

    @Mixin
    MachineOptions machine = new MachineOptions();

    @Option(names = "--force", description = "Replace a snapshot of that name.")
    boolean force;

    @Option(names = "--json", description = "Print the result as JSON.")
    boolean json;

    @Option(
            names = "--from-sandbox",
            paramLabel = "ID",
            description = "Branch a running sandbox (not in this version).")
    Optional<String> fromSandbox = Optional.empty();

    @Option(names = "--diff", description = "With --from-sandbox: write only what has changed.")
    boolean diff;

    @Option(names = "--live", description = "With --from-sandbox: write while the sandbox goes on.")
    boolean live;

    @Option(names = "--no-wait", description = "With --live: do not wait until it is written.")
    boolean noWait;

    SnapshotCommand(Shell shell) {
        this.shell = shell;
    }

    @Override
    public Integer call() {
        requireBoot();
        SnapshotTag name = tag.orElseThrow(() -> new ForkdException(Kind.USAGE, "missing: --tag TAG"));
        Path root = rootfs.filter(path -> !path.toString().isEmpty())
                .orElseThrow(() -> new ForkdException(Kind.USAGE, "missing: --rootfs FILE (or FORKD_ROOTFS)"));
        List<Volume> parsed = volumes.stream().map(Volume::parse).toList();
        if (parsed.size() > Volume.MAX) {
            throw new ForkdException(Kind.USAGE, parsed.size() + " volumes are too many: the most is " + Volume.MAX);
        }
        SnapshotResult result =
                shell.engine().snapshot(machine.request(shell, name, root, readWrite, parsed, force), shell);
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

    private void requireBoot() {
        if (noWait && !live) {
            throw new ForkdException(Kind.USAGE, "--no-wait is for --live");
        }
        if (diff && live) {
            throw new ForkdException(Kind.USAGE, "--diff and --live exclude each other");
        }
        if (fromSandbox.isPresent()) {
            throw new ForkdException(
                    Kind.UNSUPPORTED,
                    "branching a running sandbox (--from-sandbox) is not in this version of forkd",
                    "Boot a parent: forkd snapshot --tag TAG --rootfs FILE");
        }
        if (diff || live) {
            throw new ForkdException(Kind.FAILED, "--diff and --live are for --from-sandbox");
        }
    }
}
