package io.forkd.files;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;

/**
 * What the kernel says of a lock on a file. The process that took it by flock(2) may have handed it on, and be gone.
 *
 * @param writes whether it is exclusive
 */
public record LockHolder(long pid, boolean writes) {
    /** The families in {@code /proc/locks}: {@link FileLock} takes the first, VMs hold their images by the other. */
    public enum Family {
        POSIX,
        FLOCK
    }

    /** Those of that file; nothing where the kernel does not tell, as of file systems with device numbers of their own. */
    public static List<LockHolder> of(Path file, Family family) {
        try {
            long device = (Long) Files.getAttribute(file, "unix:dev", LinkOption.NOFOLLOW_LINKS);
            String id = String.format(
                    "%02x:%02x:%d",
                    (device >> 8) & 0xfff, (device & 0xff) | ((device >> 12) & 0xfff00), (Long)
                            Files.getAttribute(file, "unix:ino", LinkOption.NOFOLLOW_LINKS));
            return of(Files.readAllLines(Path.of("/proc/locks")), id, family).toList();
        } catch (IOException | UnsupportedOperationException e) {
            return List.of();
        }
    }

    static Stream<LockHolder> of(List<String> locks, String file, Family family) {
        return locks.stream()
                .map(line -> line.trim().split(" +", -1))
                .filter(words -> words.length > 5 && words[1].equals(family.name()) && words[5].equals(file))
                .map(words -> new LockHolder(Long.parseLong(words[4]), words[3].equals("WRITE")));
    }

    /** Whether somebody has stopped the process, so that it gives nothing back until it is continued. */
    public boolean isStopped() {
        String stat = stat();
        String state = stat.substring(stat.lastIndexOf(')') + 1).strip();
        return state.startsWith("T") || state.startsWith("t");
    }

    /** In words; with a number that says nothing here (that of another PID namespace is 0), without it. */
    @Override
    public String toString() {
        String stat = stat();
        String name = stat.substring(stat.indexOf('(') + 1, Math.max(stat.indexOf('(') + 1, stat.lastIndexOf(')')));
        return name.isEmpty() ? "another process" : "the process " + pid + " (" + name + ")";
    }

    /** Names of processes are any bytes. */
    private String stat() {
        try {
            return new String(
                    Files.readAllBytes(Path.of("/proc", Long.toString(pid), "stat")), StandardCharsets.ISO_8859_1);
        } catch (IOException e) {
            return "";
        }
    }
}
