package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.hub.Push;
import io.forkd.hub.SigningKey;
import io.forkd.image.ImageReference.InRegistry;
import io.forkd.snapshot.SnapshotTag;
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
        name = "push",
        description = "Sends a snapshot, with all that it is based on and its root disk, to a registry; what is there"
                + " already is not sent again. Volumes stay here.",
        sortOptions = false)
final class PushCommand implements Callable<Integer> {
    private final Shell shell;

    @Parameters(
            arity = "1..2",
            paramLabel = "TAG REF",
            description =
                    "The snapshot, and where to: ghcr.io/user/repo:tag, localhost:5000/name. Without --tag, both.")
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
        InRegistry to = InRegistry.parse(names.get(names.size() - 1));
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
}
