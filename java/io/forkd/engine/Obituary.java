package io.forkd.engine;

import io.forkd.ForkdException;
import io.forkd.files.Trees;
import io.forkd.sandbox.Sandbox;
import io.forkd.snapshot.Manifest;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/**
 * What is told of a sandbox that the kernel has killed, when nothing else of it is there any more.
 *
 * @param owner the user whose it was
 */
public record Obituary(String id, String reason, Optional<String> owner) {
    private static final String PREFIX = ".killed-";
    private static final Duration KEPT = Duration.ofDays(1);

    /** Of one whose cgroup is still there; empty when that does not say that it was killed. */
    static Optional<Obituary> of(Sandbox sandbox) {
        return Groups.whyKilled(sandbox.cgroup(), sandbox.limits())
                .map(reason -> new Obituary(sandbox.id(), reason, owner(sandbox)));
    }

    private static Optional<String> owner(Sandbox sandbox) {
        try {
            return Manifest.read(Sandbox.manifest(sandbox.directory())).owner();
        } catch (ForkdException e) {
            return Optional.of(""); // Nobody's.
        }
    }

    void write(Path root) {
        try {
            List<String> lines = new ArrayList<>(List.of(reason));
            owner.ifPresent(lines::add);
            Path written = root.resolve(".new" + PREFIX + id);
            Files.write(written, lines);
            Files.move(written, root.resolve(PREFIX + id));
        } catch (IOException e) {
            // It is gone without a word, as it would be if nobody had looked.
        }
    }

    static Optional<Obituary> read(Path root, String id) {
        try {
            List<String> lines = Files.readAllLines(root.resolve(PREFIX + id));
            return lines.isEmpty()
                    ? Optional.empty()
                    : Optional.of(new Obituary(
                            id, lines.get(0), lines.stream().skip(1).findFirst()));
        } catch (IOException e) {
            return Optional.empty();
        }
    }

    static List<Obituary> all(Path root) {
        return files(root).stream()
                .flatMap(file -> read(root, String.valueOf(file.getFileName()).substring(PREFIX.length())).stream())
                .toList();
    }

    static void sweep(Path root) {
        for (Path file : files(root)) {
            try {
                if (Files.getLastModifiedTime(file)
                        .toInstant()
                        .isBefore(Instant.now().minus(KEPT))) {
                    Files.deleteIfExists(file);
                }
            } catch (IOException e) {
                // The next sweep has another chance.
            }
        }
    }

    private static List<Path> files(Path root) {
        try {
            return Trees.list(root).stream()
                    .filter(file -> String.valueOf(file.getFileName()).startsWith(PREFIX))
                    .toList();
        } catch (IOException e) {
            return List.of(); // There is no such folder: nothing was ever made.
        }
    }
}
