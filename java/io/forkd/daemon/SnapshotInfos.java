package io.forkd.daemon;

import io.forkd.ForkdException;
import io.forkd.engine.BranchResult;
import io.forkd.engine.Engine;
import io.forkd.files.FileSize;
import io.forkd.http.Caller;
import io.forkd.http.HttpFailure;
import io.forkd.snapshot.Manifest.Parent;
import io.forkd.snapshot.Provenance;
import io.forkd.snapshot.Provenance.Difference;
import io.forkd.snapshot.Snapshot;
import io.forkd.snapshot.Snapshot.State;
import io.forkd.snapshot.SnapshotStore.Entry;
import io.forkd.snapshot.SnapshotTag;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Comparator;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/** The objects SnapshotInfo of REST v1: the files and the living say everything that is in them. */
final class SnapshotInfos {
    private final Engine engine;

    SnapshotInfos(Engine engine) {
        this.engine = engine;
    }

    /** All that the caller knows of, by tag. */
    ArrayNode list(Caller caller) {
        ArrayNode array = JsonNodeFactory.instance.arrayNode();
        engine.store().list().stream()
                .filter(entry -> isTag(entry.tag()) && Owners.knows(engine, caller, new SnapshotTag(entry.tag())))
                .sorted(Comparator.comparing(Entry::tag))
                .map(entry -> info(new SnapshotTag(entry.tag())))
                // Others that were removed meanwhile are not there.
                .filter(info -> Files.isDirectory(Path.of(info.path("dir").stringValue())))
                .forEach(array::add);
        return array;
    }

    int count() {
        return (int) engine.store().list().stream()
                .filter(entry -> isTag(entry.tag()))
                .count();
    }

    private static boolean isTag(String name) {
        try {
            return !new SnapshotTag(name).value().isEmpty();
        } catch (ForkdException e) {
            return false;
        }
    }

    ObjectNode info(SnapshotTag tag) {
        Path directory = engine.store().directory(tag);
        Optional<Snapshot> snapshot = Optional.empty();
        State state = State.FAILED;
        String warning = "";
        try {
            snapshot = Optional.of(engine.store().read(tag));
            state = engine.store().state(snapshot.get());
            if (state == State.COMPLETE) {
                engine.store().open(tag);
                snapshot.get().requireImages();
            } else if (state == State.FAILED) {
                warning = "it was never completed: " + directory.resolve(Snapshot.VMSTATE) + " is missing";
            }
        } catch (ForkdException e) {
            warning = e.sentence();
            state = State.FAILED;
        }
        Instant created = snapshot.map(there -> there.manifest().createdAt()).orElseGet(() -> modified(directory));
        ObjectNode node = Wire.object()
                .put("tag", tag.value())
                .put("dir", directory.toString())
                .put("created_at_unix", created.getEpochSecond());
        Provenance.of(directory).ifPresent(where -> {
            node.put("branched_from", where.from());
            where.pause()
                    .ifPresent(pause -> node.put("pause_ms", pause.toMillis()).put("pause_us", pause.toNanos() / 1000));
            where.way().ifPresent(way -> node.put("way", way));
            where.difference()
                    .ifPresent(
                            difference -> node.put("diff_ms", difference.time().toMillis())
                                    .put("diff_physical_bytes", difference.physical())
                                    .put("diff_logical_bytes", difference.logical()));
        });
        if (!warning.isEmpty()) {
            node.put("warning", warning);
        }
        return node.put("status", status(state)).put("bootable", state == State.COMPLETE);
    }

    /** A branch that was just made. */
    ObjectNode info(BranchResult branch) {
        return info(branch.tag())
                .put("pause_ms", branch.pause().toMillis())
                .put("pause_us", branch.pause().toNanos() / 1000)
                .put("way", branch.way());
    }

    /** A branch that nobody waited for: its writing is what the answer is about, even if that is over by now. */
    ObjectNode writing(BranchResult branch) {
        ObjectNode node = info(branch).put("status", status(State.WRITING)).put("bootable", false);
        node.remove("warning");
        return node;
    }

    /** What a layer takes, of what it stands for. */
    Difference difference(Snapshot layer, Duration time) {
        return new Difference(
                time, physical(layer.directory()), layer.manifest().memoryBytes());
    }

    /** Has a branch tell what it differs by. */
    void note(BranchResult branch, Difference difference) {
        Provenance.of(branch.directory())
                .ifPresent(where -> where.with(difference).note(branch.directory()));
    }

