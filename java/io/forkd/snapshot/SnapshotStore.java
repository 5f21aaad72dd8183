package io.forkd.snapshot;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.files.FileLock;
import io.forkd.files.OwnedDirectory;
import io.forkd.files.Trees;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Optional;

/**
 * The snapshots under one folder, {@code <data>/snapshots/<tag>/}.
 *
 * <p>A snapshot is made in {@code .staging-<tag>-<random>/} beside its place and renamed when it is complete, is renamed
 * to {@code .trash-...} before it is removed, and to {@code .replaced-<tag>-...} before another takes its place: a tag is
 * there completely or not at all, whatever dies when. What a dead process left is set right by {@link #sweep}, which
 * every start calls.
 */
public final class SnapshotStore {
    private static final String STAGING = ".staging-";
    private static final String TRASH = ".trash-";
    private static final String REPLACED = ".replaced-";

    private final Path root;

    public SnapshotStore(Path dataDirectory) {
        this.root = dataDirectory.resolve("snapshots");
    }

    public Path root() {
        return root;
    }

    /** A line of the listing; the sizes are logical. */
    public record Entry(
            String tag, Path directory, long bytes, long memoryBytes, Optional<Instant> modified, boolean hasRootfs) {}

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
            entries.sort(Comparator.comparing(
                            (Entry entry) -> entry.modified().orElse(Instant.EPOCH), Comparator.reverseOrder())
                    .thenComparing(Entry::tag));
            return entries;
        } catch (IOException e) {
            throw ForkdException.of("list " + root, e);
        }
    }

    private static Entry entry(String name, Path directory) throws IOException {
        Optional<Instant> modified = Optional.empty();
        try {
            modified = Optional.of(Files.getLastModifiedTime(directory).toInstant());
        } catch (IOException e) {
            // shown as unknown
        }
        Path memory = directory.resolve("memory.bin");
        return new Entry(
                name,
                directory,
                Trees.size(directory),
                Files.isRegularFile(memory) ? Files.size(memory) : 0,
                modified,
                Files.isRegularFile(directory.resolve("rootfs.ext4")));
    }

    public Snapshot open(SnapshotTag tag) {
        return Snapshot.open(tag, existing(tag));
    }

    /** Fails early when a tag is taken; {@link #install} decides. */
    public void requireFree(SnapshotTag tag) {
        if (Files.exists(directory(tag), LinkOption.NOFOLLOW_LINKS)) {
            throw new ForkdException(
                    Kind.CONFLICT,
                    "the snapshot '" + tag + "' exists already",
                    "Choose another tag, give --force to replace it, or remove it: forkd rmi " + tag);
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
        try {
            Trees.writeNew(staged.path().resolve("snapshot.json"), ManifestFile.encode(manifest));
            Trees.sync(staged.path());
            Optional<Path> old = Optional.empty();
            try (FileLock all = lock()) {
                if (replace && Files.exists(directory(tag), LinkOption.NOFOLLOW_LINKS)) {
                    old = Optional.of(setAside(directory(tag), REPLACED));
                } else {
                    requireFree(tag);
                }
                Trees.rename(staged.path(), directory(tag));
            }
            staged.release();
            if (old.isPresent()) {
                Trees.delete(old.get());
            }
        } catch (IOException e) {
            throw ForkdException.of("complete the snapshot '" + tag + "' in " + root, e);
        }
    }

    /** Tags of the snapshots whose parent this is. */
    public List<SnapshotTag> dependents(SnapshotTag tag) {
        List<SnapshotTag> found = new ArrayList<>();
        for (Entry entry : list()) {
            try {
                Manifest manifest = new ManifestFile(entry.directory().resolve("snapshot.json")).read();
                if (manifest.parentTag().equals(Optional.of(tag.value()))) {
                    found.add(new SnapshotTag(entry.tag()));
                }
            } catch (ForkdException e) {
                // What cannot be read depends on nothing.
            }
        }
        return found;
    }

    /**
     * Removes one snapshot.
     *
     * @param evenIfUsed also when a running fork uses it; its children keep what they have mapped
     */
    public void remove(SnapshotTag tag, boolean evenIfUsed) {
        Path directory = existing(tag);
        try {
            Path trash;
            try (FileLock all = lock()) {
                if (!evenIfUsed && OwnedDirectory.isAlive(directory)) {
                    throw new ForkdException(
                            Kind.CONFLICT,
                            "the snapshot '" + tag + "' is in use by a running fork",
                            "End it first, or give --force: its children keep running.");
                }
                trash = setAside(directory, TRASH);
            }
            Trees.delete(trash);
        } catch (IOException e) {
            throw ForkdException.of("remove " + directory, e);
        }
    }

    /** What processes that died left in the store. */
    public List<Path> leftovers() {
        try {
            List<Path> found = new ArrayList<>(OwnedDirectory.abandoned(root, STAGING));
            for (Path entry : Trees.list(root)) {
                String name = entry.getFileName().toString();
                if (name.startsWith(TRASH) || name.startsWith(REPLACED)) {
                    found.add(entry);
                }
            }
            return found;
        } catch (IOException e) {
            throw ForkdException.of("list " + root, e);
        }
    }

    /** Sets right what {@link #leftovers} finds. */
    public void sweep() {
        try {
            if (!Files.isWritable(root) || leftovers().isEmpty()) {
                return;
            }
            OwnedDirectory.sweep(root, STAGING);
            try (FileLock all = lock()) {
                for (Path leftover : leftovers()) {
                    if (leftover.getFileName().toString().startsWith(REPLACED)) {
                        restore(leftover);
                    }
                    Trees.delete(leftover);
                }
            }
        } catch (IOException e) {
            throw ForkdException.of("remove what an earlier run left in " + root, e);
        }
    }

    private Path existing(SnapshotTag tag) {
        Path directory = directory(tag);
        if (!Files.isDirectory(directory)) {
            throw new ForkdException(
                    Kind.NOT_FOUND,
                    "there is no snapshot '" + tag + "' in " + root,
                    "forkd images lists what there is; forkd snapshot --tag " + tag + " ... makes one.");
        }
        return directory;
    }

    private FileLock lock() throws IOException {
        return FileLock.exclusive(root.resolve(OwnedDirectory.LOCK));
    }

    private Path setAside(Path directory, String prefix) throws IOException {
        Path aside = root.resolve(prefix + directory.getFileName() + "-" + System.nanoTime());
        Trees.rename(directory, aside);
        return aside;
    }

    /** Between the two renames of a replacement a process may have died: then the old snapshot comes back. */
    private void restore(Path replaced) throws IOException {
        String name = replaced.getFileName().toString();
        Path home = root.resolve(name.substring(REPLACED.length(), name.lastIndexOf('-')));
        if (!Files.exists(home, LinkOption.NOFOLLOW_LINKS)) {
            Trees.rename(replaced, home);
        }
    }
}
