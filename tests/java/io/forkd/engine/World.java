package io.forkd.engine;

import static org.assertj.core.api.Assertions.assertThat;

import io.forkd.Limits;
import io.forkd.agent.AgentAddress;
import io.forkd.agent.AgentClient;
import io.forkd.agent.AgentClient.Evaluation;
import io.forkd.agent.AgentClient.Output;
import io.forkd.files.FileLock;
import io.forkd.files.Trees;
import io.forkd.kernel.GuestKernel;
import io.forkd.network.Networks;
import io.forkd.sandbox.Found;
import io.forkd.sandbox.Sandbox;
import io.forkd.snapshot.SnapshotTag;
import io.forkd.snapshot.Volume;
import io.forkd.vmm.MemoryVmm;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.stream.Stream;

/** An engine on a {@link MemoryVmm}, in folders of its own, and what it may have left there. */
final class World implements AutoCloseable {
    private static final Path MEMORY = Path.of("/dev/shm");

    final MemoryVmm vmm = new MemoryVmm();
    final Engine engine;
    private final Map<String, String> environment = new HashMap<>();
    private final Path scratch;
    private final Path runtime;
    private final Path kernel;
    private final Path rootfs;

    World() throws IOException {
        this("60");
    }

    /** @param idleSecs how long servers are kept */
    World(String idleSecs) throws IOException {
        this(idleSecs, Optional.empty());
    }

    /** @param networks that its children get */
    World(Networks networks) throws IOException {
        this("60", Optional.of(networks));
    }

    private World(String idleSecs, Optional<Networks> networks) throws IOException {
        // Nothing of it is to outlast a crash of the host, and waiting for disks is most of what these tests would do.
        scratch = Files.isDirectory(MEMORY)
                ? Files.createTempDirectory(MEMORY, "forkd-")
                : Files.createTempDirectory("forkd-");
        runtime = scratch.resolve("r");
        environment.put("XDG_DATA_HOME", scratch.resolve("d").toString());
        environment.put("XDG_RUNTIME_DIR", runtime.toString());
        environment.put("FORKD_SERVER_IDLE_SECS", idleSecs);
        Files.createDirectories(runtime);
        kernel = Files.write(scratch.resolve("vmlinux"), new byte[1]);
        rootfs = Files.write(scratch.resolve("rootfs.ext4"), new byte[512]);
        engine = networks.isPresent() ? new Engine(vmm, environment, networks.get()) : new Engine(vmm, environment);
    }

    /** Of another process on the same folders. */
    Engine beside() {
        return new Engine(vmm.beside(), environment);
    }

    /** As {@link #beside()}, with networks. */
    Engine beside(Networks networks) {
        return new Engine(vmm.beside(), environment, networks);
    }

    /** As {@link #beside()}, with a monitor that the test has in its hands. */
    Engine on(MemoryVmm other) {
        return new Engine(other, environment);
    }

    static SnapshotTag tag(String name) {
        return new SnapshotTag(name);
    }

    static Call call() {
        return new Call(new Silence(), Optional.empty());
    }

    SnapshotRequest booting(String tag, boolean replace) {
        return booting(tag, replace, List.of());
    }

    SnapshotRequest booting(String tag, boolean replace, List<Volume> volumes) {
        return booting(tag, replace, volumes, Limits.NONE);
    }

    SnapshotRequest booting(String tag, boolean replace, List<Volume> volumes, Limits limits) {
        return new SnapshotRequest(
                tag(tag),
                new GuestKernel(kernel, Optional.empty()),
                rootfs,
                false,
                Optional.empty(),
                1,
                1,
                limits,
                volumes,
                VolumeConflict.FAIL,
                Optional.empty(),
                Duration.ofSeconds(60),
                replace,
                false);
    }

    static SpawnRequest spawning(String tag, int count) {
        return new SpawnRequest(tag(tag), count, NetworkRequest.OF_HOST, Limits.NONE, VolumeConflict.FAIL);
    }

    static ForkRequest forking(String tag, int count) {
        return new ForkRequest(
                tag(tag), count, NetworkRequest.OF_HOST, Limits.NONE, VolumeConflict.FAIL, true, true, false);
    }

    static BranchRequest branching(String sandbox, String tag, boolean layer, boolean replace) {
        return new BranchRequest(sandbox, Optional.of(tag(tag)), layer, replace, true);
    }

    static DiffRequest changing(String from, String tag, String text, boolean replace) {
        return new DiffRequest(tag(from), tag(tag), List.of("set", text), Duration.ofSeconds(60), ignored(), replace);
    }

