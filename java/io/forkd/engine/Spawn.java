package io.forkd.engine;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.Limits;
import io.forkd.cgroup.Cgroups;
import io.forkd.engine.Fork.Child;
import io.forkd.engine.Leases.Source;
import io.forkd.files.FileLock;
import io.forkd.files.OwnedDirectory;
import io.forkd.sandbox.Origin;
import io.forkd.sandbox.RuntimeDirectory;
import io.forkd.sandbox.Sandbox;
import io.forkd.snapshot.Snapshot;
import io.forkd.vmm.Vmm;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
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
    private final Cgroups cgroups;

    /** Encoded once for all of them, when the first comes up. */
    private Optional<byte[]> manifest = Optional.empty();

    Spawn(
            Vmm vmm,
            RuntimeDirectory runtime,
            Sandboxes sandboxes,
            Leases leases,
            ChildNetworks networks,
            Cgroups cgroups) {
        this.vmm = vmm;
        this.runtime = runtime;
        this.sandboxes = sandboxes;
        this.leases = leases;
        this.networks = networks;
        this.cgroups = cgroups;
    }

    /**
     * What is made.
     *
     * @param keepServer whether others may get children of the fork server, too
     */
    private record Order(
            int count,
            NetworkRequest network,
            Limits limits,
            VolumeConflict volumeConflict,
            boolean keepServer,
            Optional<Duration> freeze,
            Folders folders,
            Note note) {}

    /** Makes the folders, each of which is entered as soon as it is there. */
    private interface Folders {
        void make(Path home, Map<String, OwnedDirectory> entered) throws IOException;
    }

    /** What is written down of one that has come up. */
    private interface Note {
        Sandbox of(Child child, Path directory, Optional<Path> cgroup, Source source);
    }

    List<Sandbox> run(SpawnRequest request, Snapshot snapshot, Call call) {
        return run(request, snapshot, Servers.origin(snapshot), leases, call);
    }

    /**
     * @param origin the snapshot that they are said to be of
     * @param from gets the server of {@code snapshot}
     */
    List<Sandbox> run(SpawnRequest request, Snapshot snapshot, Origin origin, Leases from, Call call) {
        if (request.count() > 1 && request.naming().name().isPresent()) {
            throw new ForkdException(
                    Kind.USAGE, "a name is that of one sandbox, and " + request.count() + " were asked for");
        }
        Limits limits = request.limits().over(snapshot.manifest().machine().limits());
        NetworkRequest network = request.network().of(snapshot, call.owner());
        return make(
                new Order(
                        request.count(),
                        network,
                        limits,
                        request.volumeConflict(),
                        true,
                        request.lifetime().freeze(),
                        (home, entered) -> newFolders(
                                request,
                                snapshot.manifest().ownedBy(call.owner()).owner(),
                                home,
                                entered),
                        (child, directory, cgroup, source) ->
                                sandbox(request, child, directory, limits, cgroup, network, origin, source)),
                snapshot,
                from,
                call);
    }

    /**
     * Makes one again that was paused: with all that it had, in its place.
     *
     * @param asleep what it was paused as
     * @param from gets the server of that
     */
    Sandbox resume(Sandbox paused, Snapshot asleep, Leases from, Call call) {
        NetworkRequest network = new NetworkRequest(paused.netns().isPresent(), paused.network());
        return make(
                        new Order(
                                1,
                                network,
                                paused.limits(),
                                paused.volumes().isEmpty() ? VolumeConflict.PRIVATE : VolumeConflict.FAIL,
                                false,
                                paused.lifetime().freeze(),
                                (home, entered) -> oldFolder(paused, home, entered, call),
                                (child, directory, cgroup, source) -> paused.awake(
                                        directory,
                                        source.lease().base(),
                                        child.pid(),
                                        child.startTime(),
                                        child.netns(),
                                        networks.enforced(network, child.netns()),
                                        cgroup,
                                        source.written())),
                        asleep,
                        from,
                        call)
                .get(0);
    }

    private void newFolders(
            SpawnRequest request, Optional<String> owner, Path home, Map<String, OwnedDirectory> entered)
            throws IOException {
        for (int i = 0; i < request.count(); i++) {
            OwnedDirectory directory = OwnedDirectory.create(home, Sandbox.prefix(Instant.now()));
            entered.put(String.valueOf(directory.path().getFileName()), directory);
            if (request.owner().isPresent()) {
                Files.writeString(
                        Sandbox.owner(directory.path()), request.owner().get());
            }
            // Whoever finds the folder knows that it is being made.
            request.naming()
                    .name()
                    .ifPresent(name -> sandboxes
                            .names()
                            .take(owner, name, String.valueOf(directory.path().getFileName())));
        }
    }

    /** What is there of the sandbox is left from before it was paused, or of a forkd that was killed while it resumed it. */
    private void oldFolder(Sandbox paused, Path home, Map<String, OwnedDirectory> entered, Call call)
            throws IOException {
        Path path = home.resolve(paused.id());
        Optional<OwnedDirectory> made = Optional.empty();
        while (made.isEmpty()) {
            call.check();
            sandboxes.clear(paused.id());
            made = OwnedDirectory.createAs(path);
        }
        entered.put(paused.id(), made.get());
        if (Files.exists(Sandbox.owner(paused.directory()))) {
            Files.copy(Sandbox.owner(paused.directory()), Sandbox.owner(path));
        }
    }

    private List<Sandbox> make(Order order, Snapshot snapshot, Leases from, Call call) {
        Map<String, OwnedDirectory> directories = new LinkedHashMap<>();
        try (Groups groups =
                Groups.of(cgroups, order.limits(), snapshot.manifest().machine().vcpus())) {
            return make(order, snapshot, from, groups, directories, call);
        } catch (IOException e) {
            throw ForkdException.of("make sandboxes in " + runtime.root(), e);
        } finally {
            directories.values().forEach(directory -> {
                directory.close();
                networks.release(directory.path());
            });
        }
    }

    private List<Sandbox> make(
            Order order,
            Snapshot snapshot,
            Leases from,
            Groups groups,
            Map<String, OwnedDirectory> directories,
            Call call)
            throws IOException {
        Optional<String> tap = networks.tap(snapshot, order.network(), order.count(), call);
        Path home = runtime.sandboxes();
        Map<String, Place> places = places(home, order, groups, directories);
        List<Sandbox> made = new ArrayList<>();
        try (Source source = from.lease(
                        snapshot, order.count(), order.keepServer(), true, groups, order.volumeConflict(), call);
                Children children = new Children(vmm, call)) {
            call.step("forking " + order.count() + " sandboxes");
            for (Place place : places.values()) {
                Path directory = directory(directories, place.name());
                children.fork(source.lease().server(), place, tap, () -> {
                    source.check();
                    write(Sandbox.manifest(directory), manifest(snapshot, call));
                });
            }
            children.awaitReady(
                    child -> {
                        Sandbox sandbox = order.note()
                                .of(
                                        child,
                                        directory(directories, child.name()),
                                        Optional.ofNullable(places.get(child.name()))
                                                .flatMap(Place::cgroup),
                                        source);
                        sandbox.stage();
                        made.add(sandbox);
                    },
                    Fork::failAll);
            // From here on they are there, all of them.
            Batch.place(home, made);
            children.keep();
            groups.release();
            directories.values().forEach(OwnedDirectory::release);
            directories.clear();
            made.forEach(sandboxes::answered);
            return made;
        }
    }

    private Map<String, Place> places(Path home, Order order, Groups groups, Map<String, OwnedDirectory> directories)
            throws IOException {
        order.folders().make(home, directories);
        List<Path> paths =
                directories.values().stream().map(OwnedDirectory::path).toList();
        List<Optional<String>> namespaces = namespaces(order.network(), paths);
        Map<String, Place> places = new LinkedHashMap<>();
        for (Path path : paths) {
            String id = String.valueOf(path.getFileName());
            places.put(
                    id,
                    new Place(
                            id,
                            Sandbox.vsock(path),
                            Optional.of(RuntimeDirectory.control(path)),
                            Optional.of(Sandbox.console(path)),
                            namespaces.get(places.size()),
                            order.limits(),
                            groups.make(id),
                            order.freeze()));
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
            SpawnRequest request,
            Child child,
            Path directory,
            Limits limits,
            Optional<Path> cgroup,
            NetworkRequest network,
            Origin origin,
            Source source) {
        Instant now = Instant.now();
        return new Sandbox(
                child.name(),
                directory,
                origin,
                source.lease().base(),
                child.pid(),
                OptionalLong.of(child.startTime()),
                child.netns(),
                networks.enforced(network, child.netns()),
                cgroup,
                limits,
                source.written(),
                now,
                0,
                Optional.empty(),
                request.lifetime().begun(now),
                request.naming(),
                request.pool());
    }
}
