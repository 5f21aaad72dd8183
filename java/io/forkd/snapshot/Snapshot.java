package io.forkd.snapshot;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.files.FileLock;
import io.forkd.files.OwnedDirectory;
import io.forkd.snapshot.Manifest.Layer;
import io.forkd.snapshot.Manifest.ManifestDisk;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.BasicFileAttributes;
import java.time.Instant;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Optional;

/** A snapshot in its directory. Its manifest is there from the beginning, its vmstate when everything else is. */
public record Snapshot(SnapshotTag tag, Path directory, Manifest manifest) {
    public static final String MANIFEST = "snapshot.json";
    public static final String VMSTATE = "vmstate";
    public static final String MEMORY = "memory.bin";
    public static final String MEMORY_LAYER = "memory.layer";

    /** The memory of a chain put together; can be made again at any time. */
    public static final String MEMORY_FLAT = "memory.flat";

    /** Held by who puts it together. */
    public static final String FLATTEN_LOCK = ".flatten";

    /** In one that is forked while it is pulled: locked by who pulls it, for as long as that goes on; then it has why not. */
    public static final String PULL_LOCK = ".pulling";

    private static final String IMAGE = "the disk image";

    /** What a child touches until it is ready and for its first answer; learnt by one, and can be learnt again at any time. */
    public static final String WORKING_SET = "working-set";

    /** Whether a file of that name can be made again at any time, or is one that is being made. */
    public static boolean isCache(String name) {
        return name.equals(MEMORY_FLAT)
                || name.equals(WORKING_SET)
                || name.equals(ContentHash.NOTE)
                || name.startsWith(".");
    }

    /** How far a snapshot is; follows from its files and from who is alive. */
    public enum State {
        COMPLETE,
        /** A branch that is being written. */
        WRITING,
        /** A branch whose writer died or ran out of space, or something that is no snapshot. */
        FAILED
    }

    static Snapshot read(SnapshotTag tag, Path directory) {
        return new Snapshot(tag, directory, Manifest.read(directory.resolve(MANIFEST)));
    }

    /** Whether everything has been written. */
    public boolean isComplete() {
        return find(manifest.vmstate()).isPresent();
    }

    /** Whether who pulled it is gone, before all of it was here: who serves it lacks what has not come. */
    public boolean isLeftByPull() {
        Path lock = directory.resolve(PULL_LOCK);
        try {
            return Files.exists(lock) && !FileLock.isHeld(lock) && !isComplete();
        } catch (IOException e) {
            throw ForkdException.of("look at " + lock, e);
        }
    }

    /** What he has left of why, as the end of a sentence. */
    String whyLeft() {
        try {
            String why = Files.readString(directory.resolve(PULL_LOCK));
            return why.isEmpty() ? "" : ": " + why;
        } catch (IOException e) {
            return "";
        }
    }

    /** Looks at the files: all there, and of the sizes that are known. */
    public Snapshot check() {
        vmstate();
        Regular memory = memoryFile();
        if (!isLayer()) {
            requireSize(memory, manifest.memoryBytes());
        }
        for (int i = 0; i < manifest.disks().size(); i++) {
            ManifestDisk disk = manifest.disks().get(i);
            requireImage(disk);
            Optional<Layer> known = disk.layer();
            if (known.isPresent()) {
                String file = known.get().file();
                requireSize(present(directory.resolve(file), file), known.get().bytes());
            }
        }
        return this;
    }

    /** Looks into the layers: they are whole, and over what they have to be. Their data are looked at when they are used. */
    public void requireLayers() {
        try {
            if (isLayer()) {
                LayerFile.require(memory(), manifest.memoryBytes());
            }
            for (int i = 0; i < manifest.disks().size(); i++) {
                Optional<Path> layer = layer(i);
                if (layer.isPresent()) {
                    LayerFile.require(layer.get(), manifest.disks().get(i).bytes());
                }
            }
        } catch (IOException e) {
            throw ForkdException.of("read the layers of the snapshot '" + tag + "'", e);
        }
    }

    /** Whether its memory is a layer over that of its parent. */
    public boolean isLayer() {
        return String.valueOf(manifest.memory().getFileName()).equals(MEMORY_LAYER);
    }

    public Path memory() {
        return memoryFile().path();
    }

    public Path vmstate() {
        return present(manifest.vmstate(), VMSTATE).path();
    }

    private Regular memoryFile() {
        return present(manifest.memory(), String.valueOf(manifest.memory().getFileName()));
    }

    public Path workingSet() {
        return directory.resolve(WORKING_SET);
    }

