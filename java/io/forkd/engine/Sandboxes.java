package io.forkd.engine;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.agent.AgentAddress;
import io.forkd.agent.AgentClient;
import io.forkd.files.FileLock;
import io.forkd.files.OwnedDirectory;
import io.forkd.files.Trees;
import io.forkd.sandbox.Origin;
import io.forkd.sandbox.RuntimeDirectory;
import io.forkd.sandbox.Sandbox;
import io.forkd.vmm.Vm;
import io.forkd.vmm.VmStatus;
import io.forkd.vmm.VmmException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/** The VMs that outlive their commands: listed, found, ended, and what is left of the dead removed. */
public final class Sandboxes {
    private final RuntimeDirectory runtime;

    Sandboxes(RuntimeDirectory runtime) {
        this.runtime = runtime;
    }

    /** Those that live, by age. */
    public List<Sandbox> list() {
        List<Sandbox> found = new ArrayList<>();
        for (Path directory : directories()) {
            Sandbox.read(directory)
                    .filter(sandbox -> attach(sandbox).isPresent())
                    .ifPresent(found::add);
        }
        found.sort((a, b) -> a.createdAt().compareTo(b.createdAt()));
        return found;
    }

    /** The sandbox with that id, which lives. */
    public Sandbox find(String id) {
        Optional<Sandbox> sandbox = Sandbox.isId(id) ? Sandbox.read(root().resolve(id)) : Optional.empty();
        return sandbox.filter(there -> attach(there).isPresent())
                .orElseThrow(() -> new ForkdException(
                        Kind.NOT_FOUND,
                        "there is no sandbox '" + id + "'" + (sandbox.isPresent() ? " any more: it has ended" : ""),
                        "forkd ls lists those that run."));
    }

    /** Whether the host had no room for what a sandbox wrote to its disks; of what is none, or has ended, it is not known. */
    public boolean isHostFull(String id) {
        if (!Sandbox.isId(id)) {
            return false;
        }
        try (Vm vm = Vm.attach(RuntimeDirectory.control(root().resolve(id)))) {
            return vm.await(Duration.ZERO).map(VmStatus::hostFull).orElse(false);
        } catch (VmmException e) {
            return false;
        }
    }

    /** Ends a sandbox, when its volumes have what was written to them, and removes what belongs to it. */
    public void kill(String id, Progress progress) {
        Sandbox sandbox = find(id);
        WrittenVolumes.flush(
                new AgentClient(new AgentAddress.Vsock(Sandbox.vsock(sandbox.directory()))),
                sandbox.volumes(),
                progress);
        try (Vm vm = Vm.attach(sandbox.control())) {
            vm.kill();
        } catch (VmmException e) {
            if (!e.nobodyThere()) {
                throw e;
            }
        }
        sweep();
    }

    /** Those that use a snapshot: that were forked from it, or have their memory mapped from its files. */
    List<Sandbox> of(Origin snapshot) {
        return list().stream()
                .filter(sandbox ->
                        sandbox.snapshot().equals(snapshot) || sandbox.base().equals(snapshot))
                .toList();
    }

    void countBranch(Sandbox sandbox) {
        guarded(() -> Sandbox.read(sandbox.directory())
                .ifPresent(now -> now.withOneMoreBranch().write()));
    }

    /** Who has an image attached for writing, in words. */
    private Optional<String> holder(Path volume) {
        for (Sandbox sandbox : list()) {
            if (sandbox.volumes().contains(volume)) {
                return Optional.of("the sandbox " + sandbox.id() + " (pid " + sandbox.pid() + ")");
            }
        }
        try {
            long device = (Long) Files.getAttribute(volume, "unix:dev");
            String file = String.format(
                    "%02x:%02x:%d",
                    (device >> 8) & 0xfff, (device & 0xff) | ((device >> 12) & 0xfff00), (Long)
                            Files.getAttribute(volume, "unix:ino"));
            for (String line : Files.readAllLines(Path.of("/proc/locks"))) {
                String[] words = line.trim().split(" +", -1);
                if (words.length > 5 && words[1].equals("FLOCK") && words[5].equals(file)) {
                    return Optional.of("the process " + words[4]);
                }
            }
        } catch (IOException | UnsupportedOperationException e) {
            // Then nobody can be named.
        }
        return Optional.empty();
    }

    /** Why one of the volumes cannot be attached for writing: somebody else has it. */
    Optional<ForkdException> held(List<Path> volumes) {
        for (Path volume : volumes) {
            Optional<String> holder = holder(volume);
            if (holder.isPresent()) {
                return Optional.of(new ForkdException(
                        Kind.CONFLICT,
                        "the volume " + volume + " is attached for writing by " + holder.get(),
                        "End that, or give --volume-conflict=private for a copy-on-write view."));
            }
        }
        return Optional.empty();
    }

    /** Directories of sandboxes that are no more. */
    public List<Path> leftovers() {
        try {
            List<Path> found = new ArrayList<>();
            for (Path directory : directories()) {
                // A directory is owned while its sandbox is being made.
                if (!OwnedDirectory.isAlive(directory)
                        && Sandbox.read(directory).flatMap(Sandboxes::attach).isEmpty()) {
                    found.add(directory);
                }
            }
            return found;
        } catch (IOException e) {
            throw ForkdException.of("list " + root(), e);
        }
    }

    /** Removes what is left of sandboxes that have ended. */
    public void sweep() {
        if (!leftovers().isEmpty()) {
            guarded(() -> {
                for (Path directory : leftovers()) {
                    killUnfinished(directory);
                    Trees.delete(directory);
                }
            });
        }
        MemoryLimit.sweep();
    }

    /** Who made the sandbox died before it was ready, and nobody knows of it. */
    private static void killUnfinished(Path directory) {
        if (Sandbox.read(directory).isEmpty()) {
            try (Vm vm = Vm.attach(RuntimeDirectory.control(directory))) {
                vm.kill();
            } catch (VmmException e) {
                if (!e.nobodyThere()) {
                    throw e;
                }
            }
        }
    }

    private List<Path> directories() {
        try {
            return Trees.list(root()).stream()
                    .filter(entry -> Sandbox.isId(String.valueOf(entry.getFileName())))
                    .toList();
        } catch (IOException e) {
            throw ForkdException.of("list " + root(), e);
        }
    }

    private Path root() {
        return runtime.root().resolve("sandboxes");
    }

    /** The sandbox itself, if it lives. */
    private static Optional<Sandbox> attach(Sandbox sandbox) {
        try {
            Vm.attach(sandbox.control()).close();
            return Optional.of(sandbox);
        } catch (VmmException e) {
            if (e.nobodyThere()) {
                return Optional.empty();
            }
            throw e;
        }
    }

    private interface Job {
        void run() throws IOException;
    }

    private void guarded(Job job) {
        try (FileLock lock = FileLock.exclusive(runtime.sandboxes().resolve(OwnedDirectory.LOCK))) {
            job.run();
        } catch (IOException e) {
            throw ForkdException.of("change what is in " + root(), e);
        }
    }
}
