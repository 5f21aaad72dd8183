package io.forkd.engine;

import io.forkd.ForkdException;
import io.forkd.files.OwnedDirectory;
import io.forkd.files.Trees;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.IntStream;

/** What is left of a run for those who ask for it, under the names that scripts know: {@code /tmp/forkd-<verb>-<tag>}. */
final class WorkDirectory {
    private static final int CONSOLE_LINES = 20;

    private WorkDirectory() {}

    /**
     * Copies the run's files (not its sockets and locks); what an earlier run kept there goes. That it cannot is said,
     * and changes nothing of how the run ends.
     */
    static void keep(Path run, String name, Progress progress) {
        Path kept = Path.of(System.getProperty("java.io.tmpdir"), name);
        try {
            Trees.delete(kept);
            Files.createDirectory(kept, Trees.PRIVATE);
            for (Path file : Trees.list(run)) {
                if (Files.isRegularFile(file) && !file.endsWith(OwnedDirectory.LOCK)) {
                    Files.copy(file, kept.resolve(file.getFileName()));
                }
            }
            progress.warn("kept " + kept);
        } catch (IOException e) {
            progress.warn("the work directory is not kept in " + kept + ": " + ForkdException.reason(e));
        }
    }

    /** The end of a console, for an error message; from the kernel's panic on, where there was one. */
    static String lastLines(Path console) {
        try {
            List<String> lines = new String(Files.readAllBytes(console), StandardCharsets.UTF_8)
                    .lines()
                    .map(line -> line.replaceAll("\u001b\\[[0-9;?]*[A-Za-z]|[\\p{Cc}&&[^\t]]", ""))
                    .toList();
            int tail = Math.max(0, lines.size() - CONSOLE_LINES);
            int first = IntStream.range(0, tail)
                    .filter(i -> lines.get(i).contains("Kernel panic"))
                    .findFirst()
                    .orElse(tail);
            return lines.isEmpty()
                    ? "The console is empty."
                    : "The last lines of the console:\n  " + String.join("\n  ", lines.subList(first, lines.size()));
        } catch (IOException e) {
            return "There is no console: " + ForkdException.reason(e) + ".";
        }
    }
}
