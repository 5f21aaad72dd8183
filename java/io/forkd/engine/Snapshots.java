package io.forkd.engine;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.Remedy;
import io.forkd.files.FileSize;
import io.forkd.files.OwnedDirectory;
import io.forkd.image.Digest;
import io.forkd.sandbox.Sandbox;
import io.forkd.snapshot.ContentHash;
import io.forkd.snapshot.Manifest;
import io.forkd.snapshot.Manifest.Layer;
import io.forkd.snapshot.Manifest.ManifestDisk;
import io.forkd.snapshot.Provenance;
import io.forkd.snapshot.RootDiskNote;
import io.forkd.snapshot.Snapshot;
import io.forkd.snapshot.SnapshotStore;
import io.forkd.snapshot.SnapshotTag;
import io.forkd.vmm.Disk;
import io.forkd.vmm.Vmm;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.function.Predicate;
import tools.jackson.databind.JsonNode;

/** Tells of snapshots, makes them flat and removes them, with regard to what depends on them. */
public final class Snapshots {
    private final Vmm vmm;
    private final SnapshotStore store;
    private final Chains chains;
    private final Servers servers;
    private final Sandboxes sandboxes;

    Snapshots(Vmm vmm, SnapshotStore store, Chains chains, Servers servers, Sandboxes sandboxes) {
        this.vmm = vmm;
        this.store = store;
        this.chains = chains;
        this.servers = servers;
        this.sandboxes = sandboxes;
    }

    public SnapshotInfo info(SnapshotTag tag, Call call) {
        Snapshot snapshot = store.read(tag);
        List<SnapshotTag> ancestors = new ArrayList<>();
        Optional<String> problem = Optional.empty();
        try {
            List<Snapshot> chain = chains.resolve(store.open(tag), call);
            chain.subList(0, chain.size() - 1).forEach(link -> ancestors.add(link.tag()));
            snapshot.requireImages();
            chains.requireVerity(snapshot);
        } catch (ForkdException e) {
            problem = Optional.of(e.sentence());
        }
        Optional<String> whyNot = problem;
        return store.with(
                List.of(snapshot),
                () -> new SnapshotInfo(
                        snapshot,
                        store.state(snapshot),
                        snapshot.isComplete() ? ContentHash.noted(snapshot) : Optional.empty(),
                        ContentHash.verity(snapshot).isPresent(),
                        ancestors,
                        store.dependents(tag),
                        files(snapshot),
                        whyNot));
    }

    /** The snapshot and all that it is a layer over, the first ancestor first; each has been found to be what it was. */
    public List<Snapshot> chain(SnapshotTag tag, Call call) {
        store.sweep();
        Snapshot snapshot = store.open(tag);
        store.read(tag, call.owner());
        return chains.resolve(snapshot, call);
    }

    /** What the snapshot restores to, as docs/formats.md has it. Takes a while the first time. */
    public String contentHash(Snapshot snapshot, Call call) {
        return chains.contentHash(snapshot, call);
    }

    /**
     * The same of one that has no name yet.
     *
     * @param under what it is a layer over, the first ancestor first; that may have no names either
     */
    public String contentHashOfStaged(List<Snapshot> under, Snapshot staged, Call call) {
        List<Snapshot> chain = new ArrayList<>(under);
        chain.add(staged);
        return ContentHash.calculate(
                staged,
                chains.memory(chain, call),
                Chains.layers(chain),
                percent -> call.step("reading " + staged.tag() + ": " + percent + " %"));
    }

    /**
     * A snapshot whose files were read.
     *
     * @param content its content hash
     * @param known whether that was noted before, and is the same; otherwise it is noted now
     * @param verity whether the kernel checks its memory whenever it is read, and every start that it does
     */
    public record Verified(SnapshotTag tag, String content, boolean known, boolean verity) {}

    /**
     * The image of a root disk that was read.
     *
     * @param content its SHA-256
     * @param known as of a snapshot
     */
    public record VerifiedDisk(Path image, String content, boolean known) {}

    /** What was read, the first ancestor first. */
    public record Verification(List<Verified> snapshots, List<VerifiedDisk> disks) {}

    /**
     * Reads all files of a snapshot and of what it is a layer over, and the images of their root disks. Fails when one has
     * another content than was noted when it was pushed, pulled, verified, or first had a snapshot over it.
     */
    public Verification verify(SnapshotTag tag, Call call) {
        List<Snapshot> chain = chain(tag, call);
        return store.with(chain, () -> {
            List<Verified> verified = new ArrayList<>();
            for (int i = 0; i < chain.size(); i++) {
                verified.add(verify(chain.subList(0, i + 1), call));
            }
            Map<Path, VerifiedDisk> disks = new LinkedHashMap<>();
            for (Snapshot link : chain) {
                Path image = link.image(link.manifest().disks().get(0));
                String content = disks.containsKey(image)
                        ? disks.get(image).content()
                        : hashOf(image, link.manifest().disks().get(0).bytes(), call);
                boolean known = requireRootDisk(link, image, content);
                disks.merge(
                        image,
                        new VerifiedDisk(image, content, known),
                        (one, other) -> new VerifiedDisk(image, content, one.known() || other.known()));
            }
            return new Verification(verified, List.copyOf(disks.values()));
        });
    }

