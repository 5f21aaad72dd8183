package io.forkd.cgroup;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Optional;
import java.util.Set;

/** Which disks of the host files are on. */
final class Devices {
    private static final Path BLOCK = Path.of("/sys/dev/block");
    private static final List<String> IN_MEMORY = List.of("tmpfs", "ramfs");

    private Devices() {}

    /**
     * Those of these folders, as the kernel numbers them; what is kept in memory is on none.
     *
     * @param asked what they are for
     */
    static Set<String> of(List<Path> folders, String asked) {
        Set<String> found = new LinkedHashSet<>();
        for (Path folder : folders) {
            try {
                Path there = existing(folder);
                if (!IN_MEMORY.contains(Files.getFileStore(there).type())) {
                    found.add(disk(there)
                            .orElseThrow(() -> new ForkdException(
                                    Kind.FAILED,
                                    asked + " cannot be put in place: the device that " + there
                                            + " is on is not known to the kernel by one number",
                                    "That is so of overlay, network and some other file systems: limit the guest's"
                                            + " disks instead.")));
                }
            } catch (IOException e) {
                throw ForkdException.of("find out which device " + folder + " is on", e);
            }
        }
        return found;
    }

    private static Path existing(Path folder) {
        Path at = folder.toAbsolutePath();
        while (!Files.exists(at) && at.getParent() != null) {
            at = at.getParent();
        }
        return at;
    }

    /** The whole of the disk that it is on a part of. */
    private static Optional<String> disk(Path file) throws IOException {
        long device = (long) Files.getAttribute(file, "unix:dev");
        // As gnu_dev_major(3) and gnu_dev_minor(3).
        long major = ((device >> 8) & 0xfff) | ((device >> 32) & ~0xfffL);
        long minor = (device & 0xff) | ((device >> 12) & ~0xffL);
        Path known = BLOCK.resolve(major + ":" + minor);
        if (!Files.exists(known)) {
            return Optional.empty();
        }
        Path there = known.toRealPath();
        Path whole = Files.exists(there.resolve("partition")) ? there.resolveSibling("") : there;
        return Optional.of(Files.readString(whole.resolve("dev")).strip());
    }
}
