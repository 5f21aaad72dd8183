package io.forkd.vmm;

import java.nio.file.Path;
import java.util.List;
import org.bytedeco.javacpp.PointerScope;

/** Puts the layers of a chain together. */
public final class Layers {
    private Layers() {}

    /** Writes {@code base} (a memory.bin) with the layers over it, the first of the chain first, to a new file. */
    public static void flattenMemory(Path base, List<Path> layers, Path out) {
        Library.files();
        try (PointerScope scope = new PointerScope()) {
            Library.check(error -> Native.forkd_memory_flatten(
                    Library.text(base), Library.texts(layers), layers.size(), Library.text(out), error));
        }
    }

    /** Writes the layers of a private disk to one new file that means the same. */
    public static void flattenDisk(Disk disk, Path out) {
        Library.files();
        try (PointerScope scope = new PointerScope()) {
            Library.check(error -> Native.forkd_disk_flatten(Library.disks(List.of(disk)), Library.text(out), error));
        }
    }
}
