package io.forkd.sandbox;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Optional;

/**
 * What the process of a sandbox takes of the host, as /proc tells. What guests share, as the pages of their snapshot, is in
 * {@code residentBytes} of each.
 *
 * @param cpuMicros processor time since it was forked
 * @param ownBytes memory that nobody else has
 */
public record Figures(long cpuMicros, long ownBytes, long residentBytes, int threads) {
    /** Fields of /proc/PID/stat after the name. */
    private static final int USER_TIME = 11;

    private static final int SYSTEM_TIME = 12;

    /** Of USER_HZ, which is 100 wherever Linux runs on x86-64. */
    private static final long MICROS_PER_TICK = 10_000;

    /** Empty when it has ended. */
    public static Optional<Figures> of(ProcessId process) {
        Path directory = Path.of("/proc", Integer.toString(process.pid()));
        try {
            String stat = Files.readString(directory.resolve("stat"));
            String status = Files.readString(directory.resolve("status"));
            String[] fields = stat.substring(stat.lastIndexOf(')') + 2).split(" ", -1);
            Figures figures = new Figures(
                    (Long.parseLong(fields[USER_TIME]) + Long.parseLong(fields[SYSTEM_TIME])) * MICROS_PER_TICK,
                    number(status, "RssAnon:") << 10,
                    number(status, "VmRSS:") << 10,
                    (int) number(status, "Threads:"));
            // The number may be another's by now.
            return ProcessId.of(process.pid()).filter(process::equals).map(same -> figures);
        } catch (IOException e) {
            return Optional.empty();
        }
    }

    private static long number(String status, String field) {
        return status.lines()
                .filter(line -> line.startsWith(field))
                .mapToLong(line -> Long.parseLong(line.replaceAll("[^0-9]", "")))
                .findFirst()
                .orElse(0);
    }
}