    private static String hashOf(Path image, long bytes, Call call) {
        Percent percent = new Percent(call, "reading " + image, bytes);
        return Digest.ofFile(image, percent::add).hex();
    }

    /** Fails when the image is not what it was when that was noted; notes it when it was not. Says whether it was. */
    public static boolean requireRootDisk(Snapshot snapshot, Path image, String sha256) {
        Optional<String> noted = RootDiskNote.read(snapshot);
        if (noted.filter(before -> !before.equals(sha256)).isPresent()) {
            throw new ForkdException(
                    Kind.DAMAGED,
                    "the root disk " + image + " of the snapshot '" + snapshot.tag()
                            + "' is damaged: it has the content " + sha256.substring(0, 12) + ", and had "
                            + noted.get().substring(0, 12),
                    "Pull the snapshot again, or take it again.");
        }
        if (noted.isEmpty()) {
            RootDiskNote.write(snapshot.directory(), sha256);
        }
        return noted.isPresent();
    }

    private Verified verify(List<Snapshot> chain, Call call) {
        Snapshot snapshot = chain.get(chain.size() - 1);
        snapshot.requireImages();
        Path memory = chains.memory(chain, call);
        Optional<String> verity = chains.enableVerity(snapshot, call); // Before it is read: nobody writes to it then.
        Optional<String> noted = ContentHash.before(snapshot);
        if (noted.isEmpty()) {
            return verified(snapshot, chains.contentHash(snapshot, call), false, verity);
        }
        String found = ContentHash.ofFiles(
                snapshot,
                memory,
                Chains.layers(chain),
                percent -> call.step("reading " + snapshot.tag() + ": " + percent + " %"));
        if (!found.equals(noted.get())) {
            throw new ForkdException(
                    Kind.DAMAGED,
                    "the snapshot '" + snapshot.tag() + "' is damaged: it has the content " + found.substring(0, 12)
                            + ", and had " + noted.get().substring(0, 12),
                    "Pull it again, or take it again.");
        }
        return verified(snapshot, found, true, verity);
    }

    private static Verified verified(Snapshot snapshot, String content, boolean known, Optional<String> verity) {
        ContentHash.noteVerity(snapshot, verity);
        return new Verified(
                snapshot.tag(),
                content,
                known,
                verity.isPresent() && ContentHash.verity(snapshot).equals(verity));
    }

    /** Has the kernel check the memory of a snapshot whose content has just been read, where the file system can. */
    public void enableVerity(SnapshotTag tag, Call call) {
        chains.enableVerity(tag, call);
    }

    /** Fails when what was written down in that file cannot run on this machine. */
    public void requireMachine(Path vmstate) {
        vmm.requireMachine(vmstate);
    }

    /** Writes a whole memory with the layers over it, the first of the chain first, to a new file. */
    public void flattenMemory(Path base, List<Path> layers, Path out) {
        vmm.flattenMemory(base, layers, out);
    }

    /** Gives a snapshot the working set that one of the same content had. */
    public void know(SnapshotTag tag, byte[] workingSet) {
        WorkingSets.put(workingSet, store.directory(tag));
    }

    private static List<FileSize> files(Snapshot snapshot) {
        try {
            return FileSize.in(snapshot.directory()).stream()
                    .filter(file -> !file.name().startsWith("."))
                    .toList();
        } catch (IOException e) {
            throw ForkdException.of("look at the files of the snapshot '" + snapshot.tag() + "'", e);
        }
    }

    /**
     * Makes a snapshot that is a layer whole, so that it needs its ancestors no more. It restores to the same, which is
     * verified before it takes the other's place; those that depend on it go on doing so.
     */
    public void compact(SnapshotTag tag, Call call) {
        store.sweep();
        Snapshot snapshot = store.open(tag);
        if (snapshot.manifest().parent().isEmpty()) {
            throw new ForkdException(Kind.CONFLICT, "the snapshot '" + tag + "' is flat already");
        }
        compact(snapshot, tag, snapshot.manifest().createdAt(), false, Map.of(), call);
    }

    /** Makes a snapshot that restores to the same as another, and needs nothing of it. */
    public void compact(SnapshotTag from, SnapshotTag to, Call call) {
        compact(from, to, false, Map.of(), call);
    }

