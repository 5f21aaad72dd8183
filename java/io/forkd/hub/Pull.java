package io.forkd.hub;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.Json;
import io.forkd.engine.Arriving;
import io.forkd.engine.Call;
import io.forkd.engine.Engine;
import io.forkd.engine.Leftover;
import io.forkd.files.OwnedDirectory;
import io.forkd.files.Room;
import io.forkd.files.SparseFile;
import io.forkd.files.Trees;
import io.forkd.hub.Artifact.Disk;
import io.forkd.hub.Artifact.Link;
import io.forkd.image.Digest;
import io.forkd.image.ImageReference.InRegistry;
import io.forkd.image.Reach;
import io.forkd.image.RegistryClient;
import io.forkd.image.Work;
import io.forkd.rootfs.RootfsCache;
import io.forkd.rootfs.RootfsCache.Carried;
import io.forkd.snapshot.LayerFile;
import io.forkd.snapshot.Manifest;
import io.forkd.snapshot.Manifest.ManifestDisk;
import io.forkd.snapshot.PortableManifest;
import io.forkd.snapshot.Provenance;
import io.forkd.snapshot.RootDiskNote;
import io.forkd.snapshot.Snapshot;
import io.forkd.snapshot.SnapshotStore;
import io.forkd.snapshot.SnapshotStore.Arrived;
import io.forkd.snapshot.SnapshotTag;
import io.forkd.snapshot.Volume;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.function.Consumer;

/**
 * Fetches a snapshot, with all that it is a layer over, from a registry. What has been fetched is kept in a folder of the
 * store until all is there, so that a pull that was interrupted goes on; nothing has a tag before it is whole.
 */
public final class Pull {
    private static final String FETCHING = ".pulling-";

    /** In its folder: all that was wanted has its tag, and the folder is to go. */
    private static final String INSTALLED = "installed";

    /** Of a pull that nobody has gone on with. */
    private static final Duration KEPT = Duration.ofDays(7);

    private final Engine engine;
    private final SnapshotStore store;
    private final RootfsCache images;
    private final Work work;
    private final Call call;
    private final Instant now = Instant.now();

    public Pull(Engine engine, RootfsCache images, Work work, Call call) {
        this.engine = engine;
        this.store = engine.store();
        this.images = images;
        this.work = work;
        this.call = call;
    }

    /**
     * What is wanted.
     *
     * @param as the tag that it gets here; empty: the one that it had
     * @param replace whether it may take the place of a snapshot of that tag
     * @param volumes of this machine that it is to have
     * @param early with it, the snapshot can be forked before all of it is here, and hears when; the pull goes on
     */
    public record Order(
            InRegistry from,
            Reach reach,
            Optional<SnapshotTag> as,
            boolean replace,
            List<Volume> volumes,
            Optional<Consumer<SnapshotTag>> early) {}

    /**
     * What came of it.
     *
     * @param digest of the manifest
     * @param links that are new here, the snapshot itself last
     * @param bytes of all files of these
     * @param fetched those that were not here, compressed
     */
    public record Result(SnapshotTag tag, Digest digest, List<SnapshotTag> links, long bytes, long fetched) {}

    /** A snapshot as it is to be here. */
    private record Wanted(int index, Link link, SnapshotTag tag, Manifest carried, boolean here) {}

    public Result pull(Order order, TrustPolicy policy) {
        store.sweep();
        sweep(store.root());
        order.as().filter(tag -> !order.replace()).ifPresent(store::requireFree);
        InRegistry from = order.from();
        try (RegistryClient registry = new RegistryClient(from, order.reach(), engine.environment(), work)) {
            work.begin("Looking up " + from, 0);
            byte[] manifest =
                    registry.manifest(from.digest().map(Digest::toString).orElse(from.tag()));
            if (from.digest().filter(digest -> !digest.matches(manifest)).isPresent()) {
                throw new ForkdException(
                        Kind.DAMAGED, "the manifest of " + from + " has other content than its digest says");
            }
            Digest digest = Digest.sha256(manifest);
            policy.require(from, digest, new Signatures(registry, from));
            ArtifactDocuments documents = new ArtifactDocuments(from.toString());
            Artifact artifact = documents.read(manifest, config(registry, documents.configOf(manifest), from));
            return pull(order, registry, digest, artifact);
        }
    }

