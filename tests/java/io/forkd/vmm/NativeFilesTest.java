package io.forkd.vmm;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class NativeFilesTest {
    @TempDir
    Path root;

    @Test
    void files_of_another_version_go_when_nothing_of_it_runs() throws Exception {
        Path used = Files.createDirectory(root.resolve("used"));
        Path unused = Files.createDirectory(root.resolve("unused"));
        Path program = Files.copy(Path.of("/bin/sleep").toRealPath(), used.resolve("sleep"));
        program.toFile().setExecutable(true);
        Process process = new ProcessBuilder(program.toString(), "60").start();
        try {
            NativeFiles.removeOld(root, Instant.now().plusSeconds(60));
            assertThat(program).exists();
            assertThat(unused).doesNotExist();
        } finally {
            process.destroyForcibly().waitFor();
        }
        NativeFiles.removeOld(root, Instant.now().plusSeconds(60));
        assertThat(used).doesNotExist();
    }
}