    /**
     * The same.
     *
     * @param replace whether a snapshot of that tag may be replaced
     * @param fields what its manifest is to say beside, or otherwise
     */
    public void compact(SnapshotTag from, SnapshotTag to, boolean replace, Map<String, JsonNode> fields, Call call) {
        store.sweep();
        if (!replace) {
            store.requireFree(to);
        }
        Snapshot source = store.open(from);
        store.read(from, call.owner());
        compact(source, to, Instant.now(), replace, fields, call);
        sandboxes.events().happened(Events.Kind.SNAPSHOT_MADE, to.value(), owner(store, to), "");
        new Provenance("compact:" + from, Optional.empty()).note(store.directory(to));
    }

    private void compact(
            Snapshot snapshot,
            SnapshotTag to,
            Instant createdAt,
            boolean replace,
            Map<String, JsonNode> fields,
            Call call) {
        List<Snapshot> chain = chains.resolve(snapshot, call);
        store.with(chain, () -> {
            compact(snapshot, chain, to, createdAt, replace, fields, call);
            return true;
        });
    }

    private void compact(
            Snapshot snapshot,
            List<Snapshot> chain,
            SnapshotTag to,
            Instant createdAt,
            boolean replace,
            Map<String, JsonNode> fields,
            Call call) {
        SnapshotTag tag = snapshot.tag();
        String before = chains.contentHash(snapshot, call);
        call.step("putting the memory of " + tag + " together");
        Path memory = chains.memory(chain, call);
        try (OwnedDirectory staged = store.stage(to)) {
            // The same files under other names: nobody writes to them.
            Files.createLink(staged.path().resolve(Snapshot.MEMORY), memory);
            Files.createLink(staged.path().resolve(Snapshot.VMSTATE), snapshot.vmstate());
            List<ManifestDisk> disks = new ArrayList<>();
            List<List<Path>> merged = new ArrayList<>();
            for (int i = 0; i < snapshot.manifest().disks().size(); i++) {
                List<Path> layers = Chains.layers(chain).get(i);
                ManifestDisk disk = snapshot.manifest().disks().get(i);
                Optional<Layer> layer = Optional.empty();
                merged.add(List.of());
                if (!layers.isEmpty()) {
                    Path out = staged.path().resolve(Snapshot.layerName(i));
                    call.step("merging the layers of disk " + i);
                    vmm.flattenDisk(new Disk(snapshot.image(disk), Disk.Mode.PRIVATE, layers), out);
                    layer = Optional.of(new Layer(Snapshot.layerName(i), Files.size(out)));
                    merged.set(i, List.of(out));
                }
                disks.add(new ManifestDisk(disk.image(), disk.readOnly(), disk.bytes(), disk.modified(), layer));
            }
            Manifest flat = flat(snapshot, store.directory(to), disks, createdAt)
                    .ownedBy(call.owner())
                    .with(fields);
            // By their names where they are now: where they will be, what is replaced may have the same.
            String after = ContentHash.calculate(
                    new Snapshot(to, staged.path(), flat(snapshot, staged.path(), disks, createdAt)),
                    staged.path().resolve(Snapshot.MEMORY),
                    merged,
                    percent -> call.step("comparing with what it was: " + percent + " %"));
            if (!after.equals(before)) {
                throw new ForkdException(
                        Kind.DAMAGED,
                        "the snapshot '" + tag + "' would not restore to the same; it was left as it is",
                        "One of its files, or of its ancestors', has been damaged.");
            }
            ContentHash.noteVerity(new Snapshot(to, staged.path(), flat), vmm.verity(memory)); // It goes with the file.
            byte[] known = WorkingSets.of(snapshot);
            if (to.equals(tag)) {
                store.replace(staged, snapshot, flat);
            } else {
                store.install(staged, to, flat, replace);
            }
            WorkingSets.put(known, store.directory(to));
        } catch (IOException e) {
            throw ForkdException.of("make the snapshot '" + tag + "' flat", e);
        }
    }

    private static Manifest flat(Snapshot snapshot, Path directory, List<ManifestDisk> disks, Instant createdAt) {
        Manifest old = snapshot.manifest();
        return new Manifest(
                directory.resolve(Snapshot.VMSTATE),
                directory.resolve(Snapshot.MEMORY),
                old.memoryBytes(),
                old.volumes(),
                old.rootfs(),
                Optional.empty(),
                disks,
                old.machine(),
                old.network(),
                createdAt,
                old.rest());
    }

    /**
     * What it takes to remove snapshots.
     *
     * @param all that are to go, the last of each chain first
     * @param orphans that are left without their parent
     * @param refused why some of those that were asked for cannot go; then none should
     */
    public record Removal(List<SnapshotTag> all, List<SnapshotTag> orphans, Map<SnapshotTag, ForkdException> refused) {}

