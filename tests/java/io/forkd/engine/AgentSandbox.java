package io.forkd.engine;

import io.forkd.Limits;
import io.forkd.files.Trees;
import io.forkd.sandbox.Sandbox;
import io.forkd.snapshot.SnapshotTag;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.Optional;

/** A sandbox of the guest with an agent, in folders of its own: a VM on this machine's /dev/kvm. */
public final class AgentSandbox implements AutoCloseable {
    private final Path directory;
    private final Engine engine;
    private final Sandbox sandbox;

    public AgentSandbox() throws IOException, InterruptedException {
        directory = Files.createTempDirectory("forkd-");
        engine = Engine.of(environment());
        AgentSnapshot.make(engine, directory, "py");
        sandbox = engine.spawn(
                        new SpawnRequest(
                                new SnapshotTag("py"), 1, NetworkRequest.OF_HOST, Limits.NONE, VolumeConflict.FAIL),
                        call())
                .get(0);
    }

    /** What a command line has that is to find it. */
    public Map<String, String> environment() {
        return Map.of("XDG_DATA_HOME", directory.toString(), "XDG_RUNTIME_DIR", directory.toString());
    }

    public String id() {
        return sandbox.id();
    }

    public Path socket() {
        return sandbox.vsock();
    }

    private static Call call() {
        return new Call(new Silence(), Optional.empty());
    }

    @Override
    public void close() throws IOException {
        engine.sandboxes().kill(engine.sandboxes().list(), call());
        Trees.delete(directory);
    }
}