    static byte[] config(RegistryClient registry, ArtifactDocuments.Named named, InRegistry of) {
        try (InputStream in = registry.blob(named.digest(), 0)) {
            byte[] config = in.readNBytes((int) named.size() + 1);
            if (config.length != named.size() || !named.digest().matches(config)) {
                throw new ForkdException(
                        Kind.DAMAGED, "the configuration of " + of + " has other content than its digest says");
            }
            return config;
        } catch (IOException e) {
            throw ForkdException.of("read the configuration of " + of, e);
        }
    }

    private Result pull(Order order, RegistryClient registry, Digest digest, Artifact artifact) {
        Path root = store.root();
        try {
            Files.createDirectories(root);
            Path folder = root.resolve(FETCHING + digest.hex().substring(0, 24));
            Optional<OwnedDirectory> owned = OwnedDirectory.createAs(folder);
            if (owned.isEmpty()) {
                owned = OwnedDirectory.claim(folder);
            }
            OwnedDirectory mine = owned.orElseThrow(() -> new ForkdException(
                    Kind.CONFLICT, order.from() + " is being pulled at this moment by another", "Wait for it."));
            try {
                Files.setLastModifiedTime(folder, FileTime.from(Instant.now())); // Somebody goes on with it.
                Result result = pull(order, registry, digest, artifact, mine.path());
                mine.remove(); // Before its files can be written to no more.
                result.links().forEach(tag -> engine.snapshots().enableVerity(tag, call));
                result.links().forEach(engine::snapshotMade);
                return result;
            } catch (ForkdException e) {
                boolean mayPass = e.kind() == Kind.FAILED
                        || (e.kind() == Kind.CONFLICT
                                && Files.exists(mine.path().resolve(ChunkFetcher.JOURNAL)));
                if (!mayPass) {
                    mine.remove(); // To go on with it would lead here again.
                }
                throw e;
            } finally {
                mine.release();
            }
        } catch (IOException e) {
            throw ForkdException.of("write " + root, e);
        }
    }

    private Result pull(Order order, RegistryClient registry, Digest digest, Artifact artifact, Path folder)
            throws IOException {
        List<Wanted> wanted = new ArrayList<>();
        Set<SnapshotTag> given = new HashSet<>();
        // The snapshot itself first: who asks says what it is called, and others get what is left.
        for (int i = artifact.links().size() - 1; i >= 0; i--) {
            wanted.add(0, wanted(artifact, i, order, folder, given));
            given.add(wanted.get(0).tag());
        }
        List<Wanted> missing = wanted.stream().filter(each -> !each.here()).toList();
        List<Path> present =
                store.list().stream().map(SnapshotStore.Entry::directory).toList();
        Artifact.Link head = artifact.head();
        images.use(); // From here on what is found in there stays.
        Path rootfs = images.place(carried(artifact.disks().get(head.disk()), order.from()));
        // Before anything large is pulled.
        PortableManifest.at(wanted.get(wanted.size() - 1).carried(), folder, folder, rootfs, order.volumes(), now);
        requireMachine(registry, artifact, folder);
        build(artifact, order);
        Optional<LazyStart> lazy = Optional.empty();
        try {
            long bytes;
            long fetched;
            ChunkSource source =
                    new ChunkSource(registry, new LocalChunks(present, artifact.chunks()), artifact.chunks(), work);
            try (ChunkFetcher fetcher = new ChunkFetcher(source, folder, artifact.chunks(), work)) {
                for (Wanted each : missing) {
                    for (ChunkedFile file : each.link().files()) {
                        fetcher.want(file, name(each.index(), file));
                    }
                }
                for (int i = 0; i < artifact.disks().size(); i++) {
                    Disk disk = artifact.disks().get(i);
                    if (!Files.exists(images.place(carried(disk, order.from())))) {
                        fetcher.want(disk.file().orElseThrow(), "disk-" + i);
                    }
                }
                fetcher.look();
                bytes = fetcher.missingContent();
                requireRoom(folder, bytes, artifact, order.from());
                lazy = lazily(order, wanted, artifact, folder, fetcher);
                fetcher.fetch("Pulling " + order.from());
                fetched = source.fetched();
            }
            lazy.ifPresent(LazyStart::fetched);
            for (int i = 0; i < artifact.disks().size(); i++) {
                Path fetchedImage = folder.resolve("disk-" + i);
                Disk disk = artifact.disks().get(i);
                images.put(carried(disk, order.from()), file -> {
                    requireContent(disk, fetchedImage, order.from());
                    SparseFile.move(fetchedImage, file);
                });
            }
            install(wanted, artifact, order, folder, lazy);
            Files.createFile(folder.resolve(INSTALLED));
            SnapshotTag tag = wanted.get(wanted.size() - 1).tag();
            return new Result(tag, digest, missing.stream().map(Wanted::tag).toList(), bytes, fetched);
        } catch (ForkdException e) {
            lazy.ifPresent(early -> early.failed(e));
            throw e;
        } finally {
            lazy.ifPresent(LazyStart::close);
        }
    }

