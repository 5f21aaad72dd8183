package io.forkd.engine;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.forkd.ForkdException;
import io.forkd.Limits;
import io.forkd.Remedy;
import io.forkd.files.FileLock;
import io.forkd.files.OwnedDirectory;
import io.forkd.snapshot.Manifest;
import io.forkd.snapshot.Manifest.Machine;
import io.forkd.snapshot.Manifest.Parent;
import io.forkd.snapshot.Snapshot;
import io.forkd.snapshot.SnapshotStore;
import io.forkd.snapshot.SnapshotTag;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import tools.jackson.databind.node.JsonNodeFactory;

/** Removal of c1, c2 over it, c3 over c2, and other, which is over c2, too. */
class SnapshotsTest {
    @TempDir
    Path data;

    private Snapshots snapshots;
    private SnapshotStore store;
    private final List<String> removed = new ArrayList<>();

    @BeforeEach
    void makeChain() throws IOException {
        Engine engine = Engine.of(Map.of("XDG_DATA_HOME", data.toString(), "XDG_RUNTIME_DIR", data.toString()));
        snapshots = engine.snapshots();
        store = engine.store();
        make("c1", Optional.empty());
        make("c2", Optional.of("c1"));
        make("c3", Optional.of("c2"));
        make("other", Optional.of("c2"));
    }

    private void make(String name, Optional<String> parent) throws IOException {
        SnapshotTag tag = new SnapshotTag(name);
        Path directory = store.directory(tag);
        try (OwnedDirectory staged = store.stage(tag)) {
            Files.write(staged.path().resolve(Snapshot.VMSTATE), new byte[1]);
            store.install(
                    staged,
                    tag,
                    new Manifest(
                            directory.resolve(Snapshot.VMSTATE),
                            directory.resolve(parent.isPresent() ? Snapshot.MEMORY_LAYER : Snapshot.MEMORY),
                            4096,
                            List.of(),
                            Path.of("/r"),
                            parent.map(of -> new Parent(new SnapshotTag(of), "0".repeat(64))),
                            List.of(),
                            new Machine(1, Path.of("/k"), Optional.empty(), "", Optional.empty(), Limits.NONE, "0"),
                            Optional.empty(),
                            Instant.EPOCH,
                            JsonNodeFactory.instance.objectNode()),
                    false);
        }
    }

    private List<String> remove(String tag, boolean cascade, boolean force) {
        Snapshots.Removal plan = snapshots.planRemoval(List.of(new SnapshotTag(tag)), cascade, force);
        for (ForkdException refusal : plan.refused().values()) {
            throw refusal;
        }
        for (SnapshotTag each : plan.all()) {
            snapshots.remove(each, plan, force);
            removed.add(each.value());
        }
        return plan.orphans().stream().map(SnapshotTag::value).toList();
    }

    private List<String> left() {
        return store.list().stream().map(SnapshotStore.Entry::tag).sorted().toList();
    }

    @Test
    void cascade_that_must_refuse_removes_nothing() throws IOException {
        for (String used : List.of("c3", "c2", "other", "c1")) {
            try (FileLock use = store.read(new SnapshotTag(used)).use().orElseThrow()) {
                assertThat(use).isNotNull();
                assertThatThrownBy(() -> remove("c1", true, false))
                        .isInstanceOfSatisfying(
                                ForkdException.class,
                                e -> assertThat(e.remedy())
                                        .as("force is not for what goes with a cascade")
                                        .isEqualTo(new Remedy.Advice("End it first. Nothing was removed.")))
                        .hasMessageContaining("'" + used + "' is in use");
            }
            assertThat(removed).isEmpty();
            assertThat(left()).containsExactly("c1", "c2", "c3", "other");
        }
    }

    @Test
    void cascade_removes_the_last_first() throws IOException {
        make("c4", Optional.of("c3"));
        assertThat(remove("c2", true, false)).isEmpty();
        assertThat(removed).containsExactly("c4", "c3", "other", "c2");
        assertThat(left()).containsExactly("c1");
    }

    @Test
    void cascade_ends_with_a_cycle() throws IOException {
        remove("c1", false, true);
        make("c1", Optional.of("c3"));
        remove("c1", true, false);
        assertThat(left()).isEmpty();
    }

    @Test
    void parent_goes_with_those_that_were_asked_for_too_whatever_their_order() {
        List<SnapshotTag> asked =
                Stream.of("c1", "c3", "c2", "other").map(SnapshotTag::new).toList();
        Snapshots.Removal plan = snapshots.planRemoval(asked, false, false);
        assertThat(plan.refused()).isEmpty();
        assertThat(plan.orphans()).isEmpty();
        plan.all().forEach(each -> snapshots.remove(each, plan, false));
        assertThat(left()).isEmpty();
    }

    @Test
    void parent_is_refused_and_force_says_what_it_orphans() {
        assertThatThrownBy(() -> remove("c2", false, false))
                .isInstanceOfSatisfying(
                        ForkdException.class,
                        e -> assertThat(e.remedy()).isEqualTo(Remedy.Action.REMOVE_DEPENDENTS_OR_FORCE))
                .hasMessageContaining("'c2' is the parent of [c3, other]");
        assertThat(left()).hasSize(4);
        assertThat(remove("c2", false, true)).containsExactly("c3", "other");
        assertThat(left()).containsExactly("c1", "c3", "other");
    }
}
