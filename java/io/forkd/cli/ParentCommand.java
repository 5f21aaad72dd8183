package io.forkd.cli;

import io.forkd.image.ImageReference;
import io.forkd.rootfs.Rootfs;
import io.forkd.rootfs.RootfsCache;
import io.forkd.rootfs.RootfsCache.Request;
import java.nio.file.Path;
import java.util.Optional;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.Spec;

@Command(name = "parent", description = "Disk images for parents.", synopsisSubcommandLabel = "build")
final class ParentCommand implements Runnable {
    @Spec
    @SuppressWarnings("NullAway.Init") // picocli sets it before run
    CommandSpec spec;

    @Override
    public void run() {
        throw new ParameterException(spec.commandLine(), "parent needs a verb: build");
    }

    /** {@code forkd parent build}. */
    @Command(
            name = "build",
            description = "Makes an ext4 disk image of a container image, without Docker and without root.",
            sortOptions = false)
    static final class Build implements Callable<Integer> {
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
                names = {"-o", "--output"},
                paramLabel = "FILE",
                description = "Where to put it. Default: a name made of the image's, in this folder.")
        Optional<Path> output = Optional.empty();

        @Option(names = "--json", description = "Print the result as JSON.")
        boolean json;

        Build(Shell shell) {
            this.shell = shell;
        }

        @Override
        public Integer call() {
            Request request = image.request(reference);
            Path file = output.orElseGet(() -> Path.of(ImageReference.slug(request.reference()) + ".ext4"));
            Rootfs made;
            try (RootfsCache cache = image.cache(shell)) {
                made = cache.buildTo(request, file);
            }
            shell.clear();
            if (json) {
                shell.print(Shell.json()
                        .put("file", made.file().toString())
                        .put("image", made.image().toString())
                        .put("used_bytes", made.usedBytes()));
            } else {
                shell.print("file:  " + made.file());
                shell.print("image: " + made.image());
                shell.print("used:  " + Format.size(made.usedBytes()) + " of "
                        + request.options().sizeMib() + " MiB");
            }
            return 0;
        }
    }
}
