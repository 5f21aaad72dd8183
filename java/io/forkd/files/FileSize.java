package io.forkd.files;

import java.io.BufferedReader;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/**
 * What a file takes. Java knows no blocks; stat(1) does.
 *
 * @param logical its length
 * @param physical what it takes on the disk
 */
public record FileSize(Path file, long logical, long physical) {
    public String name() {
        return String.valueOf(file.getFileName());
    }

    /** Of the regular files in a directory; one that goes meanwhile is left out. */
    public static List<FileSize> in(Path directory) throws IOException {
        List<Path> files =
                Trees.list(directory).stream().filter(Files::isRegularFile).toList();
        if (files.isEmpty()) {
            return List.of();
        }
        List<String> command = new ArrayList<>(List.of("stat", "-c", "%s %b %B %n", "--"));
        files.forEach(file -> command.add(file.toString()));
        ProcessBuilder builder = new ProcessBuilder(command).redirectError(ProcessBuilder.Redirect.DISCARD);
        builder.environment().putAll(Map.of("LC_ALL", "C"));
        List<FileSize> sizes = new ArrayList<>();
        try (BufferedReader reader = builder.start().inputReader(StandardCharsets.UTF_8)) {
            for (String line = reader.readLine(); line != null; line = reader.readLine()) {
                String[] words = line.split(" ", 4);
                sizes.add(new FileSize(
                        Path.of(words[3]),
                        Long.parseLong(words[0]),
                        Long.parseLong(words[1]) * Long.parseLong(words[2])));
            }
        }
        return sizes;
    }
}
