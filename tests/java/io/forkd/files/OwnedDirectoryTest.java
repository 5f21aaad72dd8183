package io.forkd.files;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

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

    /** Sweeps until it is killed. */
    public static final class Sweeper {
        private Sweeper() {}

        public static void main(String[] arguments) throws IOException {
            System.out.println("sweeping");
            while (true) {
                OwnedDirectory.sweep(Path.of(arguments[0]), "run-");
            }
        }
    }

    private Process started(Class<?> program) throws IOException {
        return new ProcessBuilder(
                        Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                        "-cp",
                        System.getProperty("java.class.path"),
                        program.getName(),
                        parent.toString())
                .redirectError(ProcessBuilder.Redirect.INHERIT)
                .start();
    }

    @Test
    void directory_of_a_killed_process_is_abandoned_and_swept() throws Exception {
        Process owner = started(Owner.class);
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
        assertThat(Trees.list(parent)).isEmpty();
    }

    /** Not even root can open that one for writing. */
    @Test
    void lock_of_somebody_else_in_the_parent_is_nobodys_business() throws IOException {
        Path lock = Files.createDirectory(parent.resolve(".lock"));
        OwnedDirectory.create(parent, "run-").close();
        OwnedDirectory.sweep(parent, "run-");
        assertThat(lock).isEmptyDirectory();
    }

    @Test
    void directory_that_is_swept_while_it_is_made_is_made_again() throws Exception {
        Process sweeper = started(Sweeper.class);
        try (var output = sweeper.inputReader()) {
            assertThat(output.readLine()).isEqualTo("sweeping");
            for (int i = 0; i < 2000; i++) {
                try (OwnedDirectory ours = OwnedDirectory.create(parent, "run-")) {
                    assertThat(ours.path().resolve(OwnedDirectory.LOCK)).exists();
                }
            }
            assertThat(sweeper.isAlive()).as("the sweeper lives").isTrue();
        } finally {
            sweeper.destroyForcibly().waitFor();
        }
    }

    @Test
    void link_in_place_of_a_lock_is_not_followed() throws IOException {
        Path target = parent.resolve("target");
        Path link = Files.createSymbolicLink(parent.resolve("link"), target);
        assertThatThrownBy(() -> FileLock.tryExclusive(link)).isInstanceOf(IOException.class);
        assertThat(target).doesNotExist();
    }

    @Test
    void link_to_a_directory_is_not_swept() throws IOException {
        Path elsewhere = Files.createDirectory(parent.resolve("elsewhere"));
        Path link = Files.createSymbolicLink(parent.resolve("run-1"), elsewhere);
        OwnedDirectory.sweep(parent, "run-");
        assertThat(link).exists();
        assertThat(elsewhere).isEmptyDirectory();
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
