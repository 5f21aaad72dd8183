package io.forkd.snapshot;

import static java.nio.file.StandardOpenOption.CREATE_NEW;
import static java.nio.file.StandardOpenOption.WRITE;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.Limits;
import io.forkd.files.FileLock;
import io.forkd.files.OwnedDirectory;
import io.forkd.files.Trees;
import io.forkd.snapshot.Manifest.Machine;
import io.forkd.snapshot.Manifest.ManifestDisk;
import io.forkd.snapshot.Snapshot.State;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.Set;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import tools.jackson.databind.node.JsonNodeFactory;

class SnapshotStoreTest {
    private static final SnapshotTag TAG = new SnapshotTag("py");

    @TempDir
    Path data;

    private final Set<String> writing = new HashSet<>();
    private final Set<String> used = new HashSet<>();
    private final List<String> ended = new ArrayList<>();
    private final SnapshotStore.Writers writers = new SnapshotStore.Writers() {
        @Override
        public boolean isWriting(Snapshot snapshot) {
            return writing.contains(snapshot.tag().value());
        }

        @Override
        public void requireUnused(Snapshot snapshot) {
            if (used.contains(snapshot.tag().value())) {
                throw new ForkdException(Kind.CONFLICT, snapshot.tag() + " has children");
            }
        }

        @Override
        public void end(Snapshot snapshot) {
            ended.add(snapshot.tag().value());
        }
    };
    private SnapshotStore store;
    private Path rootfs;

    @BeforeEach
    void makeStore() throws IOException {
        store = new SnapshotStore(data.resolve("snapshots"), writers);
        rootfs = Files.write(data.resolve("r.ext4"), new byte[512]);
    }

    private void make(SnapshotTag tag, int memoryBytes, boolean replace, Optional<String> parent) throws IOException {
        try (OwnedDirectory staged = store.stage(tag)) {
            Files.write(staged.path().resolve("memory.bin"), new byte[memoryBytes]);
            Files.write(staged.path().resolve("vmstate"), new byte[1]);
            Path directory = store.directory(tag);
            store.install(
                    staged,
                    tag,
                    new Manifest(
                            directory.resolve("vmstate"),
                            directory.resolve("memory.bin"),
                            memoryBytes,
                            List.of(),
                            rootfs,
                            parent.map(name -> new Manifest.Parent(new SnapshotTag(name), "0".repeat(64))),
                            List.of(new ManifestDisk(rootfs, false, 512, OptionalLong.empty(), Optional.empty())),
                            new Machine(1, Path.of("/k"), Optional.empty(), "", Optional.empty(), Limits.NONE, "0"),
                            Optional.empty(),
                            Instant.EPOCH,
                            JsonNodeFactory.instance.objectNode()),
                    replace);
        }
    }

    private void make(int memoryBytes, boolean replace) throws IOException {
        make(TAG, memoryBytes, replace, Optional.empty());
    }

    @Test
    void installed_snapshot_is_listed_and_opened() throws IOException {
        make(4096, false);
        assertThat(store.list()).extracting(SnapshotStore.Entry::tag).containsExactly("py");
        assertThat(store.open(TAG).memory()).isEqualTo(store.directory(TAG).resolve("memory.bin"));
        assertThat(store.leftovers()).isEmpty();
    }

    /** One of a chain that came together, in a folder with its files. */
    private SnapshotStore.Arrived arrived(Path folder, String name, Instant createdAt) throws IOException {
        SnapshotTag tag = new SnapshotTag(name);
        Path directory = store.directory(tag);
        Files.createDirectories(folder);
        Files.write(folder.resolve("memory.bin"), new byte[8192]);
        Files.write(folder.resolve("vmstate"), new byte[1]);
        return new SnapshotStore.Arrived(
                tag,
                folder,
                new Manifest(
                        directory.resolve("vmstate"),
                        directory.resolve("memory.bin"),
                        8192,
                        List.of(),
                        rootfs,
                        Optional.empty(),
                        List.of(new ManifestDisk(rootfs, false, 512, OptionalLong.empty(), Optional.empty())),
                        new Machine(1, Path.of("/k"), Optional.empty(), "", Optional.empty(), Limits.NONE, "0"),
                        Optional.empty(),
                        createdAt,
                        JsonNodeFactory.instance.objectNode()));
    }

    private void assertAsBefore() throws IOException {
        assertThat(store.list()).extracting(SnapshotStore.Entry::tag).containsExactly("py");
        assertThat(store.open(TAG).manifest().memoryBytes()).isEqualTo(4096);
        assertThat(Trees.list(store.root()))
                .extracting(path -> String.valueOf(path.getFileName()))
                .containsExactlyInAnyOrder(".lock", "py");
    }