    private static Output ignored() {
        return Output.into(new ByteArrayOutputStream(), new ByteArrayOutputStream());
    }

    private static AgentClient agent(Path socket) {
        return new AgentClient(new AgentAddress.Vsock(socket));
    }

    static void set(Sandbox sandbox, String text) {
        agent(sandbox.vsock()).exec(List.of("set", text), Duration.ofSeconds(60), ignored());
    }

    static String text(Path socket) {
        return ((Evaluation.Value) agent(socket).eval("it", Optional.empty())).text();
    }

    /** What a child of the snapshot says. */
    String text(String tag) {
        List<String> said = new ArrayList<>();
        try (Fork fork = engine.fork(forking(tag, 1), call())) {
            fork.awaitReady(child -> said.add(text(child.socket())));
        }
        return said.get(0);
    }

    List<String> sandboxes() {
        return engine.sandboxes().list().stream().map(found -> found.id()).toList();
    }

    void kill(Engine by, String id) {
        by.sandboxes()
                .kill(List.of(by.sandboxes().findAny(id)), call())
                .forEach(failure -> failure.ifPresent(e -> {
                    throw e;
                }));
    }

    Found pause(String id) {
        return engine.pause(id, call());
    }

    Sandbox resume(String id) {
        return engine.resume(id, call());
    }

    /** Where what is paused is kept. */
    Path paused() {
        return scratch.resolve("d/forkd/paused");
    }

    /** Loses all that a restart of the host does. */
    void restart() throws IOException {
        vmm.killAll();
        Trees.delete(runtime);
        Files.createDirectories(runtime);
    }

    void killAll() {
        sandboxes().forEach(id -> kill(engine, id));
    }

    void remove(String tag) {
        engine.snapshots().remove(tag(tag), true);
    }

    /** That the folders have nothing but this, that nobody holds anything, and that nothing runs but the sandboxes. */
    void assertLeft(Collection<String> snapshots, Collection<String> ids) throws IOException {
        assertThat(names(engine.runtime().root()))
                .as("the runtime folder: no runs")
                .isSubsetOf("sandboxes", "servers");
        assertThat(names(engine.runtime().root().resolve("sandboxes")))
                .as("folders of sandboxes")
                .filteredOn(name -> !name.startsWith("."))
                .containsExactlyInAnyOrderElementsOf(ids);
        assertThat(names(engine.store().root()))
                .as("folders of the store")
                .filteredOn(name -> !name.equals(".lock"))
                .containsExactlyInAnyOrderElementsOf(snapshots);
        awaitEnds(ids.size());
        assertThat(vmm.vms()).as("VMs").isEqualTo(ids.size());
        endIdleServers();
        assertThat(vmm.servers()).as("servers that somebody uses").isZero();
        engine.sweep();
        assertThat(names(engine.runtime().root().resolve("servers")))
                .as("folders of servers")
                .filteredOn(name -> !name.startsWith("."))
                .isEmpty();
        assertThat(locked()).as("files that are locked").isEmpty();
    }

    /** What was killed ends a moment later. */
    private void awaitEnds(int left) {
        long end = System.nanoTime() + 30_000_000_000L;
        while (vmm.vms() > left && System.nanoTime() < end) {
            pause();
        }
    }

    /** All: an engine that follows keeps its channels to them for a moment. */
    private void endIdleServers() {
        long end = System.nanoTime() + 30_000_000_000L;
        vmm.endIdleServers();
        while (vmm.servers() > 0 && System.nanoTime() < end) {
            pause();
            vmm.endIdleServers();
        }
    }

    private static void pause() {
        try {
            Thread.sleep(50);
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }

    private static List<String> names(Path directory) throws IOException {
        if (!Files.exists(directory)) {
            return List.of();
        }
        try (Stream<Path> entries = Files.list(directory)) {
            return entries.map(entry -> entry.getFileName().toString()).toList();
        }
    }

    private List<Path> locked() throws IOException {
        List<Path> found = new ArrayList<>();
        for (Path root : List.of(engine.runtime().root(), engine.store().root())) {
            try (Stream<Path> all = Files.exists(root) ? Files.walk(root) : Stream.of()) {
                all.filter(file -> Files.isRegularFile(file) && isLocked(file)).forEach(found::add);
            }
        }
        return found;
    }

    private static boolean isLocked(Path file) {
        try {
            return file.getFileName().toString().startsWith(".") && FileLock.isHeld(file);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    @Override
    public void close() throws IOException {
        vmm.close();
        Trees.delete(scratch);
    }
}
