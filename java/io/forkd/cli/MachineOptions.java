package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.engine.SnapshotRequest;
import io.forkd.engine.VolumeConflict;
import io.forkd.kernel.GuestKernel;
import io.forkd.snapshot.SnapshotTag;
import io.forkd.snapshot.Volume;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import tools.jackson.databind.node.ObjectNode;

/** How a parent is booted; shared by the verbs that boot one. */
final class MachineOptions {
    @Option(
            names = "--kernel",
            paramLabel = "FILE",
            defaultValue = "${env:FORKD_KERNEL}",
            description = "The guest kernel: an ELF vmlinux or a bzImage. Also FORKD_KERNEL. Looked for in"
                    + " ./vmlinux-6.1.141, ./vmlinux, /var/lib/forkd/kernels and where `forkd kernel install`"
                    + " puts it.")
    Optional<Path> kernel = Optional.empty();

    @Option(
            names = "--initrd",
            paramLabel = "FILE",
            description = "The initial RAM disk. Default: initrd.img or initrd beside the kernel.")
    Optional<Path> initrd = Optional.empty();

    @Option(
            names = "--tap",
            paramLabel = "NAME",
            defaultValue = "${env:FORKD_TAP}",
            description = "Tap device of the host for the guest's network. Also FORKD_TAP. Without it the guest has"
                    + " no network; exec, eval and ping need none.")
    Optional<String> tap = Optional.empty();

    @Option(
            names = "--boot-wait-secs",
            paramLabel = "S",
            defaultValue = "60",
            description = "How long the guest may take to become ready; the snapshot is taken as soon as it is."
                    + " Default: ${DEFAULT-VALUE}.")
    int bootWaitSecs;

    @Option(
            names = "--mem-size-mib",
            paramLabel = "MIB",
            defaultValue = "512",
            description = "Memory of the guest. Default: ${DEFAULT-VALUE}.")
    int memSizeMib;

    @Option(
            names = "--vcpus",
            paramLabel = "N",
            defaultValue = "2",
            description = "Processors of the guest, 1 to 32. Default: ${DEFAULT-VALUE}.")
    int vcpus;

    @Mixin
    LimitOptions limits = new LimitOptions();

    @Option(
            names = "--warm",
            paramLabel = "CODE",
            description = "Python to run in the guest's warm interpreter before the snapshot, such as 'import numpy'.")
    Optional<String> warm = Optional.empty();

    @Option(names = "--keep-workdir", description = "Keep the parent's console in /tmp/forkd-parent-<tag>.")
    boolean keepWorkdir;

    boolean isKernelNamed() {
        return kernel.filter(path -> !path.toString().isEmpty()).isPresent();
    }

    SnapshotRequest request(
            Shell shell,
            SnapshotTag tag,
            Path rootfs,
            boolean readWrite,
            List<Volume> volumes,
            VolumeConflict volumeConflict,
            boolean replace) {
        requireRanges();
        return new SnapshotRequest(
                tag,
                GuestKernel.find(
                        kernel.filter(path -> !path.toString().isEmpty()),
                        initrd,
                        shell.engine().dataDirectory()),
                rootfs,
                readWrite || rootfs.toString().endsWith(".ext4"),
                tap.filter(name -> !name.isEmpty()),
                memSizeMib,
                vcpus,
                limits.limits(),
                volumes,
                volumeConflict,
                warm,
                Duration.ofSeconds(bootWaitSecs),
                replace,
                keepWorkdir);
    }

    private void requireRanges() {
        requireRange("--boot-wait-secs", bootWaitSecs, 1, 86_400);
        requireRange("--mem-size-mib", memSizeMib, 64, 16 * 1024 * 1024);
        requireRange("--vcpus", vcpus, 1, 32);
    }

    /** As a daemon is asked for it: files and devices are those of its host. */
    void put(ObjectNode body) {
        requireRanges();
        DaemonBackend.requireNot(keepWorkdir, "--keep-workdir");
        kernel.filter(path -> !path.toString().isEmpty()).ifPresent(path -> body.put("kernel", path.toString()));
        initrd.ifPresent(path -> body.put("initrd", path.toString()));
        tap.filter(name -> !name.isEmpty()).ifPresent(name -> body.put("tap", name));
        warm.ifPresent(code -> body.put("warm", code));
        limits.limits().put(body);
        body.put("boot_wait_secs", bootWaitSecs).put("memory_mib", memSizeMib).put("vcpus", vcpus);
    }

    static void requireRange(String option, long value, long least, long most) {
        if (value < least || value > most) {
            throw new ForkdException(Kind.USAGE, option + " " + value + " is out of range: " + least + " to " + most);
        }
    }
}
