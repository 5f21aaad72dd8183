package io.forkd.engine;

import java.io.IOException;
import java.nio.file.DirectoryIteratorException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/**
 * Bounds the memory of VM processes by a cgroup each, {@code /sys/fs/cgroup/forkd/<pid>}. Where that is not allowed the
 * children run without a bound, and the user is told once. {@link #sweep} removes the cgroups of processes that ended.
 */
final class MemoryLimit implements AutoCloseable {
    private static final Path ROOT = Path.of("/sys/fs/cgroup");
    private static final Path OURS = ROOT.resolve("forkd");

    private final long bytes;
    private final Progress progress;
    private final List<Path> groups = new ArrayList<>();
    private boolean failed;

    MemoryLimit(long mib, Progress progress) {
        this.bytes = mib * 1024 * 1024;
        this.progress = progress;
    }

    void place(String name, int pid) {
        if (failed) {
            return;
        }
        try {
            if (groups.isEmpty()) {
                prepare();
            }
            Path group = OURS.resolve(Integer.toString(pid));
            Files.createDirectory(group);
            groups.add(group);
            Files.writeString(group.resolve("memory.max"), Long.toString(bytes));
            Files.writeString(group.resolve("cgroup.procs"), Integer.toString(pid));
        } catch (IOException e) {
            failed = true;
            progress.warn("the memory limit could not be set for " + name + " and those after it: " + e);
        }
    }

    private static void prepare() throws IOException {
        if (!Files.exists(ROOT.resolve("cgroup.controllers"))) {
            throw new NoSuchFileException(
                    ROOT + " is no cgroup of version 2"); // Files could be made there all the same.
        }
        Files.writeString(ROOT.resolve("cgroup.subtree_control"), "+memory");
        Files.createDirectories(OURS);
        Files.writeString(OURS.resolve("cgroup.subtree_control"), "+memory");
    }

    /** That of one process, which has ended. */
    static void remove(int pid) {
        removeIfEmpty(OURS.resolve(Integer.toString(pid)));
    }

    static void sweep() {
        if (Files.isDirectory(OURS)) {
            try (var old = Files.newDirectoryStream(OURS, Files::isDirectory)) {
                old.forEach(MemoryLimit::removeIfEmpty);
            } catch (IOException | DirectoryIteratorException e) {
                // The next sweep has another chance.
            }
        }
    }

    private static void removeIfEmpty(Path group) {
        try {
            Files.deleteIfExists(group);
        } catch (IOException e) {
            // Its processes live.
        }
    }

    @Override
    public void close() {
        groups.forEach(MemoryLimit::removeIfEmpty);
    }
}
