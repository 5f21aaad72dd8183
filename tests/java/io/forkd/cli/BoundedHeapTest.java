package io.forkd.cli;

import static org.assertj.core.api.Assertions.assertThat;

import io.forkd.image.OciImage;
import io.forkd.image.OciImage.Members;
import io.forkd.image.OciImage.Packing;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Commands that build images, in a JVM that nobody told how much memory it may use. */
class BoundedHeapTest {
    private static final int FOLDERS = 200;
    private static final int FILES = 1000;
    private static final long MOST_KIB = 512 << 10;

    @TempDir
    Path scratch;

    private String reference = "";

    @BeforeEach
    void make() throws IOException {
        Members members = new Members();
        for (int folder = 0; folder < FOLDERS; folder++) {
            for (int file = 0; file < FILES; file++) {
                members.file(folder + "/file-" + file, "");
            }
        }
        reference = new OciImage(Files.createDirectory(scratch.resolve("image")))
                .layer(Packing.GZIP, members)
                .write();
    }

    private Process start() throws IOException {
        List<String> command = new ArrayList<>(List.of(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "-cp",
                System.getProperty("java.class.path"),
                Main.class.getName()));
        command.addAll(List.of("parent", "build", reference, "--size-mib", "4096", "--cache"));
        command.addAll(List.of(scratch.resolve("cache").toString(), "-o"));
        command.add(scratch.resolve("made.ext4").toString());
        return new ProcessBuilder(command)
                .redirectErrorStream(true)
                .redirectOutput(scratch.resolve("output").toFile())
                .start();
    }

    @Test
    void image_of_many_files_needs_no_more_than_512_mib() throws Exception {
        Process process = start();
        Map<Long, Long> peaks = new HashMap<>();
        do {
            Stream.concat(Stream.of(process.toHandle()), process.descendants())
                    .forEach(one -> peaks.merge(one.pid(), peakKib(one.pid()), Math::max));
        } while (!process.waitFor(20, TimeUnit.MILLISECONDS));
        assertThat(process.exitValue())
                .as(Files.readString(scratch.resolve("output")))
                .isZero();
        // Two JVMs and the program that writes ext4.
        assertThat(peaks).hasSize(3);
        assertThat(peaks.values().stream().mapToLong(kib -> kib).sum()).isBetween(1L, MOST_KIB);
    }

    /** 0 when it has ended. */
    private static long peakKib(long pid) {
        try (Stream<String> lines = Files.lines(Path.of("/proc/" + pid + "/status"))) {
            return lines.filter(line -> line.startsWith("VmHWM:"))
                    .mapToLong(line -> Long.parseLong(line.replaceAll("\\D", "")))
                    .sum();
        } catch (IOException | java.io.UncheckedIOException e) {
            return 0;
        }
    }

    @Test
    void killed_process_takes_along_what_it_started() throws Exception {
        Process process = start();
        List<ProcessHandle> started = List.of();
        for (int i = 0; i < 500 && started.size() < 2; i++) {
            Thread.sleep(20);
            started = process.descendants().toList();
        }
        assertThat(started).hasSize(2);
        process.destroyForcibly().waitFor();
        for (ProcessHandle one : started) {
            one.onExit().get(10, TimeUnit.SECONDS);
        }
        try (Stream<Path> left = Files.list(scratch)) {
            assertThat(left.map(path -> path.getFileName().toString())).noneMatch(name -> name.contains("building"));
        }
    }
}
