package io.forkd.snapshot;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.Remedy;
import io.forkd.files.FileLock;
import io.forkd.files.FileSize;
import io.forkd.files.OwnedDirectory;
import io.forkd.files.Trees;
import io.forkd.snapshot.Snapshot.State;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.time.Instant;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.function.Predicate;
import java.util.function.Supplier;

/**
 * The snapshots under one folder, {@code <root>/<tag>/}.
 *
 * <p>A snapshot is made in {@code .staging-<tag>-<random>/} beside its place and renamed when it is complete, is renamed
 * to {@code .trash-...} before it is removed, and to {@code .replaced-<tag>-...} before another takes its place: a tag is
 * there completely or not at all, whatever dies when. Only a branch gets its name before it is written: until its vmstate
 * is there it is {@link State#WRITING}, and {@link State#FAILED} when its writer is gone. What a dead process left is set
 * right by {@link #sweep}, which every start calls.
 */
public final class SnapshotStore {
    private static final String STAGING = ".staging-";
    private static final String TRASH = ".trash-";
    private static final String REPLACED = ".replaced-";

    /** In a staged directory: the snapshots of it that are given their names. */
    private static final String ARRIVING = ".arriving";

    /** All that a branch has before its guest is asked. */
    private static final Set<String> REGISTERED = Set.of(
            Snapshot.MANIFEST,
            "." + Snapshot.MANIFEST,
            Snapshot.WORKING_SET,
            OwnedDirectory.LOCK,
            Provenance.FILE,
            Provenance.STAGED);

    private final Path root;
    private final Writers writers;

    /** Knows who writes branches, and who has forked from snapshots. */
    public interface Writers {
        boolean isWriting(Snapshot snapshot);

        /** Fails when children of it live, or when that cannot be told. */
        void requireUnused(Snapshot snapshot);

        /** Ends who writes it, or waits for somebody to fork from it. */
        void end(Snapshot snapshot);
    }

    public SnapshotStore(Path root, Writers writers) {
        this.root = root;
        this.writers = writers;
    }

    public Path root() {
        return root;
    }

    /** A line of the listing. */
    public record Entry(
            String tag,
            Path directory,
            State state,
            long memoryBytes,
            Optional<Instant> modified,
            boolean hasRootfs,
            Optional<SnapshotTag> parent) {

        /** What it takes on the disk, without what can be made again at any time. */
        public long bytes() {
            try {
                return FileSize.in(directory).stream()
                        .filter(file -> !Snapshot.isCache(file.name()))
                        .mapToLong(FileSize::physical)
                        .sum();
            } catch (IOException e) {
                throw ForkdException.of("look at the files of the snapshot '" + tag + "'", e);
            }
        }
    }

    /** Every directory of the store, usable or not; newest first, then by name. */
    public List<Entry> list() {
        try {
            List<Entry> entries = new ArrayList<>();
            for (Path directory : Trees.list(root)) {
                String name = directory.getFileName().toString();
                if (!name.startsWith(".") && Files.isDirectory(directory)) {
                    entries.add(entry(name, directory));
                }
            }
            entries.sort(SnapshotStore::compare);
            return entries;
        } catch (IOException e) {
            throw ForkdException.of("list " + root, e);
        }
    }

    /**
     * The disk images that snapshots need, and those that may come back since what replaces them is not written yet. One
     * that cannot be read stops this.
     */
    public Set<Path> diskImages() {
        if (!Files.isDirectory(root)) {
            return Set.of();
        }
        Set<Path> images = new HashSet<>();
        try (FileLock all = lock()) {
            for (Path directory : Trees.list(root)) {
                String name = directory.getFileName().toString();
                if (Files.isDirectory(directory) && (!name.startsWith(".") || name.startsWith(REPLACED))) {
                    Manifest.read(directory.resolve(Snapshot.MANIFEST))
                            .disks()
                            .forEach(disk -> images.add(disk.image()));
                }
            }
            return images;
        } catch (IOException e) {
            throw ForkdException.of("list " + root, e);
        }
    }

