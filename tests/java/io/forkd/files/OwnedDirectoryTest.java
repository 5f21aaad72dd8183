package io.forkd.files;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class OwnedDirectoryTest {
    @TempDir
    Path parent;

    /** Owns a directory until it is killed. */
    public static final class Owner {
        private Owner() {}

        public static void main(String[] arguments) throws IOException, InterruptedException {
            System.out.println(
                    OwnedDirectory.create(Path.of(arguments[0]), "run-").path());
            Thread.sleep(60_000);
        }
    }

    @Test
    void directory_of_a_killed_process_is_abandoned_and_swept() throws Exception {
        Process owner = new ProcessBuilder(
                        Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                        "-cp",
                        System.getProperty("java.class.path"),
                        Owner.class.getName(),
                        parent.toString())
                .redirectError(ProcessBuilder.Redirect.INHERIT)
                .start();
        try (var output = owner.inputReader()) {
            Path directory = Path.of(output.readLine());
            assertThat(OwnedDirectory.isAlive(directory)).isTrue();
            OwnedDirectory.sweep(parent, "run-");
            assertThat(directory).exists();

            owner.destroyForcibly();
            assertThat(owner.waitFor(10, TimeUnit.SECONDS)).isTrue();
            assertThat(OwnedDirectory.abandoned(parent, "run-")).containsExactly(directory);
            OwnedDirectory.sweep(parent, "run-");
            assertThat(directory).doesNotExist();
        } finally {
            owner.destroyForcibly();
        }
    }

    @Test
    void looking_at_our_own_directory_does_not_give_its_lock_away() throws IOException {
        try (OwnedDirectory ours = OwnedDirectory.create(parent, "run-")) {
            assertThat(OwnedDirectory.isAlive(ours.path())).isTrue();
            assertThat(OwnedDirectory.abandoned(parent, "run-")).isEmpty();
        }
        assertThat(Trees.list(parent)).extracting(Path::getFileName).containsExactly(Path.of(".lock"));
    }

    @Test
    void deleting_a_tree_does_not_follow_links() throws IOException {
        Path outside = Files.writeString(
                Files.createDirectory(parent.resolve("outside")).resolve("f"), "x");
        Path tree = Files.createDirectories(parent.resolve("tree/sub"));
        Files.createSymbolicLink(tree.resolve("link"), outside.getParent());
        Trees.delete(parent.resolve("tree"));
        assertThat(parent.resolve("tree")).doesNotExist();
        assertThat(outside).exists();
    }
}
