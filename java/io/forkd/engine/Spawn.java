package io.forkd.engine;

import io.forkd.ForkdException;
import io.forkd.engine.Fork.Child;
import io.forkd.engine.Leases.Source;
import io.forkd.files.FileLock;
import io.forkd.files.OwnedDirectory;
import io.forkd.sandbox.RuntimeDirectory;
import io.forkd.sandbox.Sandbox;
import io.forkd.snapshot.Snapshot;
import io.forkd.vmm.Vmm;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.Set;

/** Makes sandboxes: all of them, or none. */
final class Spawn {
    private final Vmm vmm;
    private final RuntimeDirectory runtime;
    private final Sandboxes sandboxes;
    private final Leases leases;

    Spawn(Vmm vmm, RuntimeDirectory runtime, Sandboxes sandboxes, Leases leases) {
        this.vmm = vmm;
        this.runtime = runtime;
        this.sandboxes = sandboxes;
        this.leases = leases;
    }

    List<Sandbox> run(SpawnRequest request, Snapshot snapshot, Call call) {
        Path root = runtime.sandboxes();
        // Those who choose namespaces do so one after the other: one that is chosen is free until its sandbox runs.
        try (FileLock use = snapshot.use().orElse(null);
                FileLock choice = request.ownNetworks()
                        ? FileLock.exclusive(root.resolve(".netns"), "the choice of network namespaces", call)
                        : null) {
            return run(request, snapshot, root, call);
        } catch (IOException e) {
            throw ForkdException.of("make sandboxes in " + root, e);
        }
    }

    private List<Sandbox> run(SpawnRequest request, Snapshot snapshot, Path root, Call call) throws IOException {
        List<String> namespaces = request.ownNetworks() ? freeNamespaces(request.count()) : List.of();
        Optional<String> tap = Fork.tap(snapshot, request.ownNetworks(), request.count(), call);
        Optional<MemoryLimit> limit = request.memoryLimitMib().isPresent()
                ? Optional.of(new MemoryLimit(request.memoryLimitMib().getAsLong(), call))
                : Optional.empty();
        List<Sandbox> made = new ArrayList<>();
        Map<String, OwnedDirectory> directories = new HashMap<>();
        try (Source source = leases.lease(snapshot, request.count(), true, true, request.volumeConflict(), call);
                Children children = new Children(vmm, limit, call)) {
            call.step("forking " + request.count() + " sandboxes");
            for (int i = 0; i < request.count(); i++) {
                OwnedDirectory directory = OwnedDirectory.create(root, Sandbox.PREFIX);
                String id = String.valueOf(directory.path().getFileName());
                directories.put(id, directory);
                Files.write(
                        Sandbox.manifest(directory.path()), snapshot.manifest().encode());
                children.fork(
                        source.lease().server(),
                        new Place(
                                id,
                                Sandbox.vsock(directory.path()),
                                Optional.of(RuntimeDirectory.control(directory.path())),
                                Optional.empty(),
                                request.ownNetworks() ? Optional.of(namespaces.get(i)) : Optional.empty()),
                        tap);
            }
            children.awaitReady(
                    child -> {
                        Sandbox sandbox = sandbox(child, directories, snapshot, source);
                        sandbox.write();
                        made.add(sandbox);
                    },
                    Fork::failAll);
            children.keep();
            directories.values().forEach(OwnedDirectory::release);
            directories.clear();
            return made;
        } finally {
            directories.values().forEach(OwnedDirectory::close);
        }
    }

    private static Sandbox sandbox(
            Child child, Map<String, OwnedDirectory> directories, Snapshot snapshot, Source source) {
        OwnedDirectory directory = directories.get(child.name());
        if (directory == null) {
            throw new IllegalStateException(child.name() + " was never asked for");
        }
        return new Sandbox(
                child.name(),
                directory.path(),
                Servers.origin(snapshot),
                source.lease().base(),
                child.pid(),
                OptionalLong.of(child.startTime()),
                child.netns(),
                source.written(),
                Instant.now(),
                0);
    }

    private List<String> freeNamespaces(int count) {
        Set<String> used = new HashSet<>();
        sandboxes.known().forEach(sandbox -> sandbox.netns().ifPresent(used::add));
        List<String> free = new ArrayList<>();
        for (int i = 1; free.size() < count; i++) {
            String name = Place.ownNamespace(i);
            if (!used.contains(name)) {
                Fork.requireNamespace(name);
                free.add(name);
            }
        }
        return free;
    }
}