    @Test
    void chain_whose_maker_dies_when_half_of_it_has_its_names_is_taken_back() throws IOException {
        for (int placed = 0; placed <= 2; placed++) {
            make(4096, true);
            OwnedDirectory staged = store.stage(TAG);
            List<SnapshotStore.Arrived> chain = List.of(
                    arrived(staged.path().resolve("py"), "py", Instant.ofEpochSecond(5)),
                    arrived(staged.path().resolve("top"), "top", Instant.ofEpochSecond(6)));
            for (SnapshotStore.Arrived link : chain) {
                Trees.writeNew(
                        link.staged().resolve(Snapshot.MANIFEST),
                        link.manifest().encode());
            }
            store.begin(staged.path(), chain);
            for (SnapshotStore.Arrived link : chain.subList(0, placed)) {
                store.place(link.staged(), link.tag(), true);
            }
            staged.release();
            store.sweep();
            assertAsBefore();
        }
    }

    @Test
    void chain_that_cannot_get_all_its_names_is_taken_back_at_once() throws IOException {
        make(4096, false);
        Path elsewhere = Files.createTempDirectory(Path.of("/dev/shm"), "forkd-"); // no rename from there
        try (OwnedDirectory staged = store.stage(TAG)) {
            List<SnapshotStore.Arrived> chain = List.of(
                    arrived(staged.path().resolve("py"), "py", Instant.ofEpochSecond(5)),
                    arrived(elsewhere, "top", Instant.ofEpochSecond(6)));
            assertThatThrownBy(() -> store.install(staged, chain, true)).isInstanceOf(ForkdException.class);
        } finally {
            Trees.delete(elsewhere);
        }
        assertAsBefore();
    }

    @Test
    void chain_that_has_its_names_stays() throws IOException {
        make(4096, false);
        OwnedDirectory staged = store.stage(TAG);
        store.install(
                staged,
                List.of(
                        arrived(staged.path().resolve("py"), "py", Instant.ofEpochSecond(5)),
                        arrived(staged.path().resolve("top"), "top", Instant.ofEpochSecond(6))),
                true);
        staged.release(); // as who is killed then
        store.sweep();
        assertThat(store.list()).extracting(SnapshotStore.Entry::tag).containsExactlyInAnyOrder("py", "top");
        assertThat(store.open(TAG).manifest().memoryBytes()).isEqualTo(8192);
        assertThat(store.leftovers()).isEmpty();
    }

    @Test
    void learning_a_working_set_leaves_a_snapshot_its_place_and_its_time() throws IOException {
        make(4096, false);
        SnapshotStore.Entry before = store.list().get(0);
        Path file = store.open(TAG).workingSet();
        assertThat(file).isEmptyFile();
        Files.write(file, new byte[48]);
        assertThat(store.list().get(0).modified()).isEqualTo(before.modified());
        assertThat(store.open(TAG).workingSet()).hasSize(48);
        make(4096, true);
        assertThat(store.open(TAG).workingSet()).isEmptyFile();
    }

    @Test
    void taken_tag_is_refused_and_kept() throws IOException {
        make(4096, false);
        assertThatThrownBy(() -> make(8192, false)).hasMessageContaining("exists already");
        assertThat(store.open(TAG).manifest().memoryBytes()).isEqualTo(4096);
    }

    @Test
    void forced_snapshot_replaces_the_old_one() throws IOException {
        make(4096, false);
        make(8192, true);
        assertThat(store.open(TAG).manifest().memoryBytes()).isEqualTo(8192);
        assertThat(store.leftovers()).isEmpty();
    }

    @Test
    void replaced_snapshot_comes_back_when_its_successor_never_arrived() throws IOException {
        make(4096, false);
        Files.move(store.directory(TAG), store.root().resolve(".replaced-py-1"));
        store.sweep();
        assertThat(store.open(TAG).manifest().memoryBytes()).isEqualTo(4096);
    }

    @Test
    void leftovers_of_the_dead_are_swept_and_of_the_living_are_not() throws IOException {
        Files.createDirectories(store.root().resolve(".staging-dead-1"));
        Files.createDirectories(store.root().resolve(".trash-dead-1"));
        try (OwnedDirectory alive = store.stage(TAG)) {
            store.sweep();
            assertThat(store.leftovers()).isEmpty();
            assertThat(alive.path()).isDirectory();
        }
        assertThat(store.list()).isEmpty();
    }

