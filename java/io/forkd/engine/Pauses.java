package io.forkd.engine;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.files.FileLock;
import io.forkd.files.OwnedDirectory;
import io.forkd.files.Trees;
import io.forkd.sandbox.Found;
import io.forkd.sandbox.Found.Paused;
import io.forkd.sandbox.Sandbox;
import io.forkd.snapshot.Manifest;
import io.forkd.snapshot.Snapshot;
import io.forkd.snapshot.SnapshotTag;
import io.forkd.vmm.Vm;
import io.forkd.vmm.Vmm;
import io.forkd.vmm.VmmException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.util.Optional;
import java.util.Set;
import java.util.function.Consumer;

/**
 * Has sandboxes be paused and resumed. From the instant that is written down its guest does nothing more, so that what it
 * did is all there. What is written needs no other snapshot, and takes the place of what was written before: so the
 * hundredth pause costs what the first did.
 */
final class Pauses {
    private final Vmm vmm;
    private final Sandboxes sandboxes;
    private final PausedSandboxes paused;
    private final WorkingSets workingSets;
    private final Leases leases;
    private final Spawn spawn;

    /** @param leases of what is paused */
    Pauses(Vmm vmm, Sandboxes sandboxes, PausedSandboxes paused, WorkingSets workingSets, Leases leases, Spawn spawn) {
        this.vmm = vmm;
        this.sandboxes = sandboxes;
        this.paused = paused;
        this.workingSets = workingSets;
        this.leases = leases;
        this.spawn = spawn;
    }

    /** Returns when all is on the disk; at once when it is paused already. */
    Found pause(String id, Call call) {
        return pause(id, "asked", call);
    }

    /** @param why for those that hear of it */
    Found pause(String id, String why, Call call) {
        sandboxes.findAny(id);
        try (PausedSandboxes.Alone alone = paused.lock(id, call)) {
            return pauseAlone(id, why, call);
        }
    }

    /** The same, unless somebody is at it already; whether nobody was. */
    boolean tryPause(String id, String why, Call call) {
        try (PausedSandboxes.Alone alone = paused.tryLock(id).orElse(null)) {
            if (alone != null) {
                pauseAlone(id, why, call);
            }
            return alone != null;
        }
    }

    private Found pauseAlone(String id, String why, Call call) {
        Found found = sandboxes.findAny(id);
        if (found instanceof Paused) {
            return found;
        }
        Sandbox sandbox = sandboxes.find(id);
        write(sandbox, call);
        sandboxes.announce(sandbox);
        sandboxes.clear(id);
        sandboxes.events().happened(Events.Kind.PAUSED, id, Sandboxes.owner(paused.directory(id)), why);
        return sandboxes.findAny(id);
    }

    private void write(Sandbox sandbox, Call call) {
        Manifest forked = Manifest.read(Sandbox.manifest(sandbox.directory()));
        Manifest source = forked.withMachine(forked.machine().withLimits(sandbox.limits()))
                .withNetwork(sandbox.network());
        try (Vm vm = vmm.attach(sandbox.control())) {
            withoutVolumes(sandbox, source, call, unmounted -> {
                Path directory = register(sandbox, source, unmounted);
                call.step("writing " + directory);
                try {
                    vm.snapshot(directory);
                } catch (VmmException e) {
                    // Whatever went wrong after that.
                    if (!Files.exists(directory.resolve(Snapshot.VMSTATE))) {
                        paused.discard(sandbox.id());
                        throw e;
                    }
                }
            });
        }
    }

    /** What its guest writes through to it mounts anew when it is resumed, with what others have written meanwhile. */
    private static void withoutVolumes(Sandbox sandbox, Manifest source, Call call, Consumer<Set<Integer>> write) {
        if (sandbox.volumes().isEmpty()) {
            write.accept(Set.of());
            return;
        }
        SandboxVolumes volumes = new SandboxVolumes(sandbox);
        try (FileLock alone = volumes.lock(call)) {
            try {
                write.accept(volumes.takeAway(() -> WrittenVolumes.unmount(
                        volumes.agent(), source.volumes(), source.disks(), sandbox.volumes(), call)));
            } catch (RuntimeException e) {
                volumes.tryGiveBack();
                throw e;
            }
        } catch (IOException e) {
            throw ForkdException.of("lock the volumes of " + sandbox.id(), e);
        }
    }

    /** All but what the sandbox writes itself, in its place. */
    private Path register(Sandbox sandbox, Manifest source, Set<Integer> unmounted) {
        SnapshotTag tag = PausedSandboxes.tag(sandbox.id());
        Path directory = paused.directory(sandbox.id());
        Manifest manifest = new Manifest(
                directory.resolve(Snapshot.VMSTATE),
                directory.resolve(Snapshot.MEMORY),
                source.memoryBytes(),
                source.volumes(),
                source.rootfs(),
                Optional.empty(),
                Branches.disks(source, unmounted),
                source.machine(),
                source.network(),
                Instant.now(),
                source.rest());
        if (paused.has(sandbox.id())) {
            paused.store().discard(tag); // What it was resumed from, or what was not finished.
        }
        try (OwnedDirectory staged = paused.store().stage(tag)) {
            byte[] known = workingSets.of(sandbox.base());
            sandbox.asleep(staged.path()).write();
            Trees.sync(Sandbox.file(staged.path()));
            if (Files.exists(Sandbox.owner(sandbox.directory()))) {
                Trees.writeNew(Sandbox.owner(staged.path()), Files.readAllBytes(Sandbox.owner(sandbox.directory())));
            }
            paused.store().register(staged, tag, manifest, false, Optional.empty());
            staged.release();
            WorkingSets.put(known, directory);
            return directory;
        } catch (IOException e) {
            throw ForkdException.of("write " + directory, e);
        }
    }

    /** As it was, under its id; at once when it runs. */
    Sandbox resume(String id, Call call) {
        if (!(sandboxes.findAny(id) instanceof Paused)) {
            return sandboxes.find(id);
        }
        try (PausedSandboxes.Alone alone = paused.lock(id, call)) {
            // Somebody may have been faster.
            if (!(sandboxes.findAny(id) instanceof Paused found)) {
                return sandboxes.find(id);
            }
            SnapshotTag tag = PausedSandboxes.tag(id);
            Sandbox resumed;
            try {
                resumed = spawn.resume(found.sandbox(), paused.store().open(tag), leases, call);
            } catch (ForkdException e) {
                throw new ForkdException(
                        e.kind() == Kind.NOT_FOUND ? Kind.FAILED : e.kind(),
                        "the sandbox '" + id + "' stays paused: " + e.sentence(),
                        e.remedy());
            }
            paused.discard(id);
            sandboxes.events().happened(Events.Kind.RESUMED, id, Sandboxes.owner(resumed.directory()), "");
            return resumed;
        }
    }
}
