package io.forkd.engine;

import io.forkd.ForkdException;
import io.forkd.agent.AgentAddress;
import io.forkd.agent.AgentClient;
import io.forkd.files.FileLock;
import io.forkd.sandbox.Sandbox;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Optional;
import java.util.function.Supplier;

/**
 * The volumes that a sandbox writes through to: while it is branched, its guest is without them. A file beside it says so,
 * by which another forkd gives them back, should this one be killed in that time. The sandbox ends with the host, so
 * nobody has to wait until that file is on a disk.
 */
final class SandboxVolumes {
    private final Sandbox sandbox;
    private final AgentClient agent;

    SandboxVolumes(Sandbox sandbox) {
        this.sandbox = sandbox;
        this.agent = new AgentClient(new AgentAddress.Vsock(sandbox.vsock()));
    }

    AgentClient agent() {
        return agent;
    }

    /** Keeps others from mounting or unmounting them; they would mount them before a branch is made. */
    FileLock lock(Call call) throws IOException {
        return FileLock.exclusive(lockFile(), "the volumes of " + sandbox.id(), call);
    }

    /** Notes that the guest has them no more, and then takes them. */
    <T> T takeAway(Supplier<T> unmount) {
        try {
            Files.write(note(sandbox.directory()), new byte[0]);
        } catch (IOException e) {
            throw ForkdException.of("note that the volumes of " + sandbox.id() + " are unmounted", e);
        }
        return unmount.get();
    }

    /** Mounts them again; what cannot be mounted is tried again by the next command. */
    void giveBack() {
        agent.mount();
        try {
            Files.deleteIfExists(note(sandbox.directory()));
        } catch (IOException e) {
            throw ForkdException.of("note that the volumes of " + sandbox.id() + " are mounted", e);
        }
    }

    /** As {@link #giveBack}, after something else went wrong, which is told instead. */
    void tryGiveBack() {
        try {
            giveBack();
        } catch (ForkdException e) {
            // forkd ls goes on saying so.
        }
    }

    /** Does what a forkd left undone that was killed; nothing while one that lives has them away, or it does not work. */
    void giveBackIfLeft() {
        if (!areAway(sandbox.directory())) {
            return;
        }
        try {
            Optional<FileLock> lock = FileLock.tryExclusive(lockFile());
            if (lock.isPresent()) {
                try (FileLock held = lock.get()) {
                    if (areAway(sandbox.directory())) {
                        giveBack();
                    }
                }
            }
        } catch (IOException | ForkdException e) {
            // forkd ls goes on saying so.
        }
    }

    /** Whether the guest of a sandbox is without its volumes. */
    static boolean areAway(Path directory) {
        return Files.exists(note(directory));
    }

    private static Path note(Path directory) {
        return directory.resolve("volumes.away");
    }

    private Path lockFile() {
        return sandbox.directory().resolve(".volumes");
    }
}