    @Test
    void moved_store_is_opened_where_it_is() throws IOException {
        make(4096, false);
        Path elsewhere = Files.createDirectory(data.resolve("elsewhere"));
        Files.move(store.root(), elsewhere.resolve("snapshots"));
        Snapshot snapshot = new SnapshotStore(elsewhere.resolve("snapshots"), writers).open(TAG);
        assertThat(snapshot.memory()).isEqualTo(elsewhere.resolve("snapshots/py/memory.bin"));
    }

    @Test
    void truncated_memory_is_named() throws IOException {
        make(4096, false);
        Files.write(store.directory(TAG).resolve("memory.bin"), new byte[4095]);
        assertThatThrownBy(() -> store.open(TAG))
                .isInstanceOfSatisfying(
                        ForkdException.class, e -> assertThat(e.kind()).isEqualTo(Kind.DAMAGED))
                .hasMessageContaining("memory.bin is damaged: it has 4095 bytes");
    }

    @Test
    void missing_files_are_named() throws IOException {
        make(4096, false);
        for (String name : List.of("memory.bin", "vmstate", "snapshot.json")) {
            Files.delete(store.directory(TAG).resolve(name));
            assertThatThrownBy(() -> store.open(TAG)).hasMessageContaining(name);
        }
    }

    @Test
    void resized_root_disk_is_refused() throws IOException {
        make(4096, false);
        Files.write(rootfs, new byte[1024]);
        assertThatThrownBy(() -> store.open(TAG)).hasMessageContaining("has changed since");
    }

    @Test
    void image_of_another_time_is_refused_older_or_newer() throws IOException {
        Snapshot snapshot = mounted(rootfs, true);
        snapshot.requireImages();
        for (Instant other : List.of(Instant.parse("2020-01-01T00:00:00Z"), Instant.ofEpochMilli(TAKEN + 1))) {
            Files.setLastModifiedTime(rootfs, FileTime.from(other));
            assertThatThrownBy(snapshot::requireImages)
                    .hasMessageContaining(rootfs + " has changed since the snapshot 'py' was taken")
                    .hasMessageContaining(other.toString());
        }
        Files.setLastModifiedTime(rootfs, FileTime.fromMillis(TAKEN));
        snapshot.requireImages();
    }

    @Test
    void volume_is_another_of_the_kind() throws IOException {
        Path volume = Files.write(data.resolve("v.ext4"), new byte[512]);
        for (boolean readOnly : List.of(false, true)) {
            Snapshot snapshot = mounted(volume, readOnly);
            snapshot.requireImages();
            Files.setLastModifiedTime(volume, FileTime.fromMillis(TAKEN - 1));
            assertThatThrownBy(snapshot::requireImages).hasMessageContaining(volume + " has changed since");
        }
    }

    @Test
    void volume_that_is_not_mounted_may_have_another_time_and_is_a_file_system() throws IOException {
        Path volume = Files.write(data.resolve("v.ext4"), new byte[512]);
        ManifestDisk disk = new ManifestDisk(volume, false, 512, OptionalLong.empty(), Optional.empty());
        assertThatThrownBy(with(List.of(root(), disk))::requireImages)
                .hasMessageContaining("the volume " + volume + " is no ext4 image");
    }

    private static final long TAKEN = 1_700_000_000_123L;

    private ManifestDisk root() {
        return new ManifestDisk(rootfs, false, 512, OptionalLong.empty(), Optional.empty());
    }

    /** With that disk behind the root, or as it. */
    private Snapshot mounted(Path image, boolean readOnly) throws IOException {
        Files.setLastModifiedTime(image, FileTime.fromMillis(TAKEN));
        ManifestDisk disk = new ManifestDisk(image, readOnly, 512, OptionalLong.of(TAKEN), Optional.empty());
        return with(image.equals(rootfs) ? List.of(disk) : List.of(root(), disk));
    }

    private Snapshot with(List<ManifestDisk> disks) {
        Path directory = store.directory(TAG);
        return new Snapshot(
                TAG,
                directory,
                new Manifest(
                        directory.resolve("vmstate"),
                        directory.resolve("memory.bin"),
                        4096,
                        List.of(),
                        rootfs,
                        Optional.empty(),
                        disks,
                        new Machine(1, Path.of("/k"), Optional.empty(), "", Optional.empty(), Limits.NONE, "0"),
                        Optional.empty(),
                        Instant.EPOCH,
                        JsonNodeFactory.instance.objectNode()));
    }

