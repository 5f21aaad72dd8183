package io.forkd.engine;

import io.forkd.ForkdException;
import io.forkd.Limits;
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
import java.util.LinkedHashMap;
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

    /** Encoded once for all of them, when the first comes up. */
    private Optional<byte[]> manifest = Optional.empty();

    Spawn(Vmm vmm, RuntimeDirectory runtime, Sandboxes sandboxes, Leases leases) {
        this.vmm = vmm;
        this.runtime = runtime;
        this.sandboxes = sandboxes;
        this.leases = leases;
    }

    List<Sandbox> run(SpawnRequest request, Snapshot snapshot, Call call) {
        Map<String, OwnedDirectory> directories = new LinkedHashMap<>();
        try {
            return run(request, snapshot, directories, call);
        } catch (IOException e) {
            throw ForkdException.of("make sandboxes in " + runtime.root(), e);
        } finally {
            directories.values().forEach(OwnedDirectory::close);
        }
    }

    private List<Sandbox> run(
            SpawnRequest request, Snapshot snapshot, Map<String, OwnedDirectory> directories, Call call)
            throws IOException {
        Optional<String> tap = Fork.tap(snapshot, request.ownNetworks(), request.count(), call);
        Optional<MemoryLimit> limit = request.memoryLimitMib().isPresent()
                ? Optional.of(new MemoryLimit(request.memoryLimitMib().getAsLong(), call))
                : Optional.empty();
        Limits limits = request.limits().over(snapshot.manifest().machine().limits());
        List<Place> places = places(request, limits, directories);
        List<Sandbox> made = new ArrayList<>();
        try (Source source = leases.lease(snapshot, request.count(), true, true, request.volumeConflict(), call);
                Children children = new Children(vmm, limit, call)) {
            call.step("forking " + request.count() + " sandboxes");
            for (Place place : places) {
                Path directory = directory(directories, place.name());
                children.fork(source.lease().server(), place, tap, () -> {
                    source.check();
                    write(Sandbox.manifest(directory), manifest(snapshot));
                });
            }
            children.awaitReady(
                    child -> {
                        Sandbox sandbox =
                                sandbox(child, directory(directories, child.name()), request, limits, snapshot, source);
                        sandbox.stage();
                        made.add(sandbox);
                    },
                    Fork::failAll);
            // From here on they are there, all of them.
            Batch.place(runtime.sandboxes(), made);
            children.keep();
            directories.values().forEach(OwnedDirectory::release);
            directories.clear();
            made.forEach(sandboxes::answered);
            return made;
        }
    }

    /** Folders for all of them. A namespace that is chosen is taken as soon as its folder names it. */
    private List<Place> places(SpawnRequest request, Limits limits, Map<String, OwnedDirectory> directories)
            throws IOException {
        Path root = runtime.sandboxes();
        List<Place> places = new ArrayList<>();
        try (FileLock choice = request.ownNetworks() ? FileLock.exclusive(root.resolve(".netns")) : null) {
            List<String> namespaces = request.ownNetworks() ? freeNamespaces(request.count()) : List.of();
            for (int i = 0; i < request.count(); i++) {
                OwnedDirectory directory = OwnedDirectory.create(root, Sandbox.prefix(Instant.now()));
                String id = String.valueOf(directory.path().getFileName());
                directories.put(id, directory);
                Optional<String> netns = request.ownNetworks() ? Optional.of(namespaces.get(i)) : Optional.empty();
                if (netns.isPresent()) {
                    Files.writeString(Sandbox.namespace(directory.path()), netns.get());
                }
                if (request.owner().isPresent()) {
                    Files.writeString(
                            Sandbox.owner(directory.path()), request.owner().get());
                }
                places.add(new Place(
                        id,
                        Sandbox.vsock(directory.path()),
                        Optional.of(RuntimeDirectory.control(directory.path())),
                        Optional.empty(),
                        netns,
                        limits));
            }
        }
        return places;
    }

    /** As it is written. */
    private byte[] manifest(Snapshot snapshot) {
        if (manifest.isEmpty()) {
            manifest = Optional.of(snapshot.manifest().encode());
        }
        return manifest.get();
    }

    private static void write(Path file, byte[] content) {
        try {
            Files.write(file, content);
        } catch (IOException e) {
            throw ForkdException.of("write " + file, e);
        }
    }

    private static Path directory(Map<String, OwnedDirectory> directories, String id) {
        OwnedDirectory directory = directories.get(id);
        if (directory == null) {
            throw new IllegalStateException(id + " was never asked for");
        }
        return directory.path();
    }

    private static Sandbox sandbox(
            Child child, Path directory, SpawnRequest request, Limits limits, Snapshot snapshot, Source source) {
        return new Sandbox(
                child.name(),
                directory,
                Servers.origin(snapshot),
                source.lease().base(),
                child.pid(),
                OptionalLong.of(child.startTime()),
                child.netns(),
                request.memoryLimitMib(),
                limits,
                source.written(),
                Instant.now(),
                0,
                Optional.empty());
    }

    private List<String> freeNamespaces(int count) {
        Set<String> used = sandboxes.namespaces();
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