    /** Not put together by Comparator: its lambdas, which can be serialized, are not in the class-data archive. */
    private static int compare(Entry a, Entry b) {
        int later = b.modified().orElse(Instant.EPOCH).compareTo(a.modified().orElse(Instant.EPOCH));
        return later != 0 ? later : a.tag().compareTo(b.tag());
    }

    private Entry entry(String name, Path directory) throws IOException {
        Optional<Instant> modified = Optional.empty();
        try {
            modified = Optional.of(Files.getLastModifiedTime(directory).toInstant());
        } catch (IOException e) {
            // shown as unknown
        }
        return new Entry(
                name,
                directory,
                state(name, directory),
                memoryBytes(directory),
                modified,
                Files.isRegularFile(directory.resolve("rootfs.ext4")),
                parent(directory));
    }

    private static long memoryBytes(Path directory) {
        for (String name : List.of(Snapshot.MEMORY, Snapshot.MEMORY_LAYER)) {
            try {
                return Files.size(directory.resolve(name));
            } catch (IOException e) {
                // It is the other one, or being removed, or not ours to look at.
            }
        }
        return 0;
    }

    private static Optional<SnapshotTag> parent(Path directory) {
        try {
            return Manifest.read(directory.resolve(Snapshot.MANIFEST)).parent().map(Manifest.Parent::tag);
        } catch (ForkdException e) {
            return Optional.empty(); // What cannot be read depends on nothing.
        }
    }

    /** What the files and the living say of the snapshot. */
    public State state(Snapshot snapshot) {
        if (snapshot.isComplete()) {
            return State.COMPLETE;
        }
        try {
            if (OwnedDirectory.isOwned(snapshot.directory())
                    || (!snapshot.isLeftByPull() && writers.isWriting(snapshot))) {
                return State.WRITING;
            }
        } catch (IOException e) {
            throw ForkdException.of("look at " + snapshot.directory(), e);
        }
        // It may have been completed between the two looks.
        return snapshot.isComplete() ? State.COMPLETE : State.FAILED;
    }

    /** Branches that failed; what cannot be read is none, for all that is known. */
    public List<SnapshotTag> failed() {
        return list().stream()
                .filter(entry -> entry.state() == State.FAILED
                        && Files.exists(entry.directory().resolve(Snapshot.MANIFEST))
                        && known(entry.directory()).equals(Optional.of(State.FAILED)))
                .map(entry -> new SnapshotTag(entry.tag()))
                .toList();
    }

    private State state(String name, Path directory) {
        try {
            return state(Snapshot.read(new SnapshotTag(name), directory));
        } catch (ForkdException e) {
            return State.FAILED;
        }
    }

    /** The snapshot as far as it is there; only its manifest has been looked at. */
    public Snapshot read(SnapshotTag tag) {
        return Snapshot.read(tag, existing(tag));
    }

    /** The same for a user, if one is named: what is another's is not there. */
    public Snapshot read(SnapshotTag tag, Optional<String> user) {
        Snapshot snapshot = read(tag);
        Optional<String> owner = snapshot.manifest().owner();
        if (user.isPresent() && owner.isPresent() && !owner.equals(user)) {
            throw notFound(tag);
        }
        return snapshot;
    }

    /** A complete snapshot, whose files have been looked at. */
    public Snapshot open(SnapshotTag tag) {
        Snapshot snapshot = read(tag);
        return with(List.of(snapshot), () -> {
            requireComplete(snapshot);
            return snapshot.check();
        });
    }

    /**
     * Does what needs these snapshots. When it fails and one of them was replaced or removed since it was read, that is
     * why, whatever it came upon first.
     */
    public <T> T with(List<Snapshot> needed, Supplier<T> job) {
        try {
            return job.get();
        } catch (ForkdException e) {
            needed.forEach(this::requireUnchanged);
            throw e;
        }
    }

    /** As {@link #with}; until it is done they are marked as used, so that nobody removes them. */
    public <T> T using(List<Snapshot> needed, Supplier<T> job) {
        return with(needed, () -> {
            List<FileLock> held = new ArrayList<>();
            try {
                needed.forEach(each -> each.use().ifPresent(held::add));
                return job.get();
            } finally {
                held.forEach(FileLock::close);
            }
        });
    }