    @Test
    void listed_is_what_is_on_the_disk_without_caches() throws IOException {
        make(4096, false);
        long before = store.list().get(0).bytes();
        assertThat(before).isBetween(4096L, 64L << 10);
        try (FileChannel hole = FileChannel.open(store.directory(TAG).resolve("disk-0.layer"), CREATE_NEW, WRITE)) {
            hole.write(ByteBuffer.wrap(new byte[1]), 1L << 30);
        }
        Files.write(store.directory(TAG).resolve(Snapshot.MEMORY_FLAT), new byte[1 << 20]);
        assertThat(store.list().get(0).bytes() - before).isLessThan(64L << 10);
    }

    @Test
    void snapshot_in_use_is_removed_only_by_force() throws IOException {
        make(4096, false);
        try (FileLock use = store.open(TAG).use().orElseThrow()) {
            assertThat(use).isNotNull();
            assertThatThrownBy(() -> remove(false)).hasMessageContaining("in use");
            remove(true);
        }
        assertThatThrownBy(() -> store.open(TAG)).hasMessageContaining("there is no snapshot 'py'");
    }

    private void remove(boolean evenIfUsed) {
        store.remove(TAG, evenIfUsed, each -> false);
    }

    @Test
    void removal_that_is_refused_ends_nobody() throws IOException {
        make(4096, false);
        try (FileLock use = store.open(TAG).use().orElseThrow()) {
            assertThat(use).isNotNull();
            assertThatThrownBy(() -> remove(false)).hasMessageContaining("in use");
        }
        used.add("py");
        assertThatThrownBy(() -> remove(false)).hasMessageContaining("has children");
        make(new SnapshotTag("child"), 4096, false, Optional.of("py"));
        assertThatThrownBy(() -> remove(true)).hasMessageContaining("is the parent of [child]");
        assertThat(ended).isEmpty();
        assertThat(store.open(TAG).memory()).isRegularFile();
        store.remove(TAG, true, each -> true);
        assertThat(ended).containsExactly("py");
        assertThat(store.directory(TAG)).doesNotExist();
    }

    @Test
    void layer_over_what_was_removed_or_replaced_meanwhile_is_refused() throws IOException {
        make(4096, false);
        Snapshot parent = store.open(TAG);
        remove(false);
        SnapshotTag child = new SnapshotTag("child");
        assertThatThrownBy(() -> register(child, false, Optional.of(parent))).hasMessageContaining("'py' was replaced");
        assertThat(store.directory(child)).doesNotExist();
        make(4096, false);
        register(child, false, Optional.of(store.open(TAG))).release();
        assertThat(store.directory(child)).isDirectory();
    }

    @Test
    void dependents_are_those_that_name_it_as_parent() throws IOException {
        make(4096, false);
        make(new SnapshotTag("child"), 4096, false, Optional.of("py"));
        assertThat(store.dependents(TAG)).containsExactly(new SnapshotTag("child"));
    }

    /** As a branch is: with its name, and nothing but its manifest. */
    private OwnedDirectory register(SnapshotTag tag, boolean replace) throws IOException {
        return register(tag, replace, Optional.empty());
    }

    private OwnedDirectory register(SnapshotTag tag, boolean replace, Optional<Snapshot> parent) throws IOException {
        Path directory = store.directory(tag);
        OwnedDirectory staged = store.stage(tag);
        try {
            store.register(
                    staged,
                    tag,
                    new Manifest(
                            directory.resolve("vmstate"),
                            directory.resolve("memory.bin"),
                            8192,
                            List.of(),
                            rootfs,
                            Optional.empty(),
                            List.of(new ManifestDisk(rootfs, false, 512, OptionalLong.empty(), Optional.empty())),
                            new Machine(1, Path.of("/k"), Optional.empty(), "", Optional.empty(), Limits.NONE, "0"),
                            Optional.empty(),
                            Instant.EPOCH,
                            JsonNodeFactory.instance.objectNode()),
                    replace,
                    parent);
            return staged;
        } catch (RuntimeException e) {
            staged.close();
            throw e;
        }
    }

    private void complete(SnapshotTag tag) throws IOException {
        Files.write(store.directory(tag).resolve("memory.bin"), new byte[8192]);
        Files.write(store.directory(tag).resolve("vmstate"), new byte[1]);
    }

    private State state() {
        return store.state(store.read(TAG));
    }

