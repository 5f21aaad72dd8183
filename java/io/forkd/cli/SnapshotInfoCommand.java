package io.forkd.cli;

import io.forkd.engine.SnapshotInfo;
import io.forkd.files.FileSize;
import io.forkd.snapshot.Manifest;
import io.forkd.snapshot.SnapshotTag;
import io.forkd.snapshot.Volume;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.Callable;
import java.util.stream.Collectors;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.ObjectNode;

@Command(
        name = "snapshot-info",
        description = "Shows a snapshot: its state, sizes, ancestors, and what depends on it.",
        sortOptions = false)
final class SnapshotInfoCommand implements Callable<Integer> {
    private final Shell shell;

    @Option(names = "--json", description = "Print it as JSON.")
    boolean json;

    @Parameters(paramLabel = "TAG", converter = TagConverter.class, description = "The snapshot.")
    SnapshotTag tag = new SnapshotTag("_");

    SnapshotInfoCommand(Shell shell) {
        this.shell = shell;
    }

    @Override
    public Integer call() {
        SnapshotInfo info = shell.engine().snapshots().info(tag, shell.call());
        shell.clear();
        if (json) {
            printJson(info);
        } else {
            print(info);
        }
        return 0;
    }

    private void print(SnapshotInfo info) {
        Manifest manifest = info.snapshot().manifest();
        shell.print("tag:         " + tag);
        shell.print("dir:         " + info.snapshot().directory());
        shell.print("state:       " + info.state().name().toLowerCase(Locale.ROOT));
        info.problem().ifPresent(problem -> shell.print("problem:     " + problem));
        shell.print("created:     " + manifest.createdAt());
        shell.print("guest:       " + Format.size(manifest.memoryBytes()) + ", "
                + manifest.machine().vcpus() + " vCPUs");
        shell.print("chain depth: " + info.ancestors().size());
        manifest.parent().ifPresent(parent -> {
            shell.print("parent_tag:  " + parent.tag());
            shell.print("parent_content_hash: " + parent.contentHash());
        });
        info.contentHash().ifPresent(hash -> shell.print("content:     " + hash));
        shell.print("ancestors:   " + names(info.ancestors()));
        shell.print("dependents:  " + names(info.dependents()));
        if (!manifest.volumes().isEmpty()) {
            Table volumes = new Table("VOLUME", "IN THE GUEST", "MODE");
            for (Volume volume : manifest.volumes()) {
                volumes.row(volume.hostPath().toString(), volume.guestPath(), volume.readOnly() ? "ro" : "rw");
            }
            volumes.print(shell);
        }
        Table table = new Table("FILE", "SIZE", "ON DISK");
        for (FileSize file : info.files()) {
            table.row(file.name(), Format.size(file.logical()), Format.size(file.physical()));
        }
        table.print(shell);
    }

    private static String names(List<SnapshotTag> tags) {
        return tags.isEmpty() ? "-" : tags.stream().map(SnapshotTag::value).collect(Collectors.joining(" "));
    }

    private void printJson(SnapshotInfo info) {
        Manifest manifest = info.snapshot().manifest();
        ObjectNode node = Shell.json()
                .put("tag", tag.value())
                .put("dir", info.snapshot().directory().toString())
                .put("state", info.state().name().toLowerCase(Locale.ROOT))
                .put("created_at", manifest.createdAt().toString())
                .put("memory_bytes", manifest.memoryBytes())
                .put("vcpus", manifest.machine().vcpus())
                .put("chain_depth", info.ancestors().size());
        info.problem().ifPresent(problem -> node.put("problem", problem));
        manifest.parent()
                .ifPresent(parent ->
                        node.put("parent_tag", parent.tag().value()).put("parent_content_hash", parent.contentHash()));
        info.contentHash().ifPresent(hash -> node.put("content_hash", hash));
        ArrayNode volumes = node.putArray("volumes");
        for (Volume volume : manifest.volumes()) {
            volumes.addObject()
                    .put("host_path", volume.hostPath().toString())
                    .put("guest_path", volume.guestPath())
                    .put("read_only", volume.readOnly());
        }
        ArrayNode ancestors = node.putArray("ancestors");
        info.ancestors().forEach(each -> ancestors.add(each.value()));
        ArrayNode dependents = node.putArray("dependents");
        info.dependents().forEach(each -> dependents.add(each.value()));
        ArrayNode files = node.putArray("files");
        for (FileSize file : info.files()) {
            files.addObject()
                    .put("name", file.name())
                    .put("logical_bytes", file.logical())
                    .put("physical_bytes", file.physical());
        }
        shell.print(node.toPrettyString());
    }
}