    private void requireComplete(Snapshot snapshot) {
        switch (state(snapshot)) {
            case COMPLETE -> {}
            case WRITING ->
                throw new ForkdException(
                        Kind.CONFLICT,
                        "the snapshot '" + snapshot.tag() + "' is still being written",
                        "Try again later.");
            case FAILED -> {
                Provenance.of(snapshot.directory())
                        .flatMap(Provenance::pulledFrom)
                        .ifPresent(reference -> {
                            throw new ForkdException(
                                    Kind.DAMAGED,
                                    "the snapshot '" + snapshot.tag() + "' is not all here: it was being pulled from "
                                            + reference + ", which ended too early" + snapshot.whyLeft(),
                                    "Pull it again: that goes on where it ended.");
                        });
                throw new ForkdException(
                        Kind.DAMAGED,
                        "the snapshot '" + snapshot.tag() + "' failed: vmstate, which is written last, is missing",
                        new Remedy.RetakeSnapshot(snapshot.tag().value()));
            }
        }
    }

    /** Fails early when a tag is taken; {@link #install} decides. A snapshot that failed takes none. */
    public void requireFree(SnapshotTag tag) {
        if (Files.exists(directory(tag), LinkOption.NOFOLLOW_LINKS)) {
            Optional<Snapshot> there = readable(tag);
            State state = there.map(this::state).orElse(State.COMPLETE);
            if (state == State.FAILED) {
                return;
            }
            if (state == State.WRITING) {
                throw new ForkdException(
                        Kind.CONFLICT, "the snapshot '" + tag + "' is still being written", "Choose another tag.");
            }
            throw new ForkdException(
                    Kind.CONFLICT,
                    "the snapshot '" + tag + "' exists already",
                    new Remedy.ReplaceSnapshot(tag.value()));
        }
    }

    private Optional<Snapshot> readable(SnapshotTag tag) {
        try {
            return Optional.of(read(tag));
        } catch (ForkdException e) {
            return Optional.empty();
        }
    }

    /** A new directory to make a snapshot in; on the same file system as its place. */
    public OwnedDirectory stage(SnapshotTag tag) {
        try {
            Files.createDirectories(root);
            return OwnedDirectory.create(root, STAGING + tag + "-");
        } catch (IOException e) {
            throw ForkdException.of("make a directory in " + root, e);
        }
    }

    /** Where {@code tag} will be, or is. */
    public Path directory(SnapshotTag tag) {
        return root.resolve(tag.value());
    }

    /**
     * Completes a snapshot: writes the manifest as its last file and gives the staged directory its name.
     *
     * @param replace whether an existing snapshot of that name is replaced; its children keep what they have mapped
     */
    public void install(OwnedDirectory staged, SnapshotTag tag, Manifest manifest, boolean replace) {
        install(staged, tag, manifest, replace, Optional.empty());
    }

    /**
     * The same of a layer.
     *
     * @param parent that it is over: it must not have been replaced or removed since it was read
     */
    public void install(
            OwnedDirectory staged, SnapshotTag tag, Manifest manifest, boolean replace, Optional<Snapshot> parent) {
        register(staged, tag, manifest, replace, parent);
        staged.release();
        sweep();
    }

    /** As {@link #install}, in the place of {@code old}, and of nothing that has come there since that was read. */
    public void replace(OwnedDirectory staged, Snapshot old, Manifest manifest) {
        register(staged, old.tag(), manifest, true, Optional.of(old));
        staged.release();
        sweep();
    }

    /** Fails when a snapshot was replaced or removed since it was read: what has been opened may be another's. */
    public void requireUnchanged(Snapshot snapshot) {
        Optional<Manifest> now = readable(snapshot.tag()).map(Snapshot::manifest);
        Manifest then = snapshot.manifest();
        // A manifest is written again for a branch's disks.
        if (now.filter(manifest -> manifest.createdAt().equals(then.createdAt())
                        && manifest.memory().equals(then.memory()))
                .isEmpty()) {
            throw new ForkdException(
                    Kind.CONFLICT,
                    "the snapshot '" + snapshot.tag() + "' was replaced or removed at this moment",
                    "Try again.");
        }
    }

