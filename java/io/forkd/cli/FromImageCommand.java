package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.snapshot.SnapshotTag;
import java.util.Optional;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

@Command(
        name = "from-image",
        description =
                "From a container image to a warm snapshot: pulls it, makes a disk image of it, boots, warms up and"
                        + " writes it down. Without Docker and without root.",
        sortOptions = false)
final class FromImageCommand implements Callable<Integer> {
    private final Shell shell;

    @Parameters(
            paramLabel = "IMAGE",
            description =
                    "The image: python:3.12-slim, ghcr.io/user/repo:tag, host:port/name@sha256:..., oci:DIR[:REF],"
                            + " oci-archive:FILE, docker-archive:FILE, docker-daemon:NAME")
    String reference = "";

    @Mixin
    ImageOptions image = new ImageOptions();

    @Option(
            names = "--tag",
            paramLabel = "TAG",
            converter = NewTagConverter.class,
            description = "Name of the snapshot: 1 to 64 letters, digits, . _ -")
    Optional<SnapshotTag> tag = Optional.empty();

    @Mixin
    MachineOptions machine = new MachineOptions();

    @Option(names = "--force", description = "Replace a snapshot of that name.")
    boolean force;

    @Option(names = "--json", description = "Print the result as JSON.")
    boolean json;

    @Mixin
    RemoteOptions remote = new RemoteOptions();

    FromImageCommand(Shell shell) {
        this.shell = shell;
    }

    @Override
    public Integer call() {
        SnapshotTag name = tag.orElseThrow(() -> new ForkdException(Kind.USAGE, "missing: --tag TAG"));
        if (remote.named(shell).isPresent()) {
            DaemonBackend.requireNot(image.place.onCommandLine(shell), "--cache");
        }
        ImageView made = remote.backend(shell)
                .snapshot(new ImageOrder(name, reference, image, machine, force), new WorkDisplay(shell));
        shell.clear();
        if (json) {
            shell.print(Shell.json()
                    .put("tag", name.value())
                    .put("dir", made.directory())
                    .put("rootfs", made.rootfs())
                    .put("image", made.image())
                    .put("cached", made.cached())
                    .put("rootfs_ms", Format.inMillis(made.build()))
                    .put("boot_ms", Format.inMillis(made.boot()))
                    .put("snapshot_ms", Format.inMillis(made.write())));
        } else {
            shell.print("tag:      " + name);
            shell.print("dir:      " + made.directory());
            shell.print("rootfs:   " + made.rootfs());
            shell.print("boot:     " + made.boot().toMillis() + " ms");
            shell.print("snapshot: " + made.write().toMillis() + " ms");
            shell.note("Next: forkd fork --tag " + name + " -n 10");
        }
        return 0;
    }
}