    /**
     * Has the snapshot be there when what its first child needs is. Empty where nobody asked for that, or all of the memory
     * is of a snapshot that is here.
     */
    private Optional<LazyStart> lazily(
            Order order, List<Wanted> wanted, Artifact artifact, Path folder, ChunkFetcher fetcher) throws IOException {
        Wanted head = wanted.get(wanted.size() - 1);
        int whole = head.index();
        while (file(wanted.get(whole).link(), Snapshot.MEMORY).isEmpty()) {
            whole--;
        }
        if (order.early().isEmpty() || wanted.get(whole).here()) {
            return Optional.empty();
        }
        work.begin("Pulling what a child of " + head.tag() + " needs first", 0);
        fetcher.fetch(wanted.stream()
                .filter(each -> !each.here())
                .flatMap(each -> each.link().files().stream())
                .filter(file -> !file.name().equals(Snapshot.MEMORY))
                .flatMap(file -> file.chunks().stream())
                .filter(number -> !fetcher.has(number))
                .toList());
        Path rootfs = images.place(carried(artifact.disks().get(head.link().disk()), order.from()));
        Manifest manifest = manifest(head, order, artifact, folder, parent(wanted, head));
        PortableManifest.requireVolumes(manifest);
        if (!manifest.volumes().stream().allMatch(Volume::readOnly)) {
            throw new ForkdException(
                    Kind.UNSUPPORTED,
                    "a snapshot that has volumes to write to cannot be forked before all of it is here",
                    "Pull all of it first.");
        }
        List<LazyStart.Fetched> files = new ArrayList<>(List.of(memory(wanted, whole, folder, fetcher)));
        Disk root = artifact.disks().get(head.link().disk());
        boolean hasImage = Files.exists(rootfs);
        if (!hasImage) {
            files.add(new LazyStart.Fetched(
                    root.file().orElseThrow(),
                    folder.resolve("disk-" + head.link().disk())));
        }
        LazyStart lazy = new LazyStart(engine, fetcher, files);
        try {
            Optional<Path> workingSet =
                    file(head.link(), Snapshot.WORKING_SET).map(file -> place(head, file.name(), folder));
            byte[] known = workingSet.isPresent() ? Files.readAllBytes(workingSet.get()) : new byte[0];
            fetcher.fetch(lazy.chunksOf(WorkingSetPages.of(known, manifest.memoryBytes() / LayerFile.PAGE)));
            List<Arriving.Disk> disks = new ArrayList<>();
            for (int i = 0; i < manifest.disks().size(); i++) {
                ManifestDisk disk = manifest.disks().get(i);
                disks.add(new Arriving.Disk(
                        i == 0 && !hasImage ? lazy.path(1) : disk.image(),
                        disk.readOnly(),
                        places(wanted, 0, Snapshot.layerName(i), folder)));
            }
            lazy.begin(
                    engine,
                    new Arriving.Source(
                            head.tag(),
                            manifest,
                            order.from().toString(),
                            workingSet,
                            place(head, Snapshot.VMSTATE, folder),
                            lazy.path(0),
                            disks),
                    order.replace(),
                    call);
            order.early().get().accept(head.tag());
            return Optional.of(lazy);
        } catch (IOException | RuntimeException e) {
            if (e instanceof ForkdException why) {
                lazy.failed(why);
            }
            lazy.close();
            throw e;
        }
    }

