package io.forkd.pack;

import static org.assertj.core.api.Assertions.assertThat;

import io.forkd.ForkdException;
import io.forkd.files.Trees;
import io.forkd.snapshot.Snapshot;
import io.forkd.snapshot.SnapshotStore;
import io.forkd.snapshot.SnapshotTag;
import java.io.BufferedReader;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.FileStore;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** A disk that is full, and a process that is killed, at any moment of packing and unpacking. */
class PackFaultsTest {
    @TempDir
    Path folder;

    private Sample source;
    private Path small;
    private Path pack;

    @BeforeEach
    void begin() throws Exception {
        source = new Sample(folder.resolve("source"));
        source.chain();
        pack = Files.createDirectory(folder.resolve("mail")).resolve("pack");
        source.pack("top", pack);
        small = Files.createDirectory(folder.resolve("small"));
        run("mount", "-t", "tmpfs", "-o", "size=8m", "forkd-test", small.toString());
    }

    @AfterEach
    void end() throws Exception {
        run("umount", "-l", small.toString()); // A layer's table stays mapped until it is collected.
    }

    private static void run(String... command) throws IOException, InterruptedException {
        Process process = new ProcessBuilder(command).redirectErrorStream(true).start();
        String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        assertThat(process.waitFor()).as(output).isZero();
    }

    private long used() throws IOException {
        FileStore store = Files.getFileStore(small);
        return store.getTotalSpace() - store.getUnallocatedSpace();
    }

    private interface Job {
        void run() throws IOException;
    }

    /** Gives it more and more until it is through; how often it was not, and always said why. */
    private int timesFull(String option, long begin, long step, Job job, Job check) throws Exception {
        for (int times = 0; times < 200; times++) {
            run("mount", "-o", "remount," + option + "=" + (begin + times * step), small.toString());
            try {
                job.run();
                run("mount", "-o", "remount,size=8m,nr_inodes=10000", small.toString());
                return times;
            } catch (ForkdException e) {
                assertThat(e.sentence()).containsAnyOf("No space left on device", "there is no room");
                run("mount", "-o", "remount,size=8m,nr_inodes=10000", small.toString());
                check.run();
            }
        }
        throw new AssertionError("it never was through");
    }

    private static void requireNothingHalf(Sample host, String... tags) throws IOException {
        assertThat(host.store().list()).extracting(SnapshotStore.Entry::tag).containsExactlyInAnyOrder(tags);
        assertThat(PackTest.leftovers(host.store().root())).isEmpty();
        if (Files.exists(host.images)) {
            assertThat(Trees.list(host.images))
                    .noneMatch(path -> path.getFileName().toString().startsWith(".building"));
        }
    }

    @Test
    void unpacking_where_there_is_no_room_leaves_nothing() throws Exception {
        Sample target = new Sample(small.resolve("target"));
        target.snapshot("kept", Optional.empty(), List.of());
        try (var cache = target.cache()) { // Its folders stay.
            cache.put(
                    new io.forkd.rootfs.RootfsCache.Carried(
                            io.forkd.image.Digest.sha256(new byte[1]), 1, java.util.OptionalLong.empty(), "x"),
                    file -> Files.write(file, new byte[1]));
        }
        Job check = () -> {
            requireNothingHalf(target, "kept");
            target.store().open(new SnapshotTag("kept"));
        };
        assertThat(timesFull("size", used() + 4096, 4096, () -> target.unpack(pack), check))
                .isGreaterThan(10);
        requireNothingHalf(target, "base", "kept", "middle", "top");
        for (String tag : List.of("top", "middle", "base")) {
            target.engine.snapshots().remove(new SnapshotTag(tag), false);
        }
        try (var cache = target.cache()) {
            cache.prune(target.engine::diskImagesInUse, false);
        }
        assertThat(timesFull("nr_inodes", inodes(), 1, () -> target.unpack(pack), check))
                .isGreaterThan(10);
        requireNothingHalf(target, "base", "kept", "middle", "top");
    }