    private static long physical(Path directory) {
        return files(directory).stream()
                .filter(file -> !Snapshot.isCache(file.name()))
                .mapToLong(FileSize::physical)
                .sum();
    }

    private static List<FileSize> files(Path directory) {
        try {
            return FileSize.in(directory);
        } catch (IOException e) {
            throw ForkdException.of("look at " + directory, e);
        }
    }

    private static Instant modified(Path directory) {
        try {
            return Files.getLastModifiedTime(directory).toInstant();
        } catch (IOException e) {
            return Instant.EPOCH;
        }
    }

    private static String status(State state) {
        return switch (state) {
            case COMPLETE -> "ready";
            case WRITING -> "writing";
            case FAILED -> "failed";
        };
    }

    /** The object SnapshotInfoDetail. */
    ObjectNode detail(Caller caller, io.forkd.engine.SnapshotInfo info) {
        Snapshot snapshot = info.snapshot();
        List<FileSize> files = info.files();
        List<SnapshotTag> ancestors = ancestors(snapshot);
        ObjectNode node = Wire.object()
                .put("tag", snapshot.tag().value())
                .put("dir", snapshot.directory().toString())
                .put("created_at_unix", snapshot.manifest().createdAt().getEpochSecond())
                .put("memory_logical_bytes", snapshot.manifest().memoryBytes())
                .put(
                        "memory_physical_bytes",
                        sizeOf(files, snapshot.isLayer() ? Snapshot.MEMORY_LAYER : Snapshot.MEMORY))
                .put("vmstate_bytes", logicalOf(files, Snapshot.VMSTATE));
        snapshot.manifest()
                .parent()
                .ifPresent(parent ->
                        node.put("parent_tag", parent.tag().value()).put("parent_content_hash", parent.contentHash()));
        node.put("chain_depth", ancestors.size());
        node.set("ancestors", Wire.texts(ancestors));
        node.set(
                "dependents",
                Wire.texts(info.dependents().stream()
                        .filter(tag -> Owners.knows(engine, caller, tag))
                        .toList()));
        node.put("status", status(info.state()))
                .put("vcpus", snapshot.manifest().machine().vcpus());
        info.contentHash().ifPresent(hash -> node.put("content_hash", hash));
        node.put("verity", info.verity());
        info.problem().ifPresent(problem -> node.put("problem", problem));
        node.set(
                "volumes",
                Wire.array(
                        snapshot.manifest().volumes(),
                        volume -> Wire.object()
                                .put("host_path", volume.hostPath().toString())
                                .put("guest_path", volume.guestPath())
                                .put("read_only", volume.readOnly())));
        node.set(
                "files",
                Wire.array(
                        files,
                        file -> Wire.object()
                                .put("name", file.name())
                                .put("logical_bytes", file.logical())
                                .put("physical_bytes", file.physical())));
        return node;
    }

    /** The first one first. Whether it can be used is not asked: this is what its manifest and theirs say. */
    private List<SnapshotTag> ancestors(Snapshot snapshot) {
        Set<SnapshotTag> seen = new LinkedHashSet<>(Set.of(snapshot.tag()));
        Optional<Parent> parent = snapshot.manifest().parent();
        while (parent.isPresent()) {
            SnapshotTag tag = parent.get().tag();
            if (!seen.add(tag)) {
                throw new HttpFailure(500, "snapshot " + tag + " is an ancestor of itself");
            }
            try {
                parent = engine.store().read(tag).manifest().parent();
            } catch (ForkdException e) {
                engine.store().requireUnchanged(snapshot);
                throw new HttpFailure(
                        500,
                        "snapshot " + tag + ", an ancestor of " + snapshot.tag() + ", is unusable: " + e.sentence());
            }
        }
        List<SnapshotTag> ancestors = new ArrayList<>(seen);
        Collections.reverse(ancestors);
        return ancestors.subList(0, ancestors.size() - 1);
    }

    private static long sizeOf(List<FileSize> files, String name) {
        return files.stream()
                .filter(file -> file.name().equals(name))
                .mapToLong(FileSize::physical)
                .sum();
    }

    private static long logicalOf(List<FileSize> files, String name) {
        return files.stream()
                .filter(file -> file.name().equals(name))
                .mapToLong(FileSize::logical)
                .sum();
    }
}
