package io.forkd.snapshot;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.files.FileLock;
import io.forkd.files.OwnedDirectory;
import io.forkd.snapshot.Manifest.ManifestDisk;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Optional;

/** A snapshot on disk whose files have been looked at: all there, all of the size that the manifest says. */
public record Snapshot(SnapshotTag tag, Path directory, Manifest manifest, Path memory, Path vmstate) {

    static Snapshot open(SnapshotTag tag, Path directory) {
        Manifest manifest = new ManifestFile(directory.resolve("snapshot.json")).read();
        Path memory = present(directory, manifest.memory(), "memory.bin");
        long bytes = size(memory);
        if (bytes != manifest.memoryBytes()) {
            throw new ForkdException(
                    Kind.DAMAGED,
                    memory + " is damaged: it has " + bytes + " bytes, and snapshot.json says "
                            + manifest.memoryBytes(),
                    "Take the snapshot again.");
        }
        Path vmstate = present(directory, manifest.vmstate(), "vmstate");
        Snapshot snapshot = new Snapshot(tag, directory, manifest, memory, vmstate);
        for (ManifestDisk disk : manifest.disks()) {
            snapshot.check(disk);
        }
        return snapshot;
    }

    /** The path that was recorded, or, when the store has moved, the file of that name in the snapshot itself. */
    private static Path present(Path directory, Path recorded, String what) {
        if (Files.isRegularFile(recorded)) {
            return recorded;
        }
        Path own = directory.resolve(String.valueOf(recorded.getFileName()));
        if (Files.isRegularFile(own)) {
            return own;
        }
        throw new ForkdException(Kind.DAMAGED, what + " is missing: " + recorded, "Take the snapshot again.");
    }

    private void check(ManifestDisk disk) {
        Path image = image(disk);
        long bytes = size(image);
        if (bytes != disk.bytes()) {
            throw new ForkdException(
                    Kind.DAMAGED,
                    image + " has changed since the snapshot '" + tag + "' was taken: it has " + bytes
                            + " bytes, and had " + disk.bytes(),
                    "Put the old image back, or take the snapshot again.");
        }
        disk.layer().ifPresent(layer -> {
            Path file = directory.resolve(layer.file());
            if (size(file) != layer.bytes()) {
                throw new ForkdException(
                        Kind.DAMAGED,
                        file + " is damaged: it has " + size(file) + " bytes, and snapshot.json says " + layer.bytes(),
                        "Take the snapshot again.");
            }
        });
    }

    /** Where the image of a disk is now. */
    public Path image(ManifestDisk disk) {
        return present(directory, disk.image(), "the disk image");
    }

    /** Whether the image was written to after the snapshot was taken, as far as its time tells. */
    public boolean isNewer(ManifestDisk disk) {
        try {
            return Files.getLastModifiedTime(image(disk)).toMillis() > disk.modified();
        } catch (IOException e) {
            return false;
        }
    }

    /**
     * Marks the snapshot as used, so that nobody removes it, until the lock is closed. Empty where the directory cannot
     * be written to: then nobody can remove it either, except its owner.
     */
    public Optional<FileLock> use() {
        Path lock = directory.resolve(OwnedDirectory.LOCK);
        if (!Files.isWritable(directory)) {
            return Optional.empty();
        }
        try {
            Optional<FileLock> held = FileLock.tryShared(lock);
            if (held.isEmpty()) {
                throw new ForkdException(Kind.CONFLICT, "the snapshot '" + tag + "' is being removed");
            }
            return held;
        } catch (IOException e) {
            throw ForkdException.of("lock " + lock, e);
        }
    }

    private static long size(Path file) {
        try {
            return Files.size(file);
        } catch (IOException e) {
            throw ForkdException.of("look at " + file, e);
        }
    }
}
