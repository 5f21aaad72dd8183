package io.forkd.cli;

import io.forkd.rootfs.RootfsCache;
import io.forkd.rootfs.RootfsCache.Cached;
import io.forkd.rootfs.RootfsCache.Pruned;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

@Command(
        name = "cache",
        description = "Disk images that were built, and what was pulled.",
        synopsisSubcommandLabel = "ls|prune")
final class CacheCommand implements Runnable {
    @Spec
    @SuppressWarnings("NullAway.Init") // picocli sets it before run
    CommandSpec spec;

    @Override
    public void run() {
        throw new ParameterException(spec.commandLine(), "cache needs a verb: ls or prune");
    }

    /** Which cache; shared by the verbs that use one. */
    static final class Place {
        @Option(
                names = "--cache",
                paramLabel = "DIR",
                defaultValue = "${env:FORKD_RUN_CACHE}",
                description = "Where disk images and what was pulled are kept. Also FORKD_RUN_CACHE. Default:"
                        + " /var/cache/forkd where that is or can be ours, else forkd in the user's cache folder.")
        Optional<Path> cache = Optional.empty();

        RootfsCache open(Shell shell) {
            return shell.engine().images(directory(shell), shell.environment(), new WorkDisplay(shell));
        }

        /** Whether the command line itself names one. */
        boolean onCommandLine(Shell shell) {
            return cache.map(Path::toString)
                    .filter(path ->
                            !path.isEmpty() && !path.equals(shell.environment().get("FORKD_RUN_CACHE")))
                    .isPresent();
        }

        Path directory(Shell shell) {
            return cache.filter(path -> !path.toString().isEmpty())
                    .orElseGet(() -> shell.engine().imageCache());
        }
    }

    private static ObjectNode json(Cached one) {
        ObjectNode node = Shell.json()
                .put("reference", one.reference())
                .put("image", one.image().toString())
                .put("file", one.file().toString())
                .put("bytes", one.bytes())
                .put("used", one.used().toString());
        one.packages().forEach(node.putArray("packages")::add);
        return node;
    }

    /** {@code forkd cache ls}. */
    @Command(name = "ls", description = "Lists the disk images.", sortOptions = false)
    static final class Ls implements Callable<Integer> {
        private final Shell shell;

        @Mixin
        Place place = new Place();

        @Option(names = "--json", description = "Print them as a JSON array.")
        boolean json;

        Ls(Shell shell) {
            this.shell = shell;
        }

        @Override
        public Integer call() {
            List<Cached> found = place.open(shell).list();
            if (json) {
                printJson(found);
            } else if (found.isEmpty()) {
                shell.note("The cache is empty.");
            } else {
                String layout = "%-40s %-20s %10s %10s  %s";
                shell.print(String.format(layout, "IMAGE", "ID", "SIZE", "USED", "FILE"));
                for (Cached one : found) {
                    shell.print(String.format(
                            layout,
                            one.packages().isEmpty()
                                    ? one.reference()
                                    : one.reference() + " + " + String.join(" ", one.packages()),
                            one.image().brief(),
                            Format.size(one.bytes()),
                            Format.age(Duration.between(one.used(), Instant.now())),
                            one.file()));
                }
            }
            return 0;
        }

        private void printJson(List<Cached> found) {
            ArrayNode all = JsonNodeFactory.instance.arrayNode();
            found.forEach(one -> all.add(CacheCommand.json(one)));
            shell.print(all.toPrettyString());
        }
    }

    /** {@code forkd cache prune}. */
    @Command(
            name = "prune",
            description =
                    "Removes disk images that no snapshot or sandbox of this user uses, and everything that was pulled.",
            sortOptions = false)
    static final class Prune implements Callable<Integer> {
        private final Shell shell;

        @Mixin
        Place place = new Place();

        @Option(names = "--dry-run", description = "Only say what would go.")
        boolean dryRun;

        @Option(names = "--json", description = "Print the result as JSON.")
        boolean json;

        Prune(Shell shell) {
            this.shell = shell;
        }

        @Override
        public Integer call() {
            Pruned pruned = place.open(shell).prune(shell.engine()::diskImagesInUse, dryRun);
            if (json) {
                ObjectNode node = Shell.json().put("dry_run", dryRun).put("bytes", pruned.bytes());
                ArrayNode images = node.putArray("images");
                pruned.images().forEach(image -> images.add(CacheCommand.json(image)));
                ArrayNode pulled = node.putArray("pulled");
                pruned.blobs().forEach(file -> pulled.add(file.toString()));
                shell.print(node);
                return 0;
            }
            for (Cached image : pruned.images()) {
                shell.print(image.reference() + "  " + image.file());
            }
            shell.print((dryRun ? "would free " : "freed ") + Format.size(pruned.bytes()) + ": "
                    + pruned.images().size() + " disk images, " + pruned.blobs().size() + " pulled files");
            return 0;
        }
    }
}
