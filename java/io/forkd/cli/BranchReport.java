package io.forkd.cli;

import io.forkd.engine.BranchResult;
import io.forkd.files.FileSize;
import io.forkd.snapshot.Snapshot;
import java.time.Duration;
import tools.jackson.databind.node.ObjectNode;

/** What came of a branch, for people and for programs. */
record BranchReport(Shell shell, BranchResult result, long nanos) {
    void print() {
        shell.print("tag:      " + result.tag());
        shell.print("dir:      " + result.directory());
        result.parent().ifPresent(parent -> shell.print("parent_tag: " + parent));
        shell.print("pause_ms: " + Format.inMillis(result.pause()));
        result.volumesAway().ifPresent(away -> shell.print("volumes_away_ms: " + Format.inMillis(away)));
        if (result.written()) {
            shell.print("on disk:  " + Format.size(bytes()) + " after "
                    + Duration.ofNanos(nanos).toMillis() + " ms");
        } else {
            shell.note("It is being written; forkd images shows when it is complete. It can be forked now.");
        }
    }

    ObjectNode json() {
        ObjectNode node = Shell.json()
                .put("tag", result.tag().value())
                .put("dir", result.directory().toString())
                .put("pause_ms", Format.inMillis(result.pause()))
                .put("total_ms", Format.inMillis(Duration.ofNanos(nanos)))
                .put("state", result.written() ? "complete" : "writing");
        result.volumesAway().ifPresent(away -> node.put("volumes_away_ms", Format.inMillis(away)));
        result.parent().ifPresent(parent -> node.put("parent_tag", parent.value()));
        if (result.written()) {
            node.put("physical_bytes", bytes());
        }
        return node;
    }

    private long bytes() {
        return shell.engine().snapshots().info(result.tag(), shell.call()).files().stream()
                .filter(file -> !Snapshot.isCache(file.name()))
                .mapToLong(FileSize::physical)
                .sum();
    }
}
