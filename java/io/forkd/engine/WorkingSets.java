package io.forkd.engine;

import io.forkd.ForkdException;
import io.forkd.agent.AgentAddress;
import io.forkd.agent.AgentClient;
import io.forkd.agent.AgentClient.Output;
import io.forkd.agent.CommandFailed;
import io.forkd.cgroup.Cgroups;
import io.forkd.sandbox.Origin;
import io.forkd.sandbox.RuntimeDirectory;
import io.forkd.snapshot.Manifest.Machine;
import io.forkd.snapshot.Manifest.ManifestDisk;
import io.forkd.snapshot.Snapshot;
import io.forkd.snapshot.SnapshotStore;
import io.forkd.snapshot.SnapshotTag;
import io.forkd.vmm.ChildOptions;
import io.forkd.vmm.Disk;
import io.forkd.vmm.ForkServer;
import io.forkd.vmm.ServerOptions;
import io.forkd.vmm.Vm;
import io.forkd.vmm.VmStatus;
import io.forkd.vmm.VmStatus.Phase;
import io.forkd.vmm.Vmm;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.function.Consumer;

/**
 * What a snapshot's children have ready for their first answer: learnt from a child of forkd's own when the snapshot is
 * made, and taken over by what is made of it. It is a cache: no failure here is one of the snapshot's.
 */
final class WorkingSets {
    private static final Duration READY = Duration.ofMinutes(2);
    private static final Duration ANSWER = Duration.ofMinutes(2);

    /** How soon a cancellation is noticed. */
    private static final Duration SLICE = Duration.ofMillis(100);

    private static final String NAME = "learn";

    /**
     * The first that takes some work is learnt from: there may be no interpreter, and no such command. The agent's own
     * program is always there; it ends at once when it is not init.
     */
    private static final List<Consumer<AgentClient>> QUESTIONS =
            List.of(agent -> agent.eval("1 + 1", Optional.of(ANSWER)), run("true"), run("/proc/self/exe"));

    private static Consumer<AgentClient> run(String program) {
        return agent -> agent.exec(
                List.of(program), ANSWER, Output.into(new ByteArrayOutputStream(), new ByteArrayOutputStream()));
    }

    private final Vmm vmm;
    private final SnapshotStore store;
    private final Cgroups cgroups;

    WorkingSets(Vmm vmm, SnapshotStore store, Cgroups cgroups) {
        this.cgroups = cgroups;
        this.vmm = vmm;
        this.store = store;
    }

    /** Asks children of a snapshot that was booted; {@code run} is for their sockets. */
    void learn(SnapshotTag tag, Path run, Call call) {
        call.step("learning what a child's first answer takes");
        try {
            Snapshot snapshot = store.open(tag);
            Machine machine = snapshot.manifest().machine();
            try (Groups groups = Groups.of(cgroups, machine.limits(), machine.vcpus());
                    ForkServer server = vmm.serve(options(snapshot))) {
                store.requireUnchanged(snapshot);
                Optional<Path> cgroup = groups.make(Cgroups.name(String.valueOf(run.getFileName()), NAME));
                for (Consumer<AgentClient> question : QUESTIONS) {
                    if (Files.size(snapshot.workingSet()) == 0) {
                        ChildOptions child = child(RuntimeDirectory.socket(run, NAME), machine, cgroup);
                        ask(server, child, question, call);
                    }
                }
            }
        } catch (ForkdException e) {
            call.step("learnt nothing: " + e.sentence());
        } catch (IOException e) {
            call.step("learnt nothing: " + ForkdException.reason(e));
        }
    }

    /** Its disks are its own, volumes too: what it writes goes with it. */
    private static ServerOptions options(Snapshot snapshot) {
        List<List<Path>> layers = Chains.layers(List.of(snapshot));
        List<Disk> disks = new ArrayList<>();
        for (int i = 0; i < layers.size(); i++) {
            ManifestDisk disk = snapshot.manifest().disks().get(i);
            disks.add(new Disk(
                    snapshot.image(disk), disk.readOnly() ? Disk.Mode.READ_ONLY : Disk.Mode.PRIVATE, layers.get(i)));
        }
        return new ServerOptions(
                snapshot.memory(),
                snapshot.vmstate(),
                disks,
                0,
                Optional.empty(),
                Duration.ZERO,
                Optional.of(snapshot.workingSet()),
                true);
    }

    private static ChildOptions child(Path socket, Machine machine, Optional<Path> cgroup) {
        return new ChildOptions(
                NAME,
                socket,
                Optional.empty(),
                Optional.empty(),
                Optional.empty(),
                Optional.empty(),
                machine.limits(),
                cgroup);
    }

    private static void ask(ForkServer server, ChildOptions options, Consumer<AgentClient> question, Call call) {
        try (Vm child = server.fork(options)) {
            if (isReady(child, call)) {
                call.interruptibly(() -> {
                    question.accept(new AgentClient(new AgentAddress.Vsock(options.vsock())));
                    return true;
                });
            }
        } catch (CommandFailed e) {
            // There is no such command: the next question may be one for this image.
        }
    }

    private static boolean isReady(Vm child, Call call) {
        long deadline = System.nanoTime() + READY.toNanos();
        Optional<VmStatus> status = Optional.empty();
        while (status.isEmpty() && System.nanoTime() < deadline) {
            call.check();
            status = child.await(SLICE);
        }
        return status.filter(known -> known.phase() == Phase.READY).isPresent();
    }

    /** What is known of a snapshot; empty when nothing is. */
    static byte[] of(Snapshot snapshot) {
        try {
            return Files.readAllBytes(snapshot.workingSet());
        } catch (IOException e) {
            return new byte[0];
        }
    }

    /** What is known of the snapshot that a VM is a child of, if that is still there. */
    byte[] of(Origin base) {
        try {
            Snapshot snapshot = store.read(new SnapshotTag(base.tag()));
            return Servers.origin(snapshot).equals(base) ? of(snapshot) : new byte[0];
        } catch (ForkdException e) {
            return new byte[0];
        }
    }

    /** Gives a snapshot what is known of the one that it was made of: its guest has the same memory, mostly. */
    static void put(byte[] known, Path directory) {
        try {
            Files.write(directory.resolve(Snapshot.WORKING_SET), known);
        } catch (IOException e) {
            // It is done without.
        }
    }
}
