package io.forkd.bench;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
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

    /** CPU time so far, in milliseconds: fields 14 and 15 of the line, of which the second may have blanks. */
    static double cpuMillis(int pid) {
        String line = String.join("", lines(Path.of("/proc", String.valueOf(pid), "stat")));
        String[] fields = line.substring(line.lastIndexOf(')') + 1).strip().split(" ", -1);
        return (Long.parseLong(fields[11]) + Long.parseLong(fields[12])) * MILLIS_PER_TICK;
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
            throw new ForkdException(
                    Kind.FAILED, "cannot read " + file + ": " + ForkdException.reason(e) + "; has the child ended?");
        }
    }
}
