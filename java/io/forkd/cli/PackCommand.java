package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.engine.Packs.PackRequest;
import io.forkd.engine.Packs.Packed;
import io.forkd.image.ImageReference;
import io.forkd.snapshot.SnapshotTag;
import java.nio.file.Path;
import java.util.Locale;
import java.util.Optional;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

@Command(
        name = "pack",
        description = "Writes a snapshot, with all that it is based on, into a file for another host; beside it, in"
                + " a file of its own that packs share, its root disk. Volumes stay here.",
        sortOptions = false)
final class PackCommand implements Callable<Integer> {
    private final Shell shell;

    @Option(names = "--tag", paramLabel = "TAG", converter = TagConverter.class, description = "The snapshot.")
    Optional<SnapshotTag> tag = Optional.empty();

    @Option(
            names = {"-o", "--out"},
            paramLabel = "FILE",
            description = "The file to write. Default: TAG.forkd-snapshot.tar.zst here.")
    Optional<Path> out = Optional.empty();

    @Option(names = "--description", paramLabel = "TEXT", description = "What it is, for who gets it.")
    Optional<String> about = Optional.empty();

    @Option(names = "--base-image", paramLabel = "IMAGE", description = "The container image that it was made of.")
    Optional<String> baseImage = Optional.empty();

    @Option(names = "--json", description = "Print the result as JSON.")
    boolean json;

    PackCommand(Shell shell) {
        this.shell = shell;
    }

    @Override
    public Integer call() {
        SnapshotTag name = tag.orElseThrow(() -> new ForkdException(Kind.USAGE, "missing: --tag TAG"));
        Path file = out.orElseGet(() -> Path.of(ImageReference.slug(name.value()) + ".forkd-snapshot.tar.zst"));
        Packed packed = shell.engine()
                .packs()
                .pack(new PackRequest(name, file, about, baseImage, rootfs -> false), shell.call());
        shell.clear();
        if (json) {
            shell.print(Shell.json()
                    .put("tag", name.value())
                    .put("pack", packed.pack().toString())
                    .put("bytes", packed.bytes())
                    .put("content_bytes", packed.content())
                    .put("links", packed.links())
                    .put("rootfs", packed.sidecar().toString())
                    .put("rootfs_bytes", packed.sidecarBytes())
                    .put("rootfs_existed", packed.existed())
                    .put("ms", Format.inMillis(packed.time())));
            return 0;
        }
        shell.note("pack:      " + packed.pack());
        shell.note("size:      " + Format.size(packed.bytes()) + ", of " + Format.size(packed.content())
                + String.format(Locale.ROOT, " (%.1fx)", (double) packed.content() / packed.bytes()));
        shell.note("snapshots: " + packed.links());
        shell.note("root disk: " + packed.sidecar() + ", " + Format.size(packed.sidecarBytes())
                + (packed.existed() ? ", was there" : ""));
        shell.note("time:      "
                + String.format(Locale.ROOT, "%.1f s", packed.time().toMillis() / 1e3));
        return 0;
    }
}