    /**
     * Gives the staged directory of a branch its name, before anything but the manifest is in it. Until the caller
     * releases it, or a writer is alive, nobody else may write a snapshot of that tag. What it replaces is removed by
     * the sweep that finds the branch complete, and put back by one that finds it failed.
     *
     * @param expected what must not have been replaced or removed since it was read: what it lies on, or what it replaces
     */
    public void register(
            OwnedDirectory staged, SnapshotTag tag, Manifest manifest, boolean replace, Optional<Snapshot> expected) {
        try {
            prepare(staged.path(), manifest);
            try (FileLock all = lock()) {
                expected.ifPresent(this::requireUnchanged);
                place(staged.path(), tag, replace);
            }
        } catch (IOException e) {
            throw ForkdException.of("complete the snapshot '" + tag + "' in " + root, e);
        }
    }

    private static void prepare(Path staged, Manifest manifest) throws IOException {
        Path workingSet = staged.resolve(Snapshot.WORKING_SET);
        if (!Files.exists(workingSet)) {
            // Made later, it would give the snapshot a new time, and with it another place in the list.
            Files.createFile(workingSet);
        }
        Trees.writeNew(staged.resolve(Snapshot.MANIFEST), manifest.encode());
        Trees.sync(staged);
    }

    /** Gives it its name, while the store is locked. */
    void place(Path staged, SnapshotTag tag, boolean replace) throws IOException {
        Path directory = directory(tag);
        Optional<Snapshot> old = Optional.empty();
        if (Files.exists(directory, LinkOption.NOFOLLOW_LINKS)) {
            old = readable(tag);
            if (!replace || old.map(this::state).equals(Optional.of(State.WRITING))) {
                requireFree(tag);
            }
            boolean failed = old.map(this::state).equals(Optional.of(State.FAILED));
            setAside(directory, failed ? TRASH : REPLACED);
        }
        Trees.rename(staged, directory);
    }

    /**
     * A snapshot that came from elsewhere.
     *
     * @param staged a directory in the staged one, with all its files but the manifest
     */
    public record Arrived(SnapshotTag tag, Path staged, Manifest manifest) {}

    /**
     * Completes snapshots that came together: all of them, or none, whoever is killed meanwhile.
     *
     * @param staged what all of them are in
     * @param chain the first ancestor first
     * @param replace whether existing snapshots of these names are replaced; their children keep what they have mapped
     */
    public void install(OwnedDirectory staged, List<Arrived> chain, boolean replace) {
        install(staged, chain, tag -> replace, List.of());
    }

    /**
     * The same.
     *
     * @param replace which of them may take another's place
     * @param under what some are layers over: none of it must have been replaced or removed since it was read
     */
    public void install(
            OwnedDirectory staged, List<Arrived> chain, Predicate<SnapshotTag> replace, List<Snapshot> under) {
        try {
            for (Arrived link : chain) {
                prepare(link.staged(), link.manifest());
            }
            begin(staged.path(), chain);
            try (FileLock all = lock()) {
                under.forEach(this::requireUnchanged);
                for (Arrived link : chain) {
                    if (!replace.test(link.tag())
                            || readable(link.tag()).map(this::state).equals(Optional.of(State.WRITING))) {
                        requireFree(link.tag());
                    }
                }
                try {
                    for (Arrived link : chain) {
                        place(link.staged(), link.tag(), replace.test(link.tag()));
                    }
                    Files.delete(staged.path().resolve(ARRIVING));
                    Trees.sync(staged.path());
                } catch (IOException | ForkdException e) {
                    takeBack(staged.path()); // The sweep below deletes it.
                    throw e;
                }
            }
        } catch (IOException e) {
            throw ForkdException.of("complete what has arrived in " + root, e);
        } finally {
            sweep(); // What was replaced goes, or comes back.
        }
    }

