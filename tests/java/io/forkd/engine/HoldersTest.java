package io.forkd.engine;

import static org.assertj.core.api.Assertions.assertThat;

import io.forkd.ForkdException;
import io.forkd.Remedy;
import io.forkd.cgroup.Cgroups;
import io.forkd.network.Networks;
import io.forkd.sandbox.RuntimeDirectory;
import io.forkd.snapshot.SnapshotStore;
import io.forkd.vmm.NativeVmm;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Optional;
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
        holders = new Holders(
                new Sandboxes(
                        new NativeVmm(),
                        runtime,
                        new Networks(Map.of(), List::of),
                        new Cgroups("forkd", List.of()),
                        new PausedSandboxes(directory.resolve("paused"), runtime)),
                servers,
                new SnapshotStore(directory, servers));
        image = Files.write(directory.resolve("image"), new byte[512]);
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
                ForkdException refusal = holders.refusal(image, toWrite).orElseThrow();
                assertThat(refusal.sentence())
                        .contains(image + " is attached for writing by the process ")
                        .contains("(flock)");
                assertThat(refusal.remedy()).isEqualTo(new Remedy.DetachImage(Optional.empty(), false));
            }
        });
    }

    @Test
    void who_reads_it_is_named_to_who_wants_to_write() throws IOException {
        whileHeld("--shared", () -> {
            assertThat(holders.refusal(image, false)).isEmpty();
            ForkdException refusal = holders.refusal(image, true).orElseThrow();
            assertThat(refusal.sentence()).contains(image + " is attached by the process ");
            assertThat(refusal.remedy()).isEqualTo(new Remedy.DetachImage(Optional.empty(), true));
        });
    }
}
