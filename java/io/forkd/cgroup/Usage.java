package io.forkd.cgroup;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Optional;
import java.util.OptionalLong;

/**
 * What the processes of a cgroup take, and what it has taken so far. What its controllers do not count is not known.
 *
 * @param memoryBytes with what of files was read for it, and the kernel can drop
 * @param cpuMicros of processors, so far
 * @param processes threads among them
 */
public record Usage(
        OptionalLong memoryBytes,
        long cpuMicros,
        OptionalLong processes,
        OptionalLong ioReadBytes,
        OptionalLong ioWrittenBytes) {
    /** Empty when there is no such group. */
    public static Optional<Usage> of(Path group) {
        OptionalLong cpu = field(group.resolve("cpu.stat"), "usage_usec");
        if (cpu.isEmpty()) {
            return Optional.empty();
        }
        Path io = group.resolve("io.stat");
        return Optional.of(new Usage(
                number(group.resolve("memory.current")),
                cpu.getAsLong(),
                number(group.resolve("pids.current")),
                sum(io, "rbytes="),
                sum(io, "wbytes=")));
    }

    /** Whether something in it was ended since it would have been past its memory. */
    public static boolean ranOutOfMemory(Path group) {
        return field(group.resolve("memory.events"), "oom_kill").orElse(0) > 0;
    }

    private static OptionalLong number(Path file) {
        return text(file)
                .map(text -> OptionalLong.of(Long.parseLong(text.strip())))
                .orElse(OptionalLong.empty());
    }

    /** Of a file with a name and a number a line. */
    private static OptionalLong field(Path file, String name) {
        return text(file).stream()
                .flatMap(String::lines)
                .filter(line -> line.startsWith(name + " "))
                .mapToLong(line -> Long.parseLong(line.substring(name.length() + 1)))
                .findFirst();
    }

    /** Of all devices. */
    private static OptionalLong sum(Path file, String name) {
        Optional<String> text = text(file);
        return text.isEmpty()
                ? OptionalLong.empty()
                : OptionalLong.of(text.stream()
                        .flatMap(all -> all.lines())
                        .flatMap(line -> Optional.of(line.split(" ")).stream())
                        .flatMap(Arrays::stream)
                        .filter(word -> word.startsWith(name))
                        .mapToLong(word -> Long.parseLong(word.substring(name.length())))
                        .sum());
    }

    private static Optional<String> text(Path file) {
        try {
            return Optional.of(Files.readString(file));
        } catch (IOException e) {
            return Optional.empty(); // There is no such controller, or the group is gone.
        }
    }
}
