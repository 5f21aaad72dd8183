package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.hub.Push;
import io.forkd.hub.SigningKey;
import io.forkd.hub.WebPacks;
import io.forkd.image.ImageReference.InRegistry;
import io.forkd.image.WebFile;
import io.forkd.snapshot.SnapshotTag;
import java.net.URI;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;
import tools.jackson.databind.node.ObjectNode;

@Command(
        name = "push",
        description = "Sends a snapshot, with all that it is based on and its root disk, to a registry; what is there"
                + " already is not sent again. Or puts a pack of it at an address of the web. Volumes stay here.",
        sortOptions = false)
final class PushCommand implements Callable<Integer> {
    private final Shell shell;

    @Parameters(
            arity = "1..2",
            paramLabel = "TAG REF",
            description =
                    "The snapshot, and where to: ghcr.io/user/repo:tag, localhost:5000/name; or https://HOST/FILE, where"
                            + " a pack is put (HTTP PUT). Without --tag, both.")
    List<String> names = List.of();

    @Option(names = "--tag", paramLabel = "TAG", description = "The snapshot, in place of the first name.")
    Optional<String> tag = Optional.empty();

    @Option(
            names = "--sign",
            paramLabel = "KEY",
            description = "Sign it, as cosign does, with this private key (P-256, PEM without a password).")
    Optional<Path> key = Optional.empty();

    @Option(
            names = "--thin",
            description = "Leave out its root disk, which who pulls it makes again of the image that it was made of."
                    + " That has to be in a registry, and nothing installed into it.")
    boolean thin;

    @Option(names = "--description", paramLabel = "TEXT", description = "Of a pack: what it is, for who gets it.")
    Optional<String> about = Optional.empty();

    @Option(
            names = "--base-image",
            paramLabel = "IMAGE",
            description = "Of a pack: the container image that it was made of.")
    Optional<String> baseImage = Optional.empty();

    @Mixin
    RegistryOptions registry = new RegistryOptions();

    @Option(names = "--json", description = "Print the result as JSON.")
    boolean json;

    PushCommand(Shell shell) {
        this.shell = shell;
    }

    @Override
    public Integer call() {
        if (names.size() != (tag.isPresent() ? 1 : 2)) {
            throw new ForkdException(Kind.USAGE, "give the snapshot and where to send it: TAG REF");
        }
        SnapshotTag snapshot = new SnapshotTag(tag.orElseGet(() -> names.get(0)));
        String where = names.get(names.size() - 1);
        if (where.startsWith("https://") || where.startsWith("http://")) {
            return put(snapshot, WebFile.parse(where));
        }
        if (about.isPresent() || baseImage.isPresent()) {
            throw new ForkdException(Kind.USAGE, "--description and --base-image are said of a pack, at https://...");
        }
        InRegistry to = InRegistry.parse(where);
        Optional<SigningKey> signing = key.map(SigningKey::read);
        Push.Result result = new Push(shell.engine(), new WorkDisplay(shell), shell.call())
                .push(new Push.Order(snapshot, to, registry.reach(), signing, thin));
        shell.clear();
        if (json) {
            ObjectNode node = Shell.json()
                    .put("tag", snapshot.value())
                    .put("ref", to.toString())
                    .put("digest", result.digest().toString())
                    .put("snapshots", result.links())
                    .put("chunks", result.chunks())
                    .put("bytes", result.bytes())
                    .put("sent_bytes", result.sent())
                    .put("signed", signing.isPresent());
            result.madeOf().forEach(image -> node.withArray("root_disks_of").add(image.toString()));
            shell.print(node);
        } else {
            shell.note("ref:    " + to);
            shell.note("digest: " + result.digest());
            shell.note("size:   " + Format.size(result.bytes()) + ", of which " + Format.size(result.sent())
                    + " were sent");
            result.madeOf().forEach(image -> shell.note("root disk: not sent; it is made of " + image));
        }
        return 0;
    }

    private int put(SnapshotTag snapshot, URI to) {
        if (thin || key.isPresent()) {
            throw new ForkdException(Kind.USAGE, "--thin and --sign are for registries: a pack has no signature");
        }
        WebPacks.Pushed pushed = new WebPacks(shell.engine(), registry.reach(), new WorkDisplay(shell), shell.call())
                .push(snapshot, to, about, baseImage);
        shell.clear();
        String beside = WebFile.shown(pushed.rootfs());
        if (pushed.rootDisk() == WebPacks.RootDisk.LEFT) {
            shell.warn("the root disk has to be put beside it, and this address is good for one file alone: "
                    + "forkd pack writes " + beside.substring(beside.lastIndexOf('/') + 1) + ", which belongs at "
                    + beside);
        }
        if (json) {
            shell.print(Shell.json()
                    .put("tag", snapshot.value())
                    .put("ref", WebFile.shown(to))
                    .put("digest", pushed.digest().toString())
                    .put("snapshots", pushed.links())
                    .put("bytes", pushed.bytes())
                    .put("sent_bytes", pushed.sent())
                    .put("rootfs", beside)
                    .put("rootfs_state", pushed.rootDisk().name().toLowerCase(Locale.ROOT)));
        } else {
            shell.note("pack:      " + WebFile.shown(to));
            shell.note("digest:    " + pushed.digest());
            shell.note("root disk: " + beside + (pushed.rootDisk() == WebPacks.RootDisk.THERE ? ", was there" : ""));
            shell.note(
                    "size:      " + Format.size(pushed.bytes()) + ", and " + Format.size(pushed.sent()) + " were sent");
        }
        return 0;
    }
}
