package io.forkd.engine;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.forkd.Limits;
import io.forkd.files.OwnedDirectory;
import io.forkd.files.Trees;
import io.forkd.sandbox.RuntimeDirectory;
import io.forkd.snapshot.Manifest;
import io.forkd.snapshot.Manifest.Machine;
import io.forkd.snapshot.Manifest.Parent;
import io.forkd.snapshot.Snapshot;
import io.forkd.snapshot.SnapshotStore;
import io.forkd.snapshot.SnapshotTag;
import io.forkd.vmm.MemoryVmm;
import io.forkd.vmm.NativeVmm;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import tools.jackson.databind.node.JsonNodeFactory;

class ChainsTest {
    private static final String OTHER = "0".repeat(64);

    private final Call call = new Call(new Silence(), Optional.empty());

    @TempDir
    Path data;

    private SnapshotStore store;
    private Chains chains;

    @BeforeEach
    void makeStore() {
        Map<String, String> environment = Map.of("XDG_RUNTIME_DIR", data.toString());
        Servers servers = new Servers(new NativeVmm(), RuntimeDirectory.of(environment), environment);
        store = new SnapshotStore(data.resolve("snapshots"), servers);
        chains = new Chains(new NativeVmm(), store);
    }

    private Snapshot make(String name, int content, Optional<Parent> parent) throws IOException {
        return make(name, content, parent, Instant.EPOCH);
    }

    private Snapshot make(String name, int content, Optional<Parent> parent, Instant createdAt) throws IOException {
        SnapshotTag tag = new SnapshotTag(name);
        String memory = parent.isPresent() ? Snapshot.MEMORY_LAYER : Snapshot.MEMORY;
        try (OwnedDirectory staged = store.stage(tag)) {
            Files.write(staged.path().resolve(memory), new byte[4096]);
            Files.write(staged.path().resolve(Snapshot.VMSTATE), new byte[] {(byte) content});
            Path directory = store.directory(tag);
            store.install(
                    staged,
                    tag,
                    new Manifest(
                            directory.resolve(Snapshot.VMSTATE),
                            directory.resolve(memory),
                            4096,
                            List.of(),
                            Path.of("/r"),
                            parent,
                            List.of(),
                            new Machine(1, Path.of("/k"), Optional.empty(), "", Optional.empty(), Limits.NONE, "0"),
                            Optional.empty(),
                            createdAt,
                            JsonNodeFactory.instance.objectNode()),
                    true);
        }
        return store.read(tag);
    }

    private static Optional<Parent> parent(String tag, String hash) {
        return Optional.of(new Parent(new SnapshotTag(tag), hash));
    }

    @Test
    void parent_that_is_the_one_is_found() throws IOException {
        Snapshot base = make("base", 1, Optional.empty());
        Snapshot child = make("child", 2, parent("base", chains.contentHash(base, call)));
        assertThat(chains.resolve(child, call)).containsExactly(base, child);
        assertThat(chains.resolve(base, call)).containsExactly(base);
    }

    @Test
    void replaced_parent_is_named() throws IOException {
        Snapshot child = make("child", 2, parent("base", chains.contentHash(make("base", 1, Optional.empty()), call)));
        make("base", 9, Optional.empty());
        assertThatThrownBy(() -> chains.resolve(child, call))
                .hasMessageContaining("the parent 'base' is not what the snapshot 'child' was made of");
        make("base", 1, Optional.empty());
        assertThat(chains.resolve(child, call)).hasSize(2);
    }

    @Test
    void missing_parent_is_named() throws IOException {
        Snapshot child = make("child", 2, parent("gone", OTHER));
        assertThatThrownBy(() -> chains.resolve(child, call))
                .hasMessageContaining("the parent 'gone' of the snapshot 'child'");
    }

    @Test
    void damaged_parent_is_named() throws IOException {
        Snapshot base = make("base", 1, Optional.empty());
        Snapshot child = make("child", 2, parent("base", chains.contentHash(base, call)));
        Files.write(base.memory(), new byte[4095]);
        assertThatThrownBy(() -> chains.resolve(child, call))
                .hasMessageContaining("the parent 'base' of the snapshot 'child'")
                .hasMessageContaining("memory.bin is damaged");
    }

    @Test
    void memory_of_one_that_is_replaced_while_it_is_put_together_is_given_to_nobody() throws IOException {
        try (MemoryVmm vmm = new MemoryVmm()) {
            Chains slow = new Chains(vmm, store);
            Snapshot base = make("base", 1, Optional.empty());
            Optional<Parent> parent = parent("base", chains.contentHash(base, call));
            Snapshot old = make("link", 2, parent);
            List<Snapshot> other = new ArrayList<>(List.of(base));
            vmm.plan((number, step) -> {
                if (step == MemoryVmm.Step.FLATTEN_MEMORY && other.size() == 1) {
                    other.add(again(parent));
                }
                return MemoryVmm.Fault.NONE;
            });
            assertThatThrownBy(() -> slow.memory(List.of(base, old), call))
                    .hasMessageContaining("'link' was replaced or removed at this moment");
            assertThat(old.directory().resolve(Snapshot.MEMORY_FLAT)).doesNotExist();
            assertThat(slow.memory(other, call)).exists();
            assertThat(Trees.list(store.root()))
                    .noneMatch(left -> left.getFileName().toString().startsWith(".staging"));
        }
    }

    private Snapshot again(Optional<Parent> parent) {
        try {
            return make("link", 3, parent, Instant.EPOCH.plusNanos(1));
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    @Test
    void cycle_is_named() throws IOException {
        Snapshot first = make("first", 1, parent("second", OTHER));
        make("second", 2, parent("first", OTHER));
        assertThatThrownBy(() -> chains.resolve(first, call))
                .hasMessageContaining("cycle")
                .hasMessageContaining("'first'");
    }

    @Test
    void chain_of_more_than_32_links_is_refused() throws IOException {
        make("link-0", 0, Optional.empty());
        for (int i = 1; i <= 33; i++) {
            make("link-" + i, i, parent("link-" + (i - 1), OTHER));
        }
        assertThatThrownBy(() -> chains.resolve(store.read(new SnapshotTag("link-33")), call))
                .hasMessageContaining("'link-33' has more than 32 ancestors");
        assertThatThrownBy(() -> chains.resolve(store.read(new SnapshotTag("link-32")), call))
                .hasMessageContaining("'link-0' is not what");
    }
}