    /**
     * Looks at all that is to go before any of it does: what must be refused leaves everything there.
     *
     * @param cascade with all that depend on them
     * @param force although others depend on them, or something that lives uses them
     */
    public Removal planRemoval(Collection<SnapshotTag> tags, boolean cascade, boolean force) {
        Set<SnapshotTag> all = new LinkedHashSet<>();
        Set<SnapshotTag> orphans = new LinkedHashSet<>();
        Map<SnapshotTag, ForkdException> refused = new LinkedHashMap<>();
        for (SnapshotTag tag : tags) {
            try {
                List<SnapshotTag> others = cascade
                        ? List.of()
                        : store.dependents(tag).stream()
                                .filter(each -> !tags.contains(each))
                                .toList();
                if (!others.isEmpty() && !force) {
                    throw new ForkdException(
                            Kind.CONFLICT,
                            "the snapshot '" + tag + "' is the parent of " + others,
                            Remedy.Action.REMOVE_DEPENDENTS_OR_FORCE);
                }
                Set<SnapshotTag> going = new LinkedHashSet<>();
                addDependents(tag, new HashSet<>(Set.of(tag)), going, each -> cascade || tags.contains(each));
                going.add(tag);
                going.forEach(store::existing);
                if (!force) {
                    going.forEach(each -> requireUnused(each, cascade));
                }
                all.addAll(going);
                orphans.addAll(others);
            } catch (ForkdException e) {
                refused.put(tag, e);
            }
        }
        return new Removal(List.copyOf(all), List.copyOf(orphans), refused);
    }

    /** Removes one of a {@link Removal}, unless something has come to use it, or to depend on it, since that was made. */
    public void remove(SnapshotTag tag, Removal plan, boolean evenIfUsed) {
        remove(
                tag,
                evenIfUsed,
                each -> plan.all().contains(each) || plan.orphans().contains(each));
    }

    private void remove(SnapshotTag tag, boolean evenIfUsed, Predicate<SnapshotTag> mayLoseIt) {
        Optional<String> owner = owner(store, tag);
        store.remove(tag, evenIfUsed, mayLoseIt);
        sandboxes.events().happened(Events.Kind.SNAPSHOT_REMOVED, tag.value(), owner, "");
    }

    /** The user whose it is. */
    static Optional<String> owner(SnapshotStore store, SnapshotTag tag) {
        try {
            return store.read(tag).manifest().owner();
        } catch (ForkdException e) {
            return Optional.empty();
        }
    }

    /** Removes one on which nothing depends, unless that is to be left without it. */
    public void remove(SnapshotTag tag, boolean force) {
        remove(tag, force, each -> force);
    }

    /** The last of each chain first. */
    private void addDependents(
            SnapshotTag tag, Set<SnapshotTag> seen, Set<SnapshotTag> all, Predicate<SnapshotTag> goes) {
        for (SnapshotTag dependent : store.dependents(tag)) {
            if (goes.test(dependent) && seen.add(dependent)) {
                addDependents(dependent, seen, all, goes);
                all.add(dependent);
            }
        }
    }

    /** Something that cannot even be read is used by nobody. */
    private Optional<Snapshot> readable(SnapshotTag tag) {
        try {
            return Optional.of(store.read(tag));
        } catch (ForkdException e) {
            return Optional.empty();
        }
    }

    private void requireUnused(SnapshotTag tag, boolean cascade) {
        Optional<Snapshot> snapshot = readable(tag);
        List<Sandbox> users =
                snapshot.map(there -> sandboxes.of(Servers.origin(there))).orElse(List.of());
        List<String> pools = users.stream()
                .filter(Sandbox::isPools)
                .map(user -> user.pool().orElseThrow().pool())
                .distinct()
                .sorted()
                .toList();
        if (!pools.isEmpty()) {
            throw new ForkdException(
                    Kind.CONFLICT,
                    "the snapshot '" + tag + "' is what the pools " + pools + " make their sandboxes of",
                    "Delete them first: they would make again what is ended.");
        }
        if (!users.isEmpty()) {
            List<String> ids = users.stream().map(Sandbox::id).toList();
            throw new ForkdException(
                    Kind.CONFLICT,
                    "the snapshot '" + tag + "' is used by the sandboxes " + ids,
                    new Remedy.EndSandboxes(ids, !cascade));
        }
        try {
            store.requireUnused(tag, false);
            snapshot.ifPresent(servers::requireUnused);
        } catch (ForkdException e) {
            throw cascade ? new ForkdException(e.kind(), e.sentence(), "End it first. Nothing was removed.") : e;
        }
    }

    /** What is left of branches that failed. */
    public List<SnapshotTag> failed() {
        return store.failed();
    }
}
