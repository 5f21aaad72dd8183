package io.forkd.engine;

import io.forkd.Limits;
import io.forkd.kernel.GuestKernel;
import io.forkd.snapshot.SnapshotTag;
import io.forkd.vmm.Guests;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Optional;

/**
 * A snapshot that any /dev/kvm makes and forks, of a guest of our own with an agent: what can be done with any snapshot
 * can be done with it. {@code tests/native/guests/agent/commands.c} and {@code eval.c} say what its children can do.
 */
public final class AgentSnapshot {
    private AgentSnapshot() {}

    /** Boots and writes it, the usual way; {@code directory} is for the kernel and the disk, and has to stay. */
    public static void make(Engine engine, Path directory, String tag) throws IOException, InterruptedException {
        make(engine, directory, tag, 64);
    }

    /** The same, of a guest with more memory. */
    public static void make(Engine engine, Path directory, String tag, int memoryMib)
            throws IOException, InterruptedException {
        Path disk = directory.resolve("disk.ext4");
        try (RandomAccessFile file = new RandomAccessFile(disk.toFile(), "rw")) {
            file.setLength(1 << 20);
        }
        make(engine, directory, tag, memoryMib, disk);
    }

    /** The same, with a disk that is there. */
    public static void make(Engine engine, Path directory, String tag, int memoryMib, Path disk)
            throws IOException, InterruptedException {
        engine.snapshot(
                new SnapshotRequest(
                        new SnapshotTag(tag),
                        new GuestKernel(Guests.compile("agent", directory), Optional.empty()),
                        disk,
                        true,
                        Optional.empty(),
                        memoryMib,
                        1,
                        Limits.NONE,
                        List.of(),
                        VolumeConflict.FAIL,
                        Optional.empty(),
                        Duration.ofSeconds(60),
                        false,
                        false),
                new Call(new Silence(), Optional.empty()));
    }
}
