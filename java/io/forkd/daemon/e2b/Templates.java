package io.forkd.daemon.e2b;

import io.forkd.ForkdException;
import io.forkd.daemon.Failures;
import io.forkd.engine.Engine;
import io.forkd.http.Caller;
import io.forkd.http.HttpFailure;
import io.forkd.snapshot.Manifest;
import io.forkd.snapshot.Snapshot;
import io.forkd.snapshot.Snapshot.State;
import io.forkd.snapshot.SnapshotStore.Entry;
import io.forkd.snapshot.SnapshotTag;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Optional;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/** Templates are snapshots, those that were made otherwise, too. */
final class Templates {
    private static final long MIB = 1 << 20;

    private Templates() {}

    private static HttpFailure unknown(String template) {
        return new HttpFailure(
                404, "template '" + template + "' was not found: a snapshot of that tag is one (docs/e2b.md)");
    }

    /** One that children can be made of. */
    static Snapshot usable(Engine engine, Caller caller, String template) {
        SnapshotTag tag;
        try {
            tag = TemplateName.parse(template).snapshot();
            Failures.requireThere(engine, caller, tag);
        } catch (HttpFailure e) {
            throw unknown(template);
        }
        try {
            Snapshot snapshot = engine.store().read(tag);
            if (engine.store().state(snapshot) == State.FAILED) {
                throw new HttpFailure(409, "template '" + template + "' is not complete");
            }
            return snapshot;
        } catch (ForkdException e) {
            throw Failures.internal(e);
        }
    }

    /** One of those that there are. */
    record Found(TemplateName name, Snapshot snapshot, Optional<Note> note) {
        private Manifest manifest() {
            return snapshot.manifest();
        }

        Instant made() {
            return manifest().createdAt();
        }

        String build() {
            return Note.build(snapshot.tag(), manifest());
        }

        boolean isForAll() {
            return manifest().owner().isEmpty();
        }

        /** Sorts as they were made. */
        String key() {
            return Pages.key(made(), snapshot.tag().value());
        }

        long diskMib() {
            return manifest().disks().stream().mapToLong(disk -> disk.bytes()).sum() / MIB;
        }

        /** As the list of templates has it. */
        ObjectNode view() {
            ObjectNode node = JsonNodeFactory.instance
                    .objectNode()
                    .put("templateID", name.name())
                    .put("buildID", build())
                    .put("cpuCount", manifest().machine().vcpus())
                    .put("memoryMB", manifest().memoryBytes() / MIB)
                    .put("diskSizeMB", diskMib())
                    .put("public", isForAll())
                    .put("createdAt", made().toString())
                    .put("updatedAt", made().toString())
                    .put("spawnCount", 0)
                    .put("buildCount", 1)
                    .put("envdVersion", ControlRoutes.ENVD_VERSION)
                    .put("buildStatus", Build.Status.READY.text());
            node.putArray("aliases").add(name.name());
            node.putArray("names").add(name.name());
            node.putNull("createdBy");
            return node.putNull("lastSpawnedAt");
        }

        /** As a template lists its builds. */
        ObjectNode viewOfBuild() {
            return JsonNodeFactory.instance
                    .objectNode()
                    .put("buildID", build())
                    .put("status", Build.Status.READY.text())
                    .put("createdAt", made().toString())
                    .put("updatedAt", made().toString())
                    .put("finishedAt", made().toString())
                    .put("cpuCount", manifest().machine().vcpus())
                    .put("memoryMB", manifest().memoryBytes() / MIB)
                    .put("diskSizeMB", diskMib())
                    .put("envdVersion", ControlRoutes.ENVD_VERSION);
        }
    }

    /** Those that the caller may use, the newest first. */
    static List<Found> all(Engine engine, Caller caller) {
        List<Found> all = new ArrayList<>();
        for (Entry entry : engine.store().list()) {
            try {
                Snapshot snapshot = engine.store().read(new SnapshotTag(entry.tag()), caller.owner());
                Optional<Note> note = Note.of(snapshot.tag(), snapshot.manifest());
                all.add(new Found(
                        TemplateName.of(note.map(Note::template).orElse(entry.tag()), snapshot.tag()), snapshot, note));
            } catch (ForkdException e) {
                // It is another's, or being removed, or cannot be read.
            }
        }
        all.sort(Comparator.comparing(Found::key).reversed());
        return all;
    }

    /** All tags of one, the newest first. */
    static List<Found> named(Engine engine, Caller caller, String name) {
        return all(engine, caller).stream()
                .filter(each -> each.name().name().equals(name))
                .toList();
    }
}
