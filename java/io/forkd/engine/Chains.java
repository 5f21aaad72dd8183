package io.forkd.engine;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.Remedy;
import io.forkd.files.FileLock;
import io.forkd.files.OwnedDirectory;
import io.forkd.files.Trees;
import io.forkd.snapshot.ContentHash;
import io.forkd.snapshot.Manifest.Parent;
import io.forkd.snapshot.Snapshot;
import io.forkd.snapshot.SnapshotStore;
import io.forkd.snapshot.SnapshotTag;
import io.forkd.vmm.Vmm;
import io.forkd.vmm.VmmException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Optional;
import java.util.Set;

/** Puts snapshots together that are layers over others. A chain is a list with the first ancestor first. */
final class Chains {
    /** Links over the first one. */
    static final int MAX_DEPTH = 32;

    private final Vmm vmm;
    private final SnapshotStore store;

    Chains(Vmm vmm, SnapshotStore store) {
        this.vmm = vmm;
        this.store = store;
    }

    /** The snapshot's ancestors and itself. Every parent is there, and is the one that its child was made of. */
    List<Snapshot> resolve(Snapshot head, Call call) {
        List<Snapshot> chain = new ArrayList<>(List.of(head));
        return store.with(chain, () -> {
            complete(chain, call);
            return chain;
        });
    }

    private void complete(List<Snapshot> chain, Call call) {
        Snapshot head = chain.get(0);
        Set<SnapshotTag> seen = new HashSet<>(Set.of(head.tag()));
        Optional<Parent> parent = head.manifest().parent();
        while (parent.isPresent()) {
            SnapshotTag tag = parent.get().tag();
            if (!seen.add(tag)) {
                throw new ForkdException(
                        Kind.DAMAGED,
                        "the ancestors of the snapshot '" + head.tag() + "' are a cycle: '" + tag
                                + "' is its own ancestor",
                        "Take one of them again.");
            }
            requireDepth(head.tag(), chain.size());
            Snapshot link = parent(tag, chain.get(0));
            chain.add(0, link);
            parent = link.manifest().parent();
        }
        for (int i = 1; i < chain.size(); i++) {
            requireSame(chain.get(i - 1), chain.get(i), call);
        }
    }

    static void requireDepth(SnapshotTag tag, int depth) {
        if (depth > MAX_DEPTH) {
            throw new ForkdException(
                    Kind.FAILED,
                    "the snapshot '" + tag + "' has more than " + MAX_DEPTH + " ancestors",
                    Remedy.Action.FLATTEN);
        }
    }

    private Snapshot parent(SnapshotTag tag, Snapshot child) {
        try {
            return store.open(tag);
        } catch (ForkdException e) {
            throw new ForkdException(
                    e.kind(),
                    "the parent '" + tag + "' of the snapshot '" + child.tag() + "' cannot be used: " + e.sentence(),
                    "Put it back as it was, or make '" + child.tag() + "' again.");
        }
    }

    private void requireSame(Snapshot parent, Snapshot child, Call call) {
        String expected = child.manifest().parent().map(Parent::contentHash).orElse("");
        String found = contentHash(parent, call);
        if (!found.equals(expected)) {
            throw new ForkdException(
                    Kind.DAMAGED,
                    "the parent '" + parent.tag() + "' is not what the snapshot '" + child.tag()
                            + "' was made of: it has the content " + found.substring(0, 12) + ", and had "
                            + expected.substring(0, 12),
                    "Put the old one back, or make '" + child.tag() + "' again.");
        }
    }

    /** Of what the snapshot restores to. Calculated the first time that a child is made of it, which takes a while. */
    String contentHash(Snapshot snapshot, Call call) {
        return store.with(
                List.of(snapshot),
                () -> ContentHash.noted(snapshot).orElseGet(() -> {
                    List<Snapshot> chain = resolve(snapshot, call);
                    return store.with(
                            chain,
                            () -> ContentHash.calculate(
                                    snapshot,
                                    memory(chain, call),
                                    layers(chain),
                                    percent -> call.step("hashing " + snapshot.tag() + ": " + percent + " %")));
                }));
    }

