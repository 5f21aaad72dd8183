package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.hub.Pull;
import io.forkd.hub.TrustPolicy;
import io.forkd.image.ImageReference.InRegistry;
import io.forkd.rootfs.RootfsCache;
import io.forkd.snapshot.SnapshotTag;
import io.forkd.snapshot.Volume;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;
import tools.jackson.databind.node.ObjectNode;

@Command(
        name = "pull",
        description =
                "Fetches a snapshot, with all that it is based on and its root disk, from a registry. One that was"
                        + " interrupted goes on where it was.",
        sortOptions = false)
final class PullCommand implements Callable<Integer> {
    private final Shell shell;

    @Parameters(paramLabel = "REF", description = "Where it is: ghcr.io/user/repo:tag, host:port/name@sha256:...")
    String reference = "";

    @Option(
            names = "--tag",
            paramLabel = "TAG",
            converter = NewTagConverter.class,
            description = "Name of the snapshot here. Default: the one that it had.")
    Optional<SnapshotTag> tag = Optional.empty();

    @Option(names = "--force", description = "Replace a snapshot of that name.")
    boolean force;

    @Option(
            names = "--volume",
            paramLabel = "HOST:GUEST[:ro]",
            description = "The volume of this host that the guest is to have on GUEST; once for each that it has.")
    List<String> volumes = List.of();

    @Option(
            names = "--policy",
            paramLabel = "FILE",
            description =
                    "Whose signatures it must have, as containers-policy.json(5) says. Default:"
                            + " containers/policy.json in the user's configuration, else /etc/containers/policy.json, else none.")
    Optional<Path> policy = Optional.empty();

    @Option(
            names = "--lazy",
            description =
                    "Return as soon as it can be forked; the rest is fetched in the background, and what a child needs first.")
    boolean lazy;

    @Option(names = "--wait", description = "With --lazy: return when all of it is here.")
    boolean wait;

    @Mixin
    RegistryOptions registry = new RegistryOptions();

    @Option(names = "--json", description = "Print the result as JSON.")
    boolean json;

    @Mixin
    CacheCommand.Place place = new CacheCommand.Place();

    PullCommand(Shell shell) {
        this.shell = shell;
    }

    @Override
    public Integer call() {
        if (wait && !lazy) {
            throw new ForkdException(Kind.USAGE, "--wait is for --lazy");
        }
        if (lazy && !wait) {
            return new Background(shell, List.of("--wait")).untilReady();
        }
        Pull.Order order = new Pull.Order(
                InRegistry.parse(reference),
                registry.reach(),
                tag,
                force,
                volumes.stream().map(Volume::parse).toList(),
                lazy ? Optional.of(this::ready) : Optional.empty());
        TrustPolicy trust = TrustPolicy.of(policy, shell.environment());
        try (RootfsCache images = place.open(shell)) {
            Pull.Result result =
                    new Pull(shell.engine(), images, new WorkDisplay(shell), shell.call()).pull(order, trust);
            shell.clear();
            print(result);
            return 0;
        }
    }

    private void ready(SnapshotTag early) {
        shell.clear();
        if (json) {
            shell.print(
                    Shell.json().put("tag", early.value()).put("ready", true).put("complete", false));
        } else {
            shell.note("tag:    " + early);
            shell.note("Its memory and its root disk are fetched now, and what a child needs first.");
            shell.note("Next: forkd fork --tag " + early + " -n 10");
        }
        Background.ready(shell);
    }

    private void print(Pull.Result result) {
        if (json) {
            ObjectNode node = Shell.json()
                    .put("tag", result.tag().value())
                    .put("dir", shell.engine().store().directory(result.tag()).toString())
                    .put("digest", result.digest().toString())
                    .put("bytes", result.bytes())
                    .put("fetched_bytes", result.fetched());
            result.links().forEach(link -> node.withArray("tags").add(link.value()));
            shell.print(node);
            return;
        }
        shell.note("tag:    " + result.tag());
        shell.note("digest: " + result.digest());
        shell.note("size:   " + Format.size(result.bytes()) + ", of which " + Format.size(result.fetched())
                + " were fetched");
        shell.note("Next: forkd fork --tag " + result.tag() + " -n 10");
    }
}