    /** Notes which they are: as long as that is there, none of them counts. */
    void begin(Path staged, List<Arrived> chain) throws IOException {
        StringBuilder lines = new StringBuilder();
        for (Arrived link : chain) {
            lines.append(link.tag())
                    .append(' ')
                    .append(link.manifest().createdAt())
                    .append('\n');
        }
        Trees.writeNew(staged.resolve(ARRIVING), lines.toString().getBytes(StandardCharsets.US_ASCII));
        Trees.sync(staged);
    }

    /** Sets those aside that have their names already, while the store is locked; what is to be deleted. */
    private List<Path> takeBack(Path staged) throws IOException {
        List<Path> trash = new ArrayList<>();
        Path note = staged.resolve(ARRIVING);
        if (!Files.isRegularFile(note, LinkOption.NOFOLLOW_LINKS)) {
            return trash;
        }
        for (String line : Files.readAllLines(note, StandardCharsets.US_ASCII)) {
            int space = line.indexOf(' ');
            SnapshotTag tag = new SnapshotTag(line.substring(0, Math.max(0, space)));
            boolean placed = readable(tag)
                    .filter(there -> there.manifest().createdAt().toString().equals(line.substring(space + 1)))
                    .isPresent();
            if (placed) {
                trash.add(setAside(directory(tag), TRASH));
            }
        }
        return trash;
    }

    /** Puts another manifest in the place of what was {@link #register registered}. */
    public void rewrite(SnapshotTag tag, Manifest manifest) {
        Path directory = directory(tag);
        Path staged = directory.resolve("." + Snapshot.MANIFEST);
        try {
            Trees.writeNew(staged, manifest.encode());
            Trees.rename(staged, directory.resolve(Snapshot.MANIFEST));
        } catch (IOException e) {
            throw ForkdException.of("write " + staged, e);
        }
    }

    /** Changes files. */
    public interface Change {
        void make() throws IOException;
    }

    /**
     * Changes a snapshot's files; nobody replaces or removes it meanwhile. Fails when somebody did since it was read. What
     * is in a staged directory has no name yet that could become another's.
     */
    public void change(Snapshot snapshot, Change change) throws IOException {
        boolean staged = String.valueOf(root.getFileName()).startsWith(STAGING)
                || !snapshot.directory().equals(directory(snapshot.tag()));
        if (staged) {
            change.make();
            return;
        }
        try (FileLock all = lock()) {
            requireUnchanged(snapshot);
            change.make();
        }
    }

    /** Takes back what {@link #register} did, after the branch could not be made; unless somebody has removed it. */
    public void unregister(OwnedDirectory registered, Snapshot branch) {
        Path directory = directory(branch.tag());
        try {
            try (FileLock all = lock()) {
                boolean there = readable(branch.tag())
                        .filter(found -> found.manifest()
                                .createdAt()
                                .equals(branch.manifest().createdAt()))
                        .isPresent();
                if (there) {
                    setAside(directory, TRASH);
                }
            }
            registered.release();
            sweep();
        } catch (IOException e) {
            throw ForkdException.of("remove " + directory, e);
        }
    }

    /** Removes one that nothing can depend on, if it is there. */
    public void discard(SnapshotTag tag) {
        Path directory = directory(tag);
        try {
            Optional<Path> trash = Optional.empty();
            try (FileLock all = lock()) {
                if (Files.exists(directory, LinkOption.NOFOLLOW_LINKS)) {
                    trash = Optional.of(setAside(directory, TRASH));
                }
            }
            if (trash.isPresent()) {
                Trees.delete(trash.get());
            }
        } catch (IOException e) {
            throw ForkdException.of("remove " + directory, e);
        }
    }

    /** Tags of the snapshots whose parent this is. */
    public List<SnapshotTag> dependents(SnapshotTag tag) {
        return list().stream()
                .filter(entry -> entry.parent().equals(Optional.of(tag)))
                .map(entry -> new SnapshotTag(entry.tag()))
                .sorted()
                .toList();
    }

