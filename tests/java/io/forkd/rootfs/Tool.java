package io.forkd.rootfs;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;

/** Programs that tests compare us with. */
final class Tool {
    private Tool() {}

    /** Runs a program that has to succeed, and returns what it printed. */
    static String run(String... command) throws IOException, InterruptedException {
        Process process = new ProcessBuilder(command).redirectErrorStream(true).start();
        process.getOutputStream().close();
        String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        assertThat(process.waitFor()).as("%s: %s", List.of(command), output).isZero();
        return output;
    }

    /** What a tree has; the tree of a disk image is mounted read-only in a namespace of its own. */
    static List<String> listing(Path tree) throws IOException, InterruptedException {
        return run("tests/images/listing", tree.toString()).lines().toList();
    }

    static List<String> listingOfImage(Path image, Path mountPoint) throws IOException, InterruptedException {
        return run(
                        "unshare",
                        "-m",
                        "sh",
                        "-ec",
                        "mount -o ro,loop \"$1\" \"$2\"; exec tests/images/listing \"$2\"",
                        "sh",
                        image.toString(),
                        mountPoint.toString())
                .lines()
                .toList();
    }

    /** Of everything that was built below. */
    static void requireCleanFileSystems(Path folder) throws IOException, InterruptedException {
        List<Path> images;
        try (Stream<Path> all = Files.walk(folder)) {
            images = all.filter(path -> path.toString().endsWith(".ext4"))
                    .filter(path -> Files.isRegularFile(path, LinkOption.NOFOLLOW_LINKS))
                    .toList();
        }
        for (Path image : images) {
            requireCleanFileSystem(image);
        }
    }

    static void requireCleanFileSystem(Path image) throws IOException, InterruptedException {
        run("e2fsck", "-fn", image.toString());
    }
}