    /** One file that is the memory of the whole chain; made when there is none. */
    Path memory(List<Snapshot> chain, Call call) {
        Snapshot head = chain.get(chain.size() - 1);
        if (!head.isLayer()) {
            return head.memory();
        }
        Path flat = head.directory().resolve(Snapshot.MEMORY_FLAT);
        try {
            if (Files.exists(flat)) {
                return flat;
            }
            try (FileLock lock = FileLock.exclusive(
                            head.directory().resolve(Snapshot.FLATTEN_LOCK), "the memory of " + head.tag(), call);
                    // Not in its own folder, whose name may be another's before this is done.
                    OwnedDirectory made = store.stage(head.tag())) {
                if (!Files.exists(flat)) {
                    Path staged = made.path().resolve(Snapshot.MEMORY_FLAT);
                    List<Path> layers = new ArrayList<>();
                    int first = chain.size() - 1;
                    for (; chain.get(first).isLayer() && first > 0; first--) {
                        layers.add(0, chain.get(first).memory());
                    }
                    vmm.flattenMemory(chain.get(first).memory(), layers, staged);
                    store.change(head, () -> Trees.rename(staged, flat));
                    ContentHash.noteVerity(head, Optional.empty()); // What that was of is gone.
                }
                return flat;
            }
        } catch (IOException e) {
            throw ForkdException.of("put the memory of the snapshot '" + head.tag() + "' together", e);
        }
    }

    /** What children of the snapshot have as their memory, if it is there. */
    Optional<Path> mapped(Snapshot snapshot) {
        if (!snapshot.isLayer()) {
            return Optional.of(snapshot.memory());
        }
        return Optional.of(snapshot.directory().resolve(Snapshot.MEMORY_FLAT)).filter(Files::isRegularFile);
    }

    /**
     * Has the kernel check that from now on, page by page as it is read, where the file system can (fs-verity).
     *
     * @return its digest, which is to be noted when its content is known to be right
     */
    Optional<String> enableVerity(Snapshot snapshot, Call call) {
        Optional<Path> memory = mapped(snapshot);
        if (memory.isEmpty()) {
            return Optional.empty();
        }
        try {
            if (vmm.verity(memory.get()).isEmpty() && Files.isWritable(memory.get())) {
                call.step("having the kernel check the memory of " + snapshot.tag());
                if (!vmm.enableVerity(memory.get())) {
                    return Optional.empty();
                }
            }
            return vmm.verity(memory.get());
        } catch (VmmException e) {
            call.warn(
                    "the memory of the snapshot '" + snapshot.tag() + "' is not checked when it is read: "
                            + e.sentence(),
                    Remedy.NONE);
            return Optional.empty();
        }
    }

    /** The same of one whose content has just been read, and found to be right. */
    void enableVerity(SnapshotTag tag, Call call) {
        try {
            Snapshot snapshot = store.open(tag);
            ContentHash.noteVerity(snapshot, enableVerity(snapshot, call));
        } catch (ForkdException e) {
            // It has been removed or replaced meanwhile.
        }
    }

    /** What has to have fs-verity has the one that it had: then no child sees a page of it that is another. */
    void requireVerity(Snapshot snapshot) {
        Optional<String> noted = ContentHash.verity(snapshot);
        Optional<Path> memory = noted.isPresent() ? mapped(snapshot) : Optional.empty();
        if (memory.isEmpty()) {
            return;
        }
        Optional<String> found = vmm.verity(memory.get());
        if (!found.equals(noted)) {
            throw new ForkdException(
                    Kind.DAMAGED,
                    memory.get() + ", the memory of the snapshot '" + snapshot.tag()
                            + "', is not the file that it was: it has "
                            + (found.isPresent()
                                    ? "the fs-verity digest " + found.get().substring(0, 12) + ", and had "
                                            + noted.orElseThrow().substring(0, 12)
                                    : "no fs-verity any more"),
                    new Remedy.VerifySnapshot(snapshot.tag().value()));
        }
    }

    /** The layers of each disk, that of the first link first. */
    static List<List<Path>> layers(List<Snapshot> chain) {
        Snapshot head = chain.get(chain.size() - 1);
        List<List<Path>> disks = new ArrayList<>();
        for (int i = 0; i < head.manifest().disks().size(); i++) {
            List<Path> layers = new ArrayList<>();
            for (Snapshot link : chain) {
                link.layer(i).ifPresent(layers::add);
            }
            disks.add(layers);
        }
        return disks;
    }
}