    /** Fails when a running fork uses the snapshot, or a branch is being made of that name at this moment. */
    public void requireUnused(SnapshotTag tag, boolean evenIfUsed) {
        try {
            if (!evenIfUsed && OwnedDirectory.isAlive(directory(tag))) {
                throw new ForkdException(
                        Kind.CONFLICT,
                        "the snapshot '" + tag + "' is in use by a running fork",
                        Remedy.Action.END_USER_OR_FORCE);
            }
        } catch (IOException e) {
            throw ForkdException.of("look at " + directory(tag), e);
        }
    }

    /**
     * Removes one snapshot, and what it was to replace, should it be a branch that is not complete; whoever writes it, or
     * waits to fork from it, ends. What is refused leaves all of that as it is.
     *
     * @param evenIfUsed also when a running fork uses it; children keep what they have mapped
     * @param mayLoseIt which of those that have it as their parent may be left without
     */
    public void remove(SnapshotTag tag, boolean evenIfUsed, Predicate<SnapshotTag> mayLoseIt) {
        Path directory = existing(tag);
        List<Path> trash = new ArrayList<>();
        try {
            Optional<Snapshot> snapshot;
            try (FileLock all = lock()) {
                existing(tag); // Others may have been faster.
                snapshot = readable(tag); // Something that cannot even be read is used by nobody.
                requireUnused(tag, evenIfUsed);
                if (!evenIfUsed) {
                    snapshot.ifPresent(writers::requireUnused);
                }
                requireNoOthers(tag, mayLoseIt);
                for (Path entry : Trees.list(root)) {
                    if (entry.getFileName().toString().startsWith(REPLACED)
                            && home(entry).equals(directory)) {
                        trash.add(setAside(entry, TRASH));
                    }
                }
                trash.add(setAside(directory, TRASH));
            }
            snapshot.ifPresent(writers::end);
            for (Path each : trash) {
                Trees.delete(each);
            }
        } catch (IOException e) {
            throw ForkdException.of("remove " + directory, e);
        }
    }

    /** Nobody can come to depend on it while the store is locked. */
    private void requireNoOthers(SnapshotTag tag, Predicate<SnapshotTag> mayLoseIt) {
        List<SnapshotTag> others =
                dependents(tag).stream().filter(mayLoseIt.negate()).toList();
        if (!others.isEmpty()) {
            throw new ForkdException(
                    Kind.CONFLICT,
                    "the snapshot '" + tag + "' is the parent of " + others + ", made at this moment",
                    "Try again.");
        }
    }

    /** What processes that died left in the store, and nobody can use. */
    public List<Path> leftovers() {
        try {
            List<Path> found = new ArrayList<>(OwnedDirectory.abandoned(root, STAGING));
            for (Path entry : Trees.list(root)) {
                String name = entry.getFileName().toString();
                if (Trees.isOurs(entry)
                        && (name.startsWith(TRASH)
                                || (name.startsWith(REPLACED) && !isAwaited(entry))
                                || wasNeverBegun(entry))) {
                    found.add(entry);
                }
            }
            return found;
        } catch (IOException e) {
            throw ForkdException.of("list " + root, e);
        }
    }

    /** Sets right what {@link #leftovers} finds. What cannot be removed hinders nobody; forkd cleanup says why. */
    public void sweep() {
        if (!Files.isWritable(root)) {
            return;
        }
        for (Path leftover : leftovers()) {
            try {
                setRight(leftover);
            } catch (IOException e) {
                // The next sweep tries again.
            }
        }
    }

