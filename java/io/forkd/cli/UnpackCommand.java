package io.forkd.cli;

import io.forkd.engine.Packs;
import io.forkd.engine.Packs.Checked;
import io.forkd.engine.Packs.UnpackRequest;
import io.forkd.engine.Packs.Unpacked;
import io.forkd.pack.PackManifest;
import io.forkd.rootfs.RootfsCache;
import io.forkd.snapshot.SnapshotTag;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.ObjectNode;

@Command(
        name = "unpack",
        description =
                "Makes the snapshots that are in a pack: all, or none when something is wrong with it. Its root disk"
                        + " is looked for beside it.",
        sortOptions = false)
final class UnpackCommand implements Callable<Integer> {
    private final Shell shell;

    @Parameters(paramLabel = "PACK", description = "The file.")
    Path pack = Path.of("");

    @Option(names = "--check", description = "Only read it, to the end, and say what it is; nothing is written.")
    boolean check;

    @Option(names = "--json", description = "Print the result as JSON.")
    boolean json;

    @Mixin
    ArrivalOptions arrival = new ArrivalOptions();

    UnpackCommand(Shell shell) {
        this.shell = shell;
    }

    @Override
    public Integer call() {
        return check ? look() : unpack();
    }

    private int unpack() {
        try (RootfsCache images = arrival.place.open(shell)) {
            Unpacked unpacked = shell.engine()
                    .packs()
                    .unpack(
                            new UnpackRequest(
                                    pack, arrival.tag, arrival.force, arrival.volumes(), images, Packs.Beside.NOTHING),
                            shell.call());
            shell.clear();
            unpacked.missing()
                    .ifPresent(file ->
                            shell.warn("the root disk is missing, and nothing can be forked before it is there: "
                                    + "put " + file + " beside the pack, and unpack it again with --force"));
            if (json) {
                shell.print(json(unpacked));
                return 0;
            }
            print(shell, unpacked);
            return 0;
        }
    }

    /** What is there now, for people. */
    static void print(Shell shell, Unpacked unpacked) {
        shell.note("tag:       " + unpacked.head());
        if (unpacked.tags().size() > 1) {
            shell.note("based on:  "
                    + String.join(
                            " ",
                            unpacked.tags().subList(0, unpacked.tags().size() - 1).stream()
                                    .map(SnapshotTag::value)
                                    .toList()));
        }
        shell.note("dir:       " + unpacked.directory());
        shell.note("root disk: " + unpacked.rootfs());
        shell.note("Next: forkd fork --tag " + unpacked.head() + " -n 10");
    }

    /** The same for programs. */
    static ObjectNode json(Unpacked unpacked) {
        ObjectNode node = Shell.json()
                .put("tag", unpacked.head().value())
                .put("dir", unpacked.directory().toString())
                .put("rootfs", unpacked.rootfs().toString())
                .put("rootfs_missing", unpacked.missing().isPresent());
        ArrayNode tags = node.putArray("tags");
        unpacked.tags().forEach(each -> tags.add(each.value()));
        return node;
    }

    private int look() {
        Checked checked = Packs.check(pack, shell.call());
        PackManifest manifest = checked.manifest();
        List<String> tags =
                manifest.links().stream().map(link -> link.tag().value()).toList();
        String rootfs = checked.rootfs()
                .map(there -> there
                        ? "beside it"
                        : "missing: " + manifest.rootfs().orElseThrow().sidecar())
                .orElse("none");
        shell.clear();
        if (json) {
            ObjectNode node = Shell.json()
                    .put("tag", manifest.head().tag().value())
                    .put("created_at", manifest.createdAt().toString())
                    .put("forkd_version", manifest.forkdVersion())
                    .put("bytes", manifest.bytes())
                    .put("machine_state", checked.state().text())
                    .put("usable", checked.isUsable());
            manifest.description().ifPresent(text -> node.put("description", text));
            manifest.baseImage().ifPresent(text -> node.put("base_image", text));
            checked.rootfs().ifPresent(there -> node.put("rootfs_beside", there));
            ArrayNode links = node.putArray("tags");
            tags.forEach(links::add);
            shell.print(node);
            return 0;
        }
        shell.note("The pack is intact.");
        shell.note("snapshots:     " + String.join(" ", tags));
        manifest.description().ifPresent(text -> shell.note("description:   " + text));
        manifest.baseImage().ifPresent(text -> shell.note("base image:    " + text));
        shell.note("made:          " + manifest.createdAt() + ", by forkd " + manifest.forkdVersion());
        shell.note("size:          " + Format.size(manifest.bytes()));
        shell.note("machine state: " + checked.state().text());
        shell.note("root disk:     " + rootfs);
        shell.note(
                checked.isUsable()
                        ? "It can be unpacked and forked by this forkd."
                        : "It cannot be forked by this forkd.");
        return 0;
    }
}
