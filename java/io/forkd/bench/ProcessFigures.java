package io.forkd.bench;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.files.Trees;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

/** What the kernel says of processes and of the machine. */
final class ProcessFigures {
    private static final double MILLIS_PER_TICK = 10; // USER_HZ is 100 on x86

    private ProcessFigures() {}

    static double pssKib(int pid) {
        return fields(Path.of("/proc", String.valueOf(pid), "smaps_rollup"), "Pss:");
    }

    static double privateKib(int pid) {
        return fields(Path.of("/proc", String.valueOf(pid), "smaps_rollup"), "Private_Clean:", "Private_Dirty:");
    }

    static double availableKib() {
        return fields(Path.of("/proc/meminfo"), "MemAvailable:");
    }

    /** CPU time so far, in milliseconds: fields 14 and 15 of the line. */
    static double cpuMillis(int pid) {
        List<String> fields = stat(Path.of("/proc", String.valueOf(pid), "stat"));
        return (Long.parseLong(fields.get(11)) + Long.parseLong(fields.get(12))) * MILLIS_PER_TICK;
    }

    /**
     * Page faults so far, field 10, of a child's vCPUs: those that its guest waited for. What its other threads take is its
     * devices', or prepared. Those have names of their own, and come and go with the disks' work.
     */
    static double guestFaults(int pid) {
        Path process = Path.of("/proc", String.valueOf(pid));
        List<String> name = lines(process.resolve("comm"));
        try {
            double faults = 0;
            for (Path thread : Trees.list(process.resolve("task"))) {
                if (isCalled(thread, name)) {
                    faults += Long.parseLong(stat(thread.resolve("stat")).get(7));
                }
            }
            return faults;
        } catch (IOException e) {
            throw unreadable(process, e);
        }
    }

    /** One that has ended is not. */
    private static boolean isCalled(Path thread, List<String> name) {
        try {
            return Files.readAllLines(thread.resolve("comm")).equals(name);
        } catch (IOException e) {
            return false;
        }
    }

    /** The fields from the third on; the second may have blanks. */
    private static List<String> stat(Path file) {
        String line = String.join("", lines(file));
        return List.of(line.substring(line.lastIndexOf(')') + 1).strip().split(" ", -1));
    }

    /** The processor's name. */
    static String processor() {
        return lines(Path.of("/proc/cpuinfo")).stream()
                .filter(line -> line.startsWith("model name"))
                .map(line -> line.substring(line.indexOf(':') + 1).strip())
                .findFirst()
                .orElse("unknown");
    }

    /** The sum of fields in a file of lines such as "Pss:   12 kB". */
    private static double fields(Path file, String... names) {
        List<String> wanted = List.of(names);
        return lines(file).stream()
                .map(line -> line.split("\\s+"))
                .filter(words -> words.length > 1 && wanted.contains(words[0]))
                .mapToDouble(words -> Double.parseDouble(words[1]))
                .sum();
    }

    private static List<String> lines(Path file) {
        try {
            return Files.readAllLines(file);
        } catch (IOException e) {
            throw unreadable(file, e);
        }
    }

    private static ForkdException unreadable(Path file, IOException e) {
        return new ForkdException(
                Kind.FAILED, "cannot read " + file + ": " + ForkdException.reason(e) + "; has the child ended?");
    }
}