    /** The memory of all links, while that of the first one which has a whole one is fetched. */
    private LazyStart.Fetched memory(List<Wanted> wanted, int whole, Path folder, ChunkFetcher fetcher)
            throws IOException {
        ChunkedFile base = file(wanted.get(whole).link(), Snapshot.MEMORY).orElseThrow();
        Path fetched = place(wanted.get(whole), Snapshot.MEMORY, folder);
        List<Path> layers = places(wanted, whole + 1, Snapshot.MEMORY_LAYER, folder);
        if (layers.isEmpty()) {
            return new LazyStart.Fetched(base, fetched);
        }
        Path flat = folder.resolve(Snapshot.MEMORY_FLAT);
        Files.deleteIfExists(flat);
        engine.snapshots().flattenMemory(fetched, layers, flat);
        fetcher.also(base, flat, LayerFile.pages(layers, base.bytes()));
        return new LazyStart.Fetched(base, flat);
    }

    private static Optional<ChunkedFile> file(Link link, String name) {
        return link.files().stream().filter(file -> file.name().equals(name)).findFirst();
    }

    /** Where the file of that name is: of one that is here in its folder, else where it is fetched to. */
    private Path place(Wanted link, String name, Path folder) {
        return link.here() ? store.directory(link.tag()).resolve(name) : folder.resolve(link.index() + "-" + name);
    }

    /** The same of all that have one, from that on. */
    private List<Path> places(List<Wanted> wanted, int from, String name, Path folder) {
        return wanted.stream()
                .skip(from)
                .filter(each -> file(each.link(), name).isPresent())
                .map(each -> place(each, name, folder))
                .toList();
    }

    private static Optional<SnapshotTag> parent(List<Wanted> wanted, Wanted link) {
        return link.index() == 0
                ? Optional.empty()
                : Optional.of(wanted.get(link.index() - 1).tag());
    }

    /** @param files the folder that its layers are in, if it has any yet */
    private Manifest manifest(Wanted wanted, Order order, Artifact artifact, Path files, Optional<SnapshotTag> parent) {
        Path rootfs = images.place(carried(artifact.disks().get(wanted.link().disk()), order.from()));
        return PortableManifest.at(wanted.carried(), store.directory(wanted.tag()), files, rootfs, order.volumes(), now)
                .withParent(parent)
                .ownedBy(call.owner());
    }

    /** What of an artifact goes into which file of the folder. */
    private static String name(int link, ChunkedFile file) {
        return link + "-" + file.name();
    }

    private static Carried carried(Disk disk, InRegistry from) {
        return new Carried(disk.digest(), disk.bytes(), disk.modified(), from.toString());
    }

