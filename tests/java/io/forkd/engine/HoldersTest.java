package io.forkd.engine;

import static org.assertj.core.api.Assertions.assertThat;

import io.forkd.engine.Holders.Held;
import io.forkd.sandbox.RuntimeDirectory;
import io.forkd.snapshot.SnapshotStore;
import io.forkd.vmm.NativeVmm;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class HoldersTest {
    @TempDir
    Path directory;

    private Holders holders;
    private Path image;

    @BeforeEach
    void makeImage() throws IOException {
        RuntimeDirectory runtime = new RuntimeDirectory(directory);
        Servers servers = new Servers(new NativeVmm(), runtime, Map.of());
        holders = new Holders(new Sandboxes(new NativeVmm(), runtime), servers, new SnapshotStore(directory, servers));
        image = Files.write(directory.resolve("image"), new byte[512]);
    }

    @Test
    void locks_of_the_file_are_those_that_are_held_by_flock() {
        List<String> locks = List.of(
                "1: FLOCK  ADVISORY  WRITE 100 fd:01:7 0 EOF",
                "1: -> FLOCK  ADVISORY  WRITE 101 fd:01:7 0 EOF",
                "2: POSIX  ADVISORY  WRITE 102 fd:01:7 0 EOF",
                "3: FLOCK  ADVISORY  READ  103 fd:01:7 0 EOF",
                "4: FLOCK  ADVISORY  WRITE 104 fd:01:77 0 EOF",
                "5: FLOCK");
        assertThat(Held.of(locks, "fd:01:7")).containsExactly(new Held(100, true), new Held(103, false));
    }

    /** Runs {@code test} while flock(1) holds the image. */
    private void whileHeld(String how, Runnable test) throws IOException {
        Process holder = new ProcessBuilder("flock", how, image.toString(), "sh", "-c", "echo held; read end").start();
        try {
            assertThat(holder.inputReader().readLine()).isEqualTo("held");
            test.run();
        } finally {
            holder.destroy();
            holder.children().forEach(ProcessHandle::destroy);
        }
    }

    @Test
    void who_writes_to_it_is_named_to_everybody() throws IOException {
        assertThat(holders.refusal(image, true)).isEmpty();
        whileHeld("--exclusive", () -> {
            for (boolean toWrite : List.of(false, true)) {
                assertThat(holders.refusal(image, toWrite).orElseThrow())
                        .hasMessageContaining(image + " is attached for writing by the process ")
                        .hasMessageContaining("(flock)")
                        .hasMessageNotContaining("--volume-conflict");
            }
        });
    }

    @Test
    void who_reads_it_is_named_to_who_wants_to_write() throws IOException {
        whileHeld("--shared", () -> {
            assertThat(holders.refusal(image, false)).isEmpty();
            assertThat(holders.refusal(image, true).orElseThrow())
                    .hasMessageContaining(image + " is attached by the process ")
                    .hasMessageContaining("--volume-conflict=private");
        });
    }
}