    /** What the snapshot itself wrote of the disk with that number. */
    public Optional<Path> layer(int disk) {
        Path file = directory.resolve(
                manifest.disks().get(disk).layer().map(Layer::file).orElse(layerName(disk)));
        return Files.isRegularFile(file) ? Optional.of(file) : Optional.empty();
    }

    /** What the snapshot itself wrote, and what can be learnt again, by the names that these have everywhere; memory is last. */
    public Map<String, Path> files() {
        Map<String, Path> files = new LinkedHashMap<>();
        files.put(VMSTATE, vmstate());
        if (Files.isRegularFile(workingSet())) {
            files.put(WORKING_SET, workingSet());
        }
        for (int i = 0; i < manifest.disks().size(); i++) {
            String name = layerName(i);
            layer(i).ifPresent(layer -> files.put(name, layer));
        }
        files.put(isLayer() ? MEMORY_LAYER : MEMORY, memory());
        return files;
    }

    public static String layerName(int disk) {
        return "disk-" + disk + ".layer";
    }

    /** Where the image of a disk is now. */
    public Path image(ManifestDisk disk) {
        return present(disk.image(), IMAGE).path();
    }

    /**
     * The images that the guest has mounted are those that it had: what it knows of them in its memory would damage any
     * other. Those of other disks may be another's work, but are file systems.
     */
    public void requireImages() {
        for (int i = 0; i < manifest.disks().size(); i++) {
            ManifestDisk disk = manifest.disks().get(i);
            Regular image = requireImage(disk);
            if (disk.modified().isPresent()) {
                requireModified(image, disk.modified().getAsLong(), i > 0 && !disk.readOnly());
            } else if (i > 0) {
                VolumeImages.requireMountable(image.path(), disk.readOnly());
            }
        }
    }

    private void requireModified(Regular image, long recorded, boolean inUse) {
        long found = image.attributes().lastModifiedTime().toMillis();
        if (found != recorded) {
            throw new ForkdException(
                    inUse ? Kind.CONFLICT : Kind.DAMAGED,
                    image.path() + " has changed since the snapshot '" + tag + "' was taken: it was last written to "
                            + Instant.ofEpochMilli(found) + ", and then " + Instant.ofEpochMilli(recorded),
                    inUse
                            ? "A program in the guest had a file of it open. Take the snapshot again when none has."
                            : "Put the old image back, with its time (cp -p), or take the snapshot again.");
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
                throw new ForkdException(
                        Kind.CONFLICT,
                        "the snapshot '" + tag + "' is being made or removed at this moment",
                        "Try again.");
            }
            return held;
        } catch (IOException e) {
            throw ForkdException.of("lock " + lock, e);
        }
    }

    /**
     * The file at the path that was recorded, or, when the store has moved, the one of that name in the snapshot itself.
     */
    private Optional<Regular> find(Path recorded) {
        Optional<Regular> there = Regular.at(recorded);
        return there.isPresent() ? there : Regular.at(directory.resolve(String.valueOf(recorded.getFileName())));
    }

    /** A file that is there, looked at once. */
    private record Regular(Path path, BasicFileAttributes attributes) {
        static Optional<Regular> at(Path path) {
            try {
                return Optional.of(new Regular(path, Files.readAttributes(path, BasicFileAttributes.class)))
                        .filter(file -> file.attributes().isRegularFile());
            } catch (IOException e) {
                return Optional.empty();
            }
        }
    }

    private Regular present(Path recorded, String what) {
        return find(recorded)
                .orElseThrow(() -> new ForkdException(
                        Kind.DAMAGED,
                        "the snapshot '" + tag + "' is damaged: " + what + " is missing: " + recorded,
                        "Take the snapshot again."));
    }

    private Regular requireImage(ManifestDisk disk) {
        Regular image = present(disk.image(), IMAGE);
        long bytes = image.attributes().size();
        if (bytes != disk.bytes()) {
            throw new ForkdException(
                    Kind.DAMAGED,
                    image.path() + " has changed since the snapshot '" + tag + "' was taken: it has " + bytes
                            + " bytes, and had " + disk.bytes(),
                    "Put the old image back, or take the snapshot again.");
        }
        return image;
    }

    private static void requireSize(Regular file, long bytes) {
        long found = file.attributes().size();
        if (found != bytes) {
            throw new ForkdException(
                    Kind.DAMAGED,
                    file.path() + " is damaged: it has " + found + " bytes, and snapshot.json says " + bytes,
                    "Take the snapshot again.");
        }
    }
}