    /** Removes one of {@link #leftovers}, or gives it its name back: then it is where this says. */
    public Optional<Path> setRight(Path leftover) throws IOException {
        String name = leftover.getFileName().toString();
        if (name.startsWith(STAGING)) {
            if (Files.exists(leftover.resolve(ARRIVING), LinkOption.NOFOLLOW_LINKS)) {
                List<Path> trash;
                try (FileLock all = lock()) {
                    trash = OwnedDirectory.isAlive(leftover) ? List.of() : takeBack(leftover);
                }
                for (Path each : trash) {
                    Trees.delete(each);
                }
            }
            OwnedDirectory.removeAbandoned(leftover);
            return Optional.empty();
        }
        Optional<Path> home = Optional.empty();
        Optional<Path> trash = Optional.of(leftover);
        if (!name.startsWith(".")) {
            try (FileLock all = lock()) {
                trash = wasNeverBegun(leftover) ? Optional.of(setAside(leftover, TRASH)) : Optional.empty();
            }
        } else if (name.startsWith(REPLACED)) {
            try (FileLock all = lock()) {
                boolean there = Files.exists(leftover, LinkOption.NOFOLLOW_LINKS);
                trash = restore(leftover);
                home = Optional.of(home(leftover))
                        .filter(back -> there && !Files.exists(leftover, LinkOption.NOFOLLOW_LINKS));
            }
        }
        if (trash.isPresent()) {
            Trees.delete(trash.get());
        }
        return home;
    }

    /** Its folder; fails when there is no such snapshot, usable or not. */
    public Path existing(SnapshotTag tag) {
        Path directory = directory(tag);
        if (!Files.isDirectory(directory)) {
            throw notFound(tag);
        }
        return directory;
    }

    private ForkdException notFound(SnapshotTag tag) {
        return new ForkdException(
                Kind.NOT_FOUND,
                "there is no snapshot '" + tag + "' in " + root,
                new Remedy.ListOrMakeSnapshot(tag.value()));
    }

    private FileLock lock() throws IOException {
        return FileLock.exclusive(root.resolve(OwnedDirectory.LOCK));
    }

    private Path setAside(Path directory, String prefix) throws IOException {
        Path aside = root.resolve(prefix + directory.getFileName() + "-" + System.nanoTime());
        Trees.rename(directory, aside);
        return aside;
    }

    /**
     * Between the two renames of a replacement a process may have died, or a branch failed: the old one comes back.
     * Returns what is to be deleted.
     */
    private Optional<Path> restore(Path replaced) throws IOException {
        Path home = home(replaced);
        if (!Files.exists(replaced, LinkOption.NOFOLLOW_LINKS) || isAwaited(replaced)) {
            return Optional.empty();
        }
        Optional<Path> failed = Optional.empty();
        if (Files.exists(home, LinkOption.NOFOLLOW_LINKS)) {
            if (!known(home).equals(Optional.of(State.FAILED))) {
                return Optional.of(replaced);
            }
            failed = Optional.of(setAside(home, TRASH));
        }
        Trees.rename(replaced, home);
        return failed;
    }

    /**
     * Whether it is a branch whose maker died when it had its name, and the guest had not been asked yet. One that failed
     * later stays, so that somebody is told.
     */
    private boolean wasNeverBegun(Path directory) throws IOException {
        if (String.valueOf(directory.getFileName()).startsWith(".")
                || !Files.isRegularFile(directory.resolve(Snapshot.MANIFEST), LinkOption.NOFOLLOW_LINKS)
                || Files.exists(directory.resolve(Snapshot.VMSTATE), LinkOption.NOFOLLOW_LINKS)) {
            return false;
        }
        return Trees.list(directory).stream().allMatch(file -> REGISTERED.contains(String.valueOf(file.getFileName())))
                && Provenance.of(directory).flatMap(Provenance::pause).isEmpty()
                && known(directory).equals(Optional.of(State.FAILED));
    }

    /** Whether it is not known yet what becomes of it. */
    private boolean isAwaited(Path replaced) {
        return known(home(replaced)).map(state -> state == State.WRITING).orElse(true);
    }

    /**
     * Empty when its manifest cannot be read: another version may have written it, or the locale lack the characters of a
     * path in it. That is no reason to remove anything.
     */
    private Optional<State> known(Path home) {
        try {
            return Optional.of(
                    state(Snapshot.read(new SnapshotTag(home.getFileName().toString()), home)));
        } catch (ForkdException e) {
            return e.kind() == Kind.NOT_FOUND ? Optional.of(State.FAILED) : Optional.empty();
        }
    }

    private Path home(Path replaced) {
        String name = replaced.getFileName().toString();
        return root.resolve(name.substring(REPLACED.length(), name.lastIndexOf('-')));
    }
}
