package io.forkd.cli;

import io.forkd.engine.BranchResult;
import io.forkd.files.FileSize;
import io.forkd.snapshot.Snapshot;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;
import tools.jackson.databind.node.ObjectNode;

/**
 * A snapshot that was made of what runs, as it is shown.
 *
 * @param way how its memory got there; empty: a daemon that does not say
 * @param volumesAway how long its source was without its volumes, if it writes to any
 * @param bytes what it takes on the disk; empty while it is being written
 */
record BranchView(
        String tag,
        String directory,
        Optional<String> parent,
        Duration pause,
        Optional<String> way,
        Optional<Duration> volumesAway,
        OptionalLong bytes) {

    static BranchView of(BranchResult result, OptionalLong bytes) {
        return new BranchView(
                result.tag().value(),
                result.directory().toString(),
                result.parent().map(parent -> parent.value()),
                result.pause(),
                Optional.of(result.way()),
                result.volumesAway(),
                bytes);
    }

    static long physical(List<FileSize> files) {
        return files.stream()
                .filter(file -> !Snapshot.isCache(file.name()))
                .mapToLong(FileSize::physical)
                .sum();
    }

    void print(Shell shell, Duration total) {
        shell.print("tag:      " + tag);
        shell.print("dir:      " + directory);
        parent.ifPresent(tag -> shell.print("parent_tag: " + tag));
        shell.print("pause_ms: " + Format.inMillis(pause));
        volumesAway.ifPresent(away -> shell.print("volumes_away_ms: " + Format.inMillis(away)));
        if (bytes.isPresent()) {
            shell.print("on disk:  " + Format.size(bytes.getAsLong()) + " after " + total.toMillis() + " ms");
        } else {
            shell.note("It is being written; forkd images shows when it is complete. It can be forked now.");
        }
    }

    ObjectNode json(Duration total) {
        ObjectNode node = Shell.json()
                .put("tag", tag)
                .put("dir", directory)
                .put("pause_ms", Format.inMillis(pause))
                .put("pause_us", pause.toNanos() / 1000)
                .put("total_ms", Format.inMillis(total))
                .put("state", bytes.isPresent() ? "complete" : "writing");
        volumesAway.ifPresent(away -> node.put("volumes_away_ms", Format.inMillis(away)));
        way.ifPresent(how -> node.put("way", how));
        parent.ifPresent(tag -> node.put("parent_tag", tag));
        bytes.ifPresent(taken -> node.put("physical_bytes", taken));
        return node;
    }
}