    /** Its names: those that it had, unless something else has them here. */
    private Wanted wanted(Artifact artifact, int index, Order order, Path folder, Set<SnapshotTag> given)
            throws IOException {
        Link link = artifact.links().get(index);
        boolean head = index == artifact.links().size() - 1;
        Manifest carried = carried(link, index, folder);
        requireFiles(link, index, carried, artifact);
        SnapshotTag named = new SnapshotTag(link.tag());
        if (head) {
            SnapshotTag tag = order.as().orElse(named);
            if (!order.replace()) {
                store.requireFree(tag);
            }
            return new Wanted(index, link, tag, carried, false);
        }
        for (SnapshotTag tag : List.of(named, other(link))) {
            if (given.contains(tag)) {
                continue;
            }
            if (!Files.exists(store.directory(tag))) {
                return new Wanted(index, link, tag, carried, false);
            }
            if (isSame(tag, link)) {
                return new Wanted(index, link, tag, carried, true);
            }
        }
        throw new ForkdException(
                Kind.CONFLICT,
                "the snapshots '" + named + "' and '" + other(link) + "' are others than that which "
                        + artifact.head().tag() + " is a layer over",
                "Remove one of them.");
    }

    /** Of an ancestor whose own name is another's here. */
    private static SnapshotTag other(Link link) {
        String hash = link.content().substring(0, 12);
        return new SnapshotTag(link.tag().substring(0, Math.min(link.tag().length(), 51)) + "-" + hash);
    }

    private boolean isSame(SnapshotTag tag, Link link) {
        try {
            return engine.snapshots().contentHash(store.open(tag), call).equals(link.content());
        } catch (ForkdException e) {
            return false;
        }
    }

    private static Manifest carried(Link link, int index, Path folder) throws IOException {
        Path file = folder.resolve(index + "-" + Snapshot.MANIFEST);
        Files.write(file, Json.bytes(link.manifest()));
        Manifest carried = Manifest.read(file);
        PortableManifest.require(carried);
        return carried;
    }

    /** All that it is of, and nothing else, and its parent is the one before. */
    private static void requireFiles(Link link, int index, Manifest carried, Artifact artifact) {
        Map<String, Long> sizes = new LinkedHashMap<>();
        link.files().forEach(file -> sizes.put(file.name(), file.bytes()));
        String memory = carried.memory().toString();
        if (!sizes.containsKey(Snapshot.VMSTATE) || !sizes.containsKey(memory)) {
            throw damaged(link, "its " + (sizes.containsKey(memory) ? Snapshot.VMSTATE : memory) + " is missing");
        }
        if (memory.equals(Snapshot.MEMORY) && sizes.get(memory) != carried.memoryBytes()) {
            throw damaged(
                    link, memory + " has " + sizes.get(memory) + " bytes, and the guest " + carried.memoryBytes());
        }
        long workingSet = sizes.getOrDefault(Snapshot.WORKING_SET, 0L);
        if (workingSet > WorkingSetPages.MOST_BYTES) {
            throw damaged(link, "its " + Snapshot.WORKING_SET + " has " + workingSet + " bytes");
        }
        Set<String> known = PortableManifest.files(carried);
        for (String name : sizes.keySet()) {
            if (!known.contains(name)) {
                throw damaged(link, "it has a file '" + name + "', which no snapshot has");
            }
        }
        Optional<String> parent = carried.parent().map(each -> each.contentHash());
        Optional<String> before = index == 0
                ? Optional.empty()
                : Optional.of(artifact.links().get(index - 1).content());
        if (!parent.equals(before)) {
            throw damaged(link, "its parent is not the snapshot before it");
        }
        if (carried.disks().get(0).bytes() != artifact.disks().get(link.disk()).bytes()) {
            throw damaged(link, "its root disk is of another size than the image that comes along");
        }
    }

    private static ForkdException damaged(Link link, String why) {
        return new ForkdException(
                Kind.DAMAGED, "the snapshot '" + link.tag() + "' is damaged: " + why, "Push the snapshot again.");
    }