    private long inodes() throws IOException, InterruptedException {
        Process stat = new ProcessBuilder("stat", "-f", "-c", "%c %d", small.toString()).start();
        String[] numbers = new String(stat.getInputStream().readAllBytes(), StandardCharsets.US_ASCII)
                .strip()
                .split(" ");
        assertThat(stat.waitFor()).isZero();
        return Long.parseLong(numbers[0]) - Long.parseLong(numbers[1]);
    }

    @Test
    void packing_where_there_is_no_room_leaves_nothing() throws Exception {
        Path out = small.resolve("pack");
        Job check = () -> assertThat(Trees.list(small))
                .allMatch(path -> path.getFileName().toString().endsWith(".rootfs.zst"));
        assertThat(timesFull("size", 4096, 4096, () -> source.pack("top", out), check))
                .isPositive();
        requireUsable(out);
        Files.delete(out);
        for (Path left : Trees.list(small)) {
            Files.delete(left);
        }
        assertThat(timesFull("nr_inodes", inodes(), 1, () -> source.pack("top", out), check))
                .isGreaterThan(1);
        requireUsable(out);
    }

    private static void requireUsable(Path out) {
        assertThat(io.forkd.engine.Packs.check(out, Sample.call()).isUsable()).isTrue();
    }

    /** What a child process does: it says that it begins. */
    static final class Child {
        private Child() {}

        public static void main(String[] arguments) throws IOException {
            Sample target = new Sample(Path.of(arguments[0]));
            System.out.println("begins");
            target.unpack(Path.of(arguments[1]), Optional.empty(), true, List.of());
        }
    }

    @Test
    void killed_at_any_moment_leaves_what_was_there_or_what_was_to_be() throws Exception {
        Sample target = new Sample(folder.resolve("target"));
        target.snapshot("kept", Optional.empty(), List.of());
        target.snapshot("base", Optional.empty(), List.of());
        Map<String, String> hashes = Map.of(
                "base",
                        source.engine
                                .snapshots()
                                .contentHash(source.engine.store().open(new SnapshotTag("base")), Sample.call()),
                "middle",
                        source.engine
                                .snapshots()
                                .contentHash(source.engine.store().open(new SnapshotTag("middle")), Sample.call()),
                "top",
                        source.engine
                                .snapshots()
                                .contentHash(source.engine.store().open(new SnapshotTag("top")), Sample.call()));
        int through = 0;
        for (int i = 0; i < 24; i++) {
            Process child = new ProcessBuilder(
                            Path.of(System.getProperty("java.home"), "bin", "java")
                                    .toString(),
                            "-XX:TieredStopAtLevel=1",
                            "-cp",
                            System.getProperty("java.class.path"),
                            Child.class.getName(),
                            target.home.toString(),
                            pack.toString())
                    .redirectError(ProcessBuilder.Redirect.INHERIT)
                    .start();
            try (BufferedReader out = child.inputReader()) {
                assertThat(out.readLine()).isEqualTo("begins");
                if (child.waitFor(60L + 40L * i, TimeUnit.MILLISECONDS)) {
                    through += child.exitValue() == 0 ? 1 : 0;
                }
                child.destroyForcibly().waitFor();
            }
            target.store().sweep();
            assertThat(PackTest.leftovers(target.store().root())).isEmpty();
            for (SnapshotStore.Entry entry : target.store().list()) {
                Snapshot there = target.store().open(new SnapshotTag(entry.tag()));
                there.requireImages();
                if (hashes.containsKey(entry.tag())) {
                    assertThat(target.engine
                                    .snapshots()
                                    .contentHash(target.engine.store().open(there.tag()), Sample.call()))
                            .isEqualTo(hashes.get(entry.tag()));
                }
            }
            assertThat(target.store().list())
                    .extracting(SnapshotStore.Entry::tag)
                    .contains("kept", "base");
        }
        assertThat(through).as("some were killed, and some were not").isBetween(1, 23);
    }
}