    @Test
    void a_branch_that_never_began_is_swept_and_one_that_failed_or_is_written_is_not() throws IOException {
        register(TAG, false).release();
        writing.add("py");
        store.sweep();
        assertThat(state()).isEqualTo(State.WRITING);
        writing.clear();
        new Provenance("sb-00000000", Optional.of(Duration.ofMillis(1))).note(store.directory(TAG));
        store.sweep();
        assertThat(state()).isEqualTo(State.FAILED);
        new Provenance("sb-00000000", Optional.empty()).note(store.directory(TAG));
        store.sweep();
        assertThat(store.directory(TAG)).doesNotExist();
        assertThat(Trees.list(store.root())).allMatch(left -> left.endsWith(OwnedDirectory.LOCK));
    }

    @Test
    void what_a_branch_that_never_began_was_to_replace_comes_back() throws IOException {
        make(4096, false);
        register(TAG, true).release();
        store.sweep();
        store.sweep(); // whichever of the two it met first
        assertThat(state()).isEqualTo(State.COMPLETE);
    }

    @Test
    void branch_is_being_written_while_it_is_made_or_its_writer_lives_and_has_failed_afterwards() throws IOException {
        register(TAG, false).release();
        assertThat(state()).isEqualTo(State.FAILED);
        try (FileLock use = store.read(TAG).use().orElseThrow()) {
            assertThat(use).isNotNull();
            assertThatThrownBy(() -> store.open(TAG)).hasMessageContaining("'py' failed");
        }
        try (OwnedDirectory made = register(TAG, false)) {
            assertThat(made).isNotNull();
            assertThat(state()).isEqualTo(State.WRITING);
        }
        writing.add("py");
        assertThat(state()).isEqualTo(State.WRITING);
        assertThatThrownBy(() -> store.open(TAG)).hasMessageContaining("still being written");
        complete(TAG);
        assertThat(state()).isEqualTo(State.COMPLETE);
        assertThat(store.open(TAG).manifest().memoryBytes()).isEqualTo(8192);
    }

    @Test
    void second_branch_to_a_tag_that_is_being_written_is_refused_even_by_force() throws IOException {
        register(TAG, false).release();
        writing.add("py");
        for (boolean replace : List.of(false, true)) {
            assertThatThrownBy(() -> register(TAG, replace)).hasMessageContaining("is still being written");
        }
    }

    @Test
    void replaced_snapshot_waits_for_the_branch_and_goes_when_that_is_complete() throws IOException {
        make(4096, false);
        register(TAG, true).release();
        writing.add("py");
        store.sweep();
        assertThat(state()).isEqualTo(State.WRITING);
        assertThat(store.leftovers()).isEmpty();
        complete(TAG);
        writing.clear();
        store.sweep();
        assertThat(store.open(TAG).manifest().memoryBytes()).isEqualTo(8192);
        assertThat(names()).containsExactly("py");
    }

    @Test
    void replaced_snapshot_comes_back_when_the_branch_failed() throws IOException {
        make(4096, false);
        register(TAG, true).release();
        store.sweep();
        assertThat(store.open(TAG).manifest().memoryBytes()).isEqualTo(4096);
        assertThat(names()).containsExactly("py");
    }

    /** It may be another version's: neither cleanup nor a sweep may take it for a branch that failed. */
    @Test
    void what_cannot_be_read_is_not_removed_as_failed() throws IOException {
        make(4096, false);
        register(TAG, true).release();
        complete(TAG);
        Path manifest = store.directory(TAG).resolve(Snapshot.MANIFEST);
        Files.writeString(manifest, Files.readString(manifest).replaceFirst("\"format\" : [0-9]+", "\"format\" : 999"));
        store.sweep();
        assertThat(store.failed()).isEmpty();
        assertThat(store.leftovers()).isEmpty();
        assertThat(store.directory(TAG).resolve(Snapshot.VMSTATE)).exists();
        assertThat(names()).as("with the replaced one").hasSize(2);
        assertThatThrownBy(() -> store.read(TAG)).hasMessageContaining("has format 999");
    }

    @Test
    void branch_that_could_not_be_made_leaves_what_was_there() throws IOException {
        make(4096, false);
        OwnedDirectory branch = register(TAG, true);
        store.unregister(branch, store.read(TAG));
        assertThat(store.open(TAG).manifest().memoryBytes()).isEqualTo(4096);
        assertThat(names()).containsExactly("py");
    }

    private List<String> names() throws IOException {
        return Trees.list(store.root()).stream()
                .map(path -> path.getFileName().toString())
                .filter(name -> !name.equals(OwnedDirectory.LOCK))
                .toList();
    }
}