    /** Fetches what there is of the machine beside its memory, and looks whether it may run here. */
    private void requireMachine(RegistryClient registry, Artifact artifact, Path folder) {
        Link head = artifact.head();
        ChunkedFile vmstate = head.files().stream()
                .filter(file -> file.name().equals(Snapshot.VMSTATE))
                .findFirst()
                .orElseThrow();
        String name = name(artifact.links().size() - 1, vmstate);
        ChunkSource source = new ChunkSource(registry, new LocalChunks(List.of(), List.of()), artifact.chunks(), work);
        try (ChunkFetcher fetcher = new ChunkFetcher(source, folder, artifact.chunks(), work)) {
            fetcher.want(vmstate, name);
            fetcher.look();
            fetcher.fetch("Looking whether this machine will do");
        }
        engine.snapshots().requireMachine(folder.resolve(name));
    }

    /** Makes the root disks that did not come along. */
    private void build(Artifact artifact, Order order) {
        for (Disk disk : artifact.disks()) {
            disk.recipe().ifPresent(recipe -> images.build(carried(disk, order.from()), recipe, order.reach()));
        }
    }

    /** In the store, where all of it is fetched to, and in the cache of images, if that is elsewhere. */
    private void requireRoom(Path folder, long bytes, Artifact artifact, InRegistry from) {
        Room room = new Room().and(folder, bytes, "the snapshot");
        for (Disk disk : artifact.disks()) {
            Path place = images.place(carried(disk, from));
            if (!Files.exists(place)) {
                disk.file().ifPresent(file -> room.moved(place, file.content(), "its root disk"));
            }
        }
        room.require();
    }

    /** It was here when this began. */
    private Snapshot stillHere(Wanted parent) {
        if (!isSame(parent.tag(), parent.link())) {
            throw new ForkdException(
                    Kind.CONFLICT,
                    "the snapshot '" + parent.tag() + "' was replaced or removed while a layer over it was pulled",
                    "Try again: what has been pulled is kept.");
        }
        return store.read(parent.tag());
    }

    /** Gives those that are new here their names: all of them, or none; one that is there already is completed after that. */
    private void install(List<Wanted> wanted, Artifact artifact, Order order, Path folder, Optional<LazyStart> lazy)
            throws IOException {
        SnapshotTag head = wanted.get(wanted.size() - 1).tag();
        List<Arrived> arrived = new ArrayList<>();
        List<Snapshot> here = new ArrayList<>();
        List<Snapshot> chain = List.of();
        try (OwnedDirectory staged = store.stage(head)) {
            for (Wanted each : wanted) {
                if (!each.here()) {
                    Path files = Files.createDirectory(
                            staged.path().resolve(each.tag().value()));
                    Arrived one = stage(each, artifact, order, folder, parent(wanted, each), files);
                    Path flat = folder.resolve(Snapshot.MEMORY_FLAT);
                    if (each.tag().equals(head) && Files.exists(flat) && lazy.isPresent()) {
                        Files.createLink(files.resolve(Snapshot.MEMORY_FLAT), flat);
                    }
                    arrived.add(one);
                    chain = verified(each, one, chain);
                    if (!each.tag().equals(head)) {
                        Files.deleteIfExists(files.resolve(Snapshot.MEMORY_FLAT)); // That of the last is for its forks.
                    }
                } else if (!wanted.get(each.index() + 1).here()) {
                    here.add(stillHere(each));
                    chain = engine.snapshots().chain(each.tag(), call);
                }
            }
            if (lazy.isPresent()) {
                Arrived last = arrived.remove(arrived.size() - 1);
                Trees.sync(last.staged());
                store.install(staged, arrived, tag -> false, here);
                lazy.get().complete(last.staged(), last.manifest());
            } else {
                store.install(staged, arrived, tag -> order.replace() && tag.equals(head), here);
            }
        }
        for (Wanted each : wanted) {
            if (!each.here()) {
                note(each, artifact, folder);
            }
        }
    }

    private Arrived stage(
            Wanted wanted, Artifact artifact, Order order, Path folder, Optional<SnapshotTag> parent, Path files)
            throws IOException {
        Link link = wanted.link();
        for (ChunkedFile file : link.files()) {
            if (!file.name().equals(Snapshot.WORKING_SET)) {
                Files.createLink(files.resolve(file.name()), folder.resolve(name(wanted.index(), file)));
            }
        }
        Manifest manifest = manifest(wanted, order, artifact, files, parent);
        PortableManifest.requireVolumes(manifest);
        Provenance.ofPull(order.from().toString()).note(files);
        return new Arrived(wanted.tag(), files, manifest);
    }

