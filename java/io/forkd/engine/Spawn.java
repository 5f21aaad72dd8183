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
    private final ChildNetworks networks;

    /** Encoded once for all of them, when the first comes up. */
    private Optional<byte[]> manifest = Optional.empty();

    Spawn(Vmm vmm, RuntimeDirectory runtime, Sandboxes sandboxes, Leases leases, ChildNetworks networks) {
        this.vmm = vmm;
        this.runtime = runtime;
        this.sandboxes = sandboxes;
        this.leases = leases;
        this.networks = networks;
    }

    List<Sandbox> run(SpawnRequest request, Snapshot snapshot, Call call) {
        Map<String, OwnedDirectory> directories = new LinkedHashMap<>();
        try {
            return run(request, snapshot, directories, call);
        } catch (IOException e) {
            throw ForkdException.of("make sandboxes in " + runtime.root(), e);
        } finally {
            directories.values().forEach(directory -> {
                directory.close();
                networks.release(directory.path());
            });
        }
    }

    private List<Sandbox> run(
            SpawnRequest request, Snapshot snapshot, Map<String, OwnedDirectory> directories, Call call)
            throws IOException {
        NetworkRequest network = request.network().of(snapshot, call.owner());
        Optional<String> tap = networks.tap(snapshot, network, request.count(), call);
        Optional<MemoryLimit> limit = request.memoryLimitMib().isPresent()
                ? Optional.of(new MemoryLimit(request.memoryLimitMib().getAsLong(), call))
                : Optional.empty();
        Limits limits = request.limits().over(snapshot.manifest().machine().limits());
        Path home = runtime.sandboxes();
        List<Place> places = places(home, request, network, limits, directories);
        List<Sandbox> made = new ArrayList<>();
        try (Source source = leases.lease(snapshot, request.count(), true, true, request.volumeConflict(), call);
                Children children = new Children(vmm, limit, call)) {
            call.step("forking " + request.count() + " sandboxes");
            for (Place place : places) {
                Path directory = directory(directories, place.name());
                children.fork(source.lease().server(), place, tap, () -> {
                    source.check();
                    write(Sandbox.manifest(directory), manifest(snapshot, call));
                });
            }
            children.awaitReady(
                    child -> {
                        Sandbox sandbox = sandbox(
                                child,
                                directory(directories, child.name()),
                                request,
                                limits,
                                network,
                                snapshot,
                                source);
                        sandbox.stage();
                        made.add(sandbox);
                    },
                    Fork::failAll);
            // From here on they are there, all of them.
            Batch.place(home, made);
            children.keep();
            directories.values().forEach(OwnedDirectory::release);
            directories.clear();
            made.forEach(sandboxes::answered);
            return made;
        }
    }

    private List<Place> places(
            Path home,
            SpawnRequest request,
            NetworkRequest network,
            Limits limits,
            Map<String, OwnedDirectory> directories)
            throws IOException {
        for (int i = 0; i < request.count(); i++) {
            OwnedDirectory directory = OwnedDirectory.create(home, Sandbox.prefix(Instant.now()));
            directories.put(String.valueOf(directory.path().getFileName()), directory);
            if (request.owner().isPresent()) {
                Files.writeString(
                        Sandbox.owner(directory.path()), request.owner().get());
            }
        }
        List<Path> paths =
                directories.values().stream().map(OwnedDirectory::path).toList();
        List<Optional<String>> namespaces = namespaces(network, paths);
        List<Place> places = new ArrayList<>();
        for (Path path : paths) {
            places.add(new Place(
                    String.valueOf(path.getFileName()),
                    Sandbox.vsock(path),
                    Optional.of(RuntimeDirectory.control(path)),
                    Optional.empty(),
                    namespaces.get(places.size()),
                    limits));
        }
        return places;
    }

    /** One of others is taken as soon as the folder names it, which happens to one call at a time. */
    private List<Optional<String>> namespaces(NetworkRequest network, List<Path> paths) throws IOException {
        if (!network.own()) {
            return ChildNetworks.none(paths.size());
        }
        List<String> names;
        try (FileLock choice = FileLock.exclusive(runtime.sandboxes().resolve(".netns"))) {
            Set<String> used = sandboxes.namespaces();
            names = new ArrayList<>(
                    networks.free(network, paths.size(), number -> used.contains(Place.ownNamespace(number))));
            note(names, paths);
        }
        List<Path> others = paths.subList(names.size(), paths.size());
        List<String> taken = networks.take(network, others);
        note(taken, others);
        names.addAll(taken);
        return names.stream().map(Optional::of).toList();
    }

    private static void note(List<String> names, List<Path> paths) throws IOException {
        for (int i = 0; i < names.size(); i++) {
            Files.writeString(Sandbox.namespace(paths.get(i)), names.get(i));
        }
    }

    /** As it is written. */
    private byte[] manifest(Snapshot snapshot, Call call) {
        if (manifest.isEmpty()) {
            manifest = Optional.of(snapshot.manifest().ownedBy(call.owner()).encode());
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

    private Sandbox sandbox(
            Child child,
            Path directory,
            SpawnRequest request,
            Limits limits,
            NetworkRequest network,
            Snapshot snapshot,
            Source source) {
        return new Sandbox(
                child.name(),
                directory,
                Servers.origin(snapshot),
                source.lease().base(),
                child.pid(),
                OptionalLong.of(child.startTime()),
                child.netns(),
                networks.enforced(network, child.netns()),
                request.memoryLimitMib(),
                limits,
                source.written(),
                Instant.now(),
                0,
                Optional.empty());
    }
}
