package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.hub.PackageIndex;
import io.forkd.hub.Pull;
import io.forkd.hub.TrustPolicy;
import io.forkd.hub.WebPacks;
import io.forkd.image.Digest;
import io.forkd.image.ImageReference.InRegistry;
import io.forkd.image.Reach;
import io.forkd.image.WebFile;
import io.forkd.rootfs.RootfsCache;
import io.forkd.snapshot.SnapshotTag;
import java.net.URI;
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
                "Fetches a snapshot, with all that it is based on and its root disk, from a registry, or a pack of one from"
                        + " an address of the web. From a registry, one that was interrupted goes on where it was.",
        sortOptions = false)
final class PullCommand implements Callable<Integer> {
    private final Shell shell;

    @Parameters(
            paramLabel = "REF",
            description =
                    "Where it is: ghcr.io/user/repo:tag, host:port/name@sha256:...; or a pack: https://..., and with"
                            + " --hub OWNER/NAME[@VERSION].")
    String reference = "";

    @Mixin
    ArrivalOptions arrival = new ArrivalOptions();

    @Option(
            names = "--hub",
            paramLabel = "URL",
            description = "The list of packs (registry.json) in which OWNER/NAME is looked up. Also FORKD_HUB_URL.")
    Optional<String> hub = Optional.empty();

    @Option(
            names = "--sha256",
            paramLabel = "HEX",
            converter = Sha256Converter.class,
            description = "What a pack has to hash to. Default: what the hub says.")
    Optional<Digest> sha256 = Optional.empty();

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

    PullCommand(Shell shell) {
        this.shell = shell;
    }

    /** Names of a hub are read as such when there is one, and they are those of no registry: its digests have a colon. */
    private Optional<URI> hub() {
        return hub.or(() -> Optional.ofNullable(shell.environment().get("FORKD_HUB_URL")))
                .filter(text -> !text.isEmpty())
                .map(WebFile::parse);
    }

    private boolean isAddress() {
        return reference.startsWith("https://") || reference.startsWith("http://");
    }

    @Override
    public Integer call() {
        TrustPolicy trust = TrustPolicy.of(policy, shell.environment());
        Optional<URI> list = hub().filter(at -> PackageIndex.isName(reference));
        if (wait && !lazy) {
            throw new ForkdException(Kind.USAGE, "--wait is for --lazy");
        }
        if (isAddress() || list.isPresent()) {
            if (lazy) {
                throw new ForkdException(Kind.USAGE, "a pack is used when all of it is here; --lazy is for registries");
            }
            return pullPack(list, trust);
        }
        if (sha256.isPresent()) {
            throw new ForkdException(
                    Kind.USAGE, "--sha256 is for a pack; in a registry it is NAME@sha256:... that says what is meant");
        }
        if (PackageIndex.isName(reference) && reference.contains("@")) {
            throw new ForkdException(
                    Kind.USAGE,
                    "'" + reference + "' is a name in a hub, and there is none",
                    "Name one with --hub, or FORKD_HUB_URL.");
        }
        if (lazy && !wait) {
            return new Background(shell, List.of("--wait")).untilReady();
        }
        Pull.Order order = new Pull.Order(
                InRegistry.parse(reference),
                registry.reach(),
                arrival.tag,
                arrival.force,
                arrival.volumes(),
                lazy ? Optional.of(this::ready) : Optional.empty());
        try (RootfsCache images = arrival.place.open(shell)) {
            Pull.Result result =
                    new Pull(shell.engine(), images, new WorkDisplay(shell), shell.call()).pull(order, trust);
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
        shell.clear();
        if (json) {
            ObjectNode node = Shell.json()
                    .put("tag", result.tag().value())
                    .put("dir", shell.engine().store().directory(result.tag()).toString())
                    .put("digest", result.digest().toString())
                    .put("bytes", result.bytes())
                    .put("fetched_bytes", result.fetched());
            result.links().forEach(link -> node.withArray("tags").add(link.value()));
            shell.print(node);
        } else {
            shell.note("tag:    " + result.tag());
            shell.note("digest: " + result.digest());
            shell.note("size:   " + Format.size(result.bytes()) + ", of which " + Format.size(result.fetched())
                    + " were fetched");
            shell.note("Next: forkd fork --tag " + result.tag() + " -n 10");
        }
    }

    private int pullPack(Optional<URI> list, TrustPolicy trust) {
        WorkDisplay display = new WorkDisplay(shell);
        Reach reach = registry.reach();
        PackageIndex.Found found = list.map(
                        at -> new PackageIndex(at, reach, shell.environment(), display).find(reference))
                .orElseGet(() -> new PackageIndex.Found(WebFile.parse(reference), Optional.empty()));
        try (RootfsCache images = arrival.place.open(shell)) {
            WebPacks.Pulled pulled = new WebPacks(shell.engine(), reach, display, shell.call())
                    .pull(
                            new WebPacks.Order(
                                    found.address(),
                                    sha256.or(found::sha256),
                                    arrival.tag,
                                    arrival.force,
                                    arrival.volumes()),
                            images,
                            trust);
            shell.clear();
            pulled.unpacked()
                    .missing()
                    .ifPresent(file ->
                            shell.warn("the root disk is missing, and nothing can be forked before it is there: "
                                    + WebFile.shown(
                                            WebFile.sibling(found.address(), String.valueOf(file.getFileName())))
                                    + " is not; pull it again with --force when it is"));
            if (json) {
                shell.print(UnpackCommand.json(pulled.unpacked())
                        .put("digest", pulled.digest().toString())
                        .put("bytes", pulled.bytes())
                        .put("fetched_bytes", pulled.fetched()));
            } else {
                UnpackCommand.print(shell, pulled.unpacked());
                shell.note("digest:    " + pulled.digest());
            }
            return 0;
        }
    }
}
