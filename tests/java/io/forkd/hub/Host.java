package io.forkd.hub;

import io.forkd.Limits;
import io.forkd.agent.AgentAddress;
import io.forkd.agent.AgentClient;
import io.forkd.agent.AgentClient.Output;
import io.forkd.engine.AgentSnapshot;
import io.forkd.engine.Call;
import io.forkd.engine.DiffRequest;
import io.forkd.engine.Engine;
import io.forkd.engine.NetworkRequest;
import io.forkd.engine.Silence;
import io.forkd.engine.SpawnRequest;
import io.forkd.engine.VolumeConflict;
import io.forkd.files.Trees;
import io.forkd.image.ImageReference.InRegistry;
import io.forkd.image.QuietWork;
import io.forkd.image.Reach;
import io.forkd.image.Work;
import io.forkd.rootfs.RootfsCache;
import io.forkd.sandbox.Sandbox;
import io.forkd.snapshot.SnapshotStore;
import io.forkd.snapshot.SnapshotTag;
import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.Consumer;

/** A machine: folders of its own, and an engine on them, with guests that this one's KVM runs. */
final class Host {
    final Path home;
    final Engine engine;

    Host(Path home) throws Exception {
        this.home = Files.createDirectories(home);
        Files.createDirectories(home.resolve("run"), Trees.PRIVATE);
        this.engine = Engine.of(environment());
    }

    Map<String, String> environment() {
        Map<String, String> environment = new HashMap<>();
        environment.put("HOME", home.toString());
        environment.put("XDG_DATA_HOME", home.resolve("data").toString());
        environment.put("XDG_RUNTIME_DIR", home.resolve("run").toString());
        environment.put("FORKD_RUN_CACHE", home.resolve("cache").toString());
        return environment;
    }

    static Call call() {
        return new Call(new Silence(), Optional.empty());
    }

    /** {@code base} of a booted guest. */
    void boot() throws Exception {
        AgentSnapshot.make(engine, home, "base");
    }

    /** A layer over another, in which a command was run. */
    void link(String from, String to, String command) {
        engine.diff(
                new DiffRequest(
                        new SnapshotTag(from),
                        new SnapshotTag(to),
                        List.of(command.split(" ")),
                        Duration.ofSeconds(60),
                        Output.into(new ByteArrayOutputStream(), new ByteArrayOutputStream()),
                        false),
                call());
    }

    Push.Result push(String tag, String to) {
        return push(tag, to, Optional.empty());
    }

    Push.Result push(String tag, String to, Optional<SigningKey> key) {
        return push(tag, to, key, false);
    }

    Push.Result push(String tag, String to, Optional<SigningKey> key, boolean thin) {
        return new Push(engine, new QuietWork(), call())
                .push(new Push.Order(
                        new SnapshotTag(tag), InRegistry.parse(to), new Reach(false, Optional.empty()), key, thin));
    }

    Pull.Result pull(String from) {
        return pull(from, Optional.empty(), false);
    }

    Pull.Result pull(String from, Optional<String> as, boolean replace) {
        return pull(from, as, replace, Optional.empty());
    }

    Pull.Result pull(String from, Optional<String> as, boolean replace, Optional<Path> policy) {
        return pull(from, as, replace, policy, new QuietWork());
    }

    /** With somebody who looks on. */
    Pull.Result pull(String from, Optional<String> as, boolean replace, Optional<Path> policy, Work work) {
        return pull(from, as, replace, policy, work, Optional.empty());
    }

    /** Somebody forks it before all of it is here. */
    Pull.Result pull(
            String from,
            Optional<String> as,
            boolean replace,
            Optional<Path> policy,
            Work work,
            Optional<Consumer<SnapshotTag>> early) {
        try (RootfsCache images = engine.images(engine.imageCache(), Map.of(), work)) {
            return new Pull(engine, images, work, call())
                    .pull(
                            new Pull.Order(
                                    InRegistry.parse(from),
                                    new Reach(false, Optional.empty()),
                                    as.map(SnapshotTag::new),
                                    replace,
                                    List.of(),
                                    early),
                            TrustPolicy.of(policy, environment()));
        }
    }

    String hash(String tag) {
        return engine.snapshots().contentHash(engine.store().open(new SnapshotTag(tag)), call());
    }

    List<String> tags() {
        return engine.store().list().stream()
                .map(SnapshotStore.Entry::tag)
                .sorted()
                .toList();
    }

    /** All disk images go that no snapshot needs. */
    void prune() {
        try (RootfsCache images = engine.images(engine.imageCache(), Map.of(), new QuietWork())) {
            images.prune(engine.store()::diskImages, false);
        }
    }

    /** Names of the disk images in the cache. */
    List<String> images() {
        try (RootfsCache images = engine.images(engine.imageCache(), Map.of(), new QuietWork())) {
            return images.list().stream()
                    .map(image -> String.valueOf(image.file().getFileName()))
                    .toList();
        }
    }

    /** What a child says to a command. */
    String exec(String tag, String command) {
        Sandbox made = spawn(tag);
        try {
            return execIn(made, command);
        } finally {
            kill(made);
        }
    }

    Sandbox spawn(String tag) {
        return engine.spawn(
                        new SpawnRequest(
                                new SnapshotTag(tag), 1, NetworkRequest.OF_HOST, Limits.NONE, VolumeConflict.FAIL),
                        call())
                .get(0);
    }

    static String execIn(Sandbox sandbox, String command) {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        new AgentClient(new AgentAddress.Vsock(sandbox.vsock()))
                .exec(
                        List.of(command.split(" ")),
                        Duration.ofSeconds(60),
                        Output.into(out, new ByteArrayOutputStream()));
        return out.toString(StandardCharsets.UTF_8).strip();
    }

    void kill(Sandbox sandbox) {
        engine.sandboxes().kill(List.of(engine.sandboxes().findAny(sandbox.id())), call());
    }
}
