package io.forkd.cli;

import io.forkd.engine.SnapshotInfo;
import io.forkd.files.FileSize;
import io.forkd.snapshot.Manifest;
import io.forkd.snapshot.SnapshotTag;
import io.forkd.snapshot.Volume;
import java.nio.file.Path;
import java.time.Instant;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.OptionalLong;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.ObjectNode;

/**
 * A snapshot as it is shown.
 *
 * @param vcpus daemons of other makes do not tell
 * @param ancestors the first one first
 */
record SnapshotView(
        String tag,
        String directory,
        String state,
        Instant createdAt,
        long memoryBytes,
        OptionalLong vcpus,
        Optional<String> parent,
        Optional<String> parentContentHash,
        Optional<String> contentHash,
        boolean verity,
        Optional<String> problem,
        List<String> ancestors,
        List<String> dependents,
        List<Volume> volumes,
        List<FileSize> files) {

    static SnapshotView of(SnapshotInfo info) {
        Manifest manifest = info.snapshot().manifest();
        return new SnapshotView(
                info.snapshot().tag().value(),
                info.snapshot().directory().toString(),
                info.state().name().toLowerCase(Locale.ROOT),
                manifest.createdAt(),
                manifest.memoryBytes(),
                OptionalLong.of(manifest.machine().vcpus()),
                manifest.parent().map(parent -> parent.tag().value()),
                manifest.parent().map(Manifest.Parent::contentHash),
                info.contentHash(),
                info.verity(),
                info.problem(),
                info.ancestors().stream().map(SnapshotTag::value).toList(),
                info.dependents().stream().map(SnapshotTag::value).toList(),
                manifest.volumes(),
                info.files());
    }

    /** The object SnapshotInfoDetail of REST v1. */
    static SnapshotView of(Answer answer) {
        String status = answer.optionalText("status").orElse("ready");
        return new SnapshotView(
                answer.text("tag"),
                answer.text("dir"),
                status.equals("ready") ? "complete" : status,
                Instant.ofEpochSecond(answer.optionalNumber("created_at_unix").orElse(0)),
                answer.number("memory_logical_bytes"),
                answer.optionalNumber("vcpus"),
                answer.optionalText("parent_tag"),
                answer.optionalText("parent_content_hash"),
                answer.optionalText("content_hash"),
                answer.flag("verity"),
                answer.optionalText("problem"),
                answer.texts("ancestors"),
                answer.texts("dependents"),
                answer.objects("volumes").stream()
                        .map(volume -> new Volume(
                                Path.of(volume.text("host_path")), volume.text("guest_path"), volume.flag("read_only")))
                        .toList(),
                answer.objects("files").stream()
                        .map(file -> new FileSize(
                                Path.of(file.text("name")),
                                file.number("logical_bytes"),
                                file.number("physical_bytes")))
                        .toList());
    }

    void print(Shell shell) {
        shell.print("tag:         " + tag);
        shell.print("dir:         " + directory);
        shell.print("state:       " + state);
        problem.ifPresent(why -> shell.print("problem:     " + why));
        shell.print("created:     " + createdAt);
        shell.print("guest:       " + Format.size(memoryBytes)
                + (vcpus.isPresent() ? ", " + vcpus.getAsLong() + " vCPUs" : ""));
        shell.print("chain depth: " + ancestors.size());
        parent.ifPresent(of -> shell.print("parent_tag:  " + of));
        parentContentHash.ifPresent(hash -> shell.print("parent_content_hash: " + hash));
        contentHash.ifPresent(hash -> shell.print("content:     " + hash));
        if (verity) {
            shell.print("verity:      its memory is checked as it is read");
        }
        shell.print("ancestors:   " + names(ancestors));
        shell.print("dependents:  " + names(dependents));
        if (!volumes.isEmpty()) {
            Table table = new Table("VOLUME", "IN THE GUEST", "MODE");
            for (Volume volume : volumes) {
                table.row(volume.hostPath().toString(), volume.guestPath(), volume.readOnly() ? "ro" : "rw");
            }
            table.print(shell);
        }
        if (!files.isEmpty()) {
            Table table = new Table("FILE", "SIZE", "ON DISK");
            for (FileSize file : files) {
                table.row(file.name(), Format.size(file.logical()), Format.size(file.physical()));
            }
            table.print(shell);
        }
    }

    private static String names(List<String> tags) {
        return tags.isEmpty() ? "-" : String.join(" ", tags);
    }

    ObjectNode json() {
        ObjectNode node = Shell.json()
                .put("tag", tag)
                .put("dir", directory)
                .put("state", state)
                .put("created_at", createdAt.toString())
                .put("memory_bytes", memoryBytes);
        vcpus.ifPresent(count -> node.put("vcpus", count));
        node.put("chain_depth", ancestors.size());
        problem.ifPresent(why -> node.put("problem", why));
        parent.ifPresent(of -> node.put("parent_tag", of));
        parentContentHash.ifPresent(hash -> node.put("parent_content_hash", hash));
        contentHash.ifPresent(hash -> node.put("content_hash", hash));
        node.put("verity", verity);
        ArrayNode volumeNodes = node.putArray("volumes");
        for (Volume volume : volumes) {
            volumeNodes
                    .addObject()
                    .put("host_path", volume.hostPath().toString())
                    .put("guest_path", volume.guestPath())
                    .put("read_only", volume.readOnly());
        }
        ancestors.forEach(node.putArray("ancestors")::add);
        dependents.forEach(node.putArray("dependents")::add);
        ArrayNode fileNodes = node.putArray("files");
        for (FileSize file : files) {
            fileNodes
                    .addObject()
                    .put("name", file.name())
                    .put("logical_bytes", file.logical())
                    .put("physical_bytes", file.physical());
        }
        return node;
    }
}