    /** What costs nothing but time when it is lost. */
    private void note(Wanted wanted, Artifact artifact, Path folder) throws IOException {
        Map<String, ChunkedFile> files = new LinkedHashMap<>();
        byte[] workingSet = new byte[0];
        for (ChunkedFile file : wanted.link().files()) {
            files.put(file.name(), file);
            if (file.name().equals(Snapshot.WORKING_SET)) {
                workingSet = Files.readAllBytes(folder.resolve(name(wanted.index(), file)));
            }
        }
        engine.snapshots().know(wanted.tag(), workingSet);
        RootDiskNote.write(
                store.directory(wanted.tag()),
                artifact.disks().get(wanted.link().disk()).digest().hex());
        LocalChunks.note(store.directory(wanted.tag()), files, artifact.chunks());
    }

    /** The cache has images by what they hash to, for all that come with one of the same content, whoever has signed that. */
    private void requireContent(Disk disk, Path fetched, InRegistry from) {
        work.begin("Reading the root disk of " + from, disk.bytes());
        Digest found = Digest.ofFile(fetched, bytes -> {
            work.check();
            work.advance(bytes);
        });
        if (!found.equals(disk.digest())) {
            throw new ForkdException(
                    Kind.DAMAGED,
                    "the root disk of " + from + " is damaged: it has the content "
                            + found.hex().substring(0, 12) + ", and its configuration says "
                            + disk.digest().hex().substring(0, 12),
                    "Push the snapshot again.");
        }
    }

    /**
     * Each chunk is what the documents say; that these say what the snapshot is said to be, only the whole can show.
     *
     * @param under what it is a layer over
     * @return these and it
     */
    private List<Snapshot> verified(Wanted wanted, Arrived arrived, List<Snapshot> under) throws IOException {
        Manifest manifest = arrived.manifest();
        Path staged = arrived.staged();
        Manifest here = PortableManifest.at(
                        wanted.carried(), staged, staged, manifest.rootfs(), manifest.volumes(), manifest.createdAt())
                .withParent(manifest.parent().map(Manifest.Parent::tag));
        Snapshot snapshot = new Snapshot(wanted.tag(), staged, here);
        String content = engine.snapshots().contentHashOfStaged(under, snapshot, call);
        if (!content.equals(wanted.link().content())) {
            throw damaged(
                    wanted.link(),
                    "it has the content " + content.substring(0, 12) + ", and its configuration says "
                            + wanted.link().content().substring(0, 12));
        }
        List<Snapshot> chain = new ArrayList<>(under);
        chain.add(snapshot);
        return chain;
    }

    /** What interrupted pulls have fetched: the next one of the same goes on with it. */
    public static List<Leftover> leftovers(Engine engine) {
        Path root = engine.store().root();
        try {
            return OwnedDirectory.abandoned(root, FETCHING).stream()
                    .map(left -> Leftover.removed(
                            left, "a pull that was interrupted", () -> OwnedDirectory.removeAbandoned(left)))
                    .toList();
        } catch (IOException e) {
            throw ForkdException.of("list " + root, e);
        }
    }

    /** What interrupted pulls left that nobody has gone on with. */
    private static void sweep(Path root) {
        try {
            for (Path left : OwnedDirectory.abandoned(root, FETCHING)) {
                Instant touched = Files.getLastModifiedTime(left).toInstant();
                if (Files.exists(left.resolve(INSTALLED))
                        || touched.isBefore(Instant.now().minus(KEPT))) {
                    OwnedDirectory.removeAbandoned(left);
                }
            }
        } catch (IOException e) {
            throw ForkdException.of("look for what pulls have left in " + root, e);
        }
    }
}
