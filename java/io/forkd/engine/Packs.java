package io.forkd.engine;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.files.OwnedDirectory;
import io.forkd.files.Room;
import io.forkd.files.Trees;
import io.forkd.pack.MachineState;
import io.forkd.pack.PackManifest;
import io.forkd.pack.PackManifest.Link;
import io.forkd.pack.PackManifest.Member;
import io.forkd.pack.PackManifest.Parent;
import io.forkd.pack.PackManifest.Rootfs;
import io.forkd.pack.PackReader;
import io.forkd.pack.PackWriter;
import io.forkd.pack.PackWriter.Content;
import io.forkd.pack.Sidecar;
import io.forkd.rootfs.RootfsCache;
import io.forkd.rootfs.RootfsCache.Carried;
import io.forkd.snapshot.PortableManifest;
import io.forkd.snapshot.RootDiskNote;
import io.forkd.snapshot.Snapshot;
import io.forkd.snapshot.SnapshotStore;
import io.forkd.snapshot.SnapshotTag;
import io.forkd.snapshot.Volume;
import io.forkd.vmm.Vmm;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.Predicate;

/** Snapshots in files that go from one host to another; docs/formats.md has the format. */
public final class Packs {
    private static final String STAGING = ".forkd-packing-";

    private final Vmm vmm;
    private final SnapshotStore store;
    private final Chains chains;
    private final Events events;

    Packs(Vmm vmm, SnapshotStore store, Chains chains, Events events) {
        this.vmm = vmm;
        this.store = store;
        this.chains = chains;
        this.events = events;
    }

    /**
     * What to pack, and what is said of it.
     *
     * @param elsewhere whether the root disk need not be packed, since it is where the pack will be
     */
    public record PackRequest(
            SnapshotTag tag,
            Path output,
            Optional<String> description,
            Optional<String> baseImage,
            Predicate<Rootfs> elsewhere) {}

    /**
     * What was packed.
     *
     * @param sidecar the file beside it that has the root disk
     * @param content bytes of what is in the pack
     * @param existed whether the sidecar was there already, or elsewhere
     */
    public record Packed(
            Path pack,
            long bytes,
            long content,
            int links,
            Path sidecar,
            long sidecarBytes,
            boolean existed,
            Duration time) {}

    /** Packs a snapshot, with its ancestors. The pack has its name when it is complete. */
    public Packed pack(PackRequest request, Call call) {
        long start = System.nanoTime();
        store.read(request.tag(), call.owner());
        List<Snapshot> chain = chains.resolve(store.open(request.tag()), call);
        return store.using(chain, () -> pack(request, chain, start, call));
    }

    private Packed pack(PackRequest request, List<Snapshot> chain, long start, Call call) {
        Snapshot head = chain.get(chain.size() - 1);
        head.requireImages();
        chain.forEach(Packs::requireWhole);
        Path output = request.output().toAbsolutePath().normalize();
        Path folder = Optional.ofNullable(output.getParent()).orElse(output);
        if (Files.isDirectory(output) || !Files.isDirectory(folder)) {
            throw new ForkdException(
                    Kind.USAGE,
                    Files.isDirectory(output) ? output + " is a directory" : folder + " is no directory",
                    "Name a file for the pack.");
        }
        Path image = rootfs(chain);
        try {
            OwnedDirectory.sweep(folder, STAGING);
            try (OwnedDirectory staged = OwnedDirectory.create(folder, STAGING)) {
                Map<Member, Content> contents = new LinkedHashMap<>();
                PackManifest manifest = manifest(request, chain, image, contents, call);
                Path pack = staged.path().resolve("pack");
                Percent packing = new Percent(call, "packing " + head.tag(), manifest.bytes());
                PackWriter.write(
                        manifest,
                        (link, file) -> Optional.ofNullable(contents.get(file)).orElseThrow(),
                        pack,
                        packing::add);
                Trees.sync(pack);
                Rootfs rootfs = manifest.rootfs().orElseThrow();
                Path sidecar = folder.resolve(rootfs.sidecar());
                boolean existed = request.elsewhere().test(rootfs) || isIntact(sidecar, rootfs, call);
                if (!existed) {
                    Path made = staged.path().resolve("rootfs");
                    Percent disk = new Percent(call, "packing the root disk", rootfs.bytes());
                    Sidecar.write(image, rootfs, made, disk::add);
                    Trees.sync(made);
                    Trees.rename(made, sidecar);
                }
                Trees.rename(pack, output);
                return new Packed(
                        output,
                        Files.size(output),
                        manifest.bytes(),
                        chain.size(),
                        sidecar,
                        Files.exists(sidecar) ? Files.size(sidecar) : 0,
                        existed,
                        Duration.ofNanos(System.nanoTime() - start));
            }
        } catch (IOException e) {
            throw ForkdException.of("write the pack " + output, e);
        }
    }

    /** Whether the disk has been packed before, for another snapshot. */
    private static boolean isIntact(Path sidecar, Rootfs rootfs, Call call) throws IOException {
        if (!Files.isRegularFile(sidecar)) {
            return false;
        }
        try {
            Percent percent = new Percent(call, "reading " + sidecar, size(sidecar));
            Sidecar.check(sidecar, rootfs, percent::add);
            return true;
        } catch (ForkdException e) {
            call.check();
            return false; // It is written anew.
        }
    }

    /** Fails early, and here, with what would be refused where it is unpacked. */
    private static void requireWhole(Snapshot link) {
        link.requireLayers();
        try (InputStream vmstate = Files.newInputStream(link.vmstate())) {
            if (MachineState.of(vmstate.readNBytes(MachineState.HEADER)) != MachineState.FORKD) {
                throw new ForkdException(
                        Kind.DAMAGED,
                        link.vmstate() + " is damaged, or of a newer forkd: it does not begin as this one's do",
                        "Take the snapshot again.");
            }
        } catch (IOException e) {
            throw ForkdException.of("read " + link.vmstate(), e);
        }
    }

    /** The one that all are layers over. */
    private static Path rootfs(List<Snapshot> chain) {
        Snapshot head = chain.get(chain.size() - 1);
        Path image = head.image(head.manifest().disks().get(0));
        for (Snapshot link : chain) {
            if (!link.image(link.manifest().disks().get(0)).equals(image)) {
                throw new ForkdException(
                        Kind.CONFLICT,
                        "the snapshots '" + link.tag() + "' and '" + head.tag()
                                + "' have different root disks, and a pack has one",
                        "Make it flat first.");
            }
        }
        return image;
    }

    private static PackManifest manifest(
            PackRequest request, List<Snapshot> chain, Path image, Map<Member, Content> contents, Call call)
            throws IOException {
        List<Link> links = new ArrayList<>();
        for (Snapshot snapshot : chain) {
            Percent percent = new Percent(call, "hashing " + snapshot.tag(), bytes(snapshot));
            List<Member> files = new ArrayList<>();
            for (Map.Entry<String, Content> file : files(snapshot).entrySet()) {
                Member member = PackWriter.measure(file.getKey(), file.getValue(), percent::add);
                files.add(member);
                contents.put(member, file.getValue());
            }
            links.add(new Link(
                    snapshot.tag(),
                    snapshot.manifest().parent().map(parent -> new Parent(parent.tag(), parent.contentHash())),
                    files));
        }
        Percent percent = new Percent(call, "hashing the root disk", Files.size(image));
        Member disk = PackWriter.measure(PortableManifest.ROOTFS, Content.of(image), percent::add);
        return new PackManifest(
                request.description(),
                request.baseImage(),
                Instant.now(),
                Engine.VERSION,
                links,
                links.size() > 1,
                Optional.of(new Rootfs(PortableManifest.ROOTFS, disk.sha256(), disk.bytes())));
    }

    /** In the order of the published packs: what is small first. */
    private static Map<String, Content> files(Snapshot snapshot) throws IOException {
        Map<String, Content> files = new LinkedHashMap<>();
        files.put(Snapshot.MANIFEST, Content.of(PortableManifest.of(snapshot).encode()));
        for (Map.Entry<String, Path> file : snapshot.files().entrySet()) {
            if (!file.getKey().equals(Snapshot.WORKING_SET)) {
                files.put(file.getKey(), Content.of(file.getValue()));
            } else if (Files.size(file.getValue()) > 0) {
                files.put(file.getKey(), Content.of(Files.readAllBytes(file.getValue())));
            }
        }
        return files;
    }

    private static long bytes(Snapshot snapshot) throws IOException {
        long bytes = 0;
        for (Path file : snapshot.files().values()) {
            bytes += Files.size(file);
        }
        return bytes;
    }

    /**
     * What to unpack.
     *
     * @param tag that a single snapshot is to have, in place of its own
     * @param replace whether snapshots that have these tags are replaced
     * @param volumes of this host, for those that do not come along
     * @param images where the root disk goes; in use until what is unpacked is there
     * @param beside fetches the file with the root disk when it is needed and not beside the pack
     */
    public record UnpackRequest(
            Path pack,
            Optional<SnapshotTag> tag,
            boolean replace,
            List<Volume> volumes,
            RootfsCache images,
            Beside beside) {}

    /** Puts the file that has a root disk where it belongs, if there is one. */
    public interface Beside {
        /** Where nothing else is than what is there. */
        Beside NOTHING = (rootfs, to) -> {};

        void fetch(Rootfs rootfs, Path to);
    }

    /**
     * What was unpacked.
     *
     * @param tags the first ancestor first
     * @param rootfs where its root disk is, or has to be
     * @param missing the file that should have been beside the pack, when it was not
     */
    public record Unpacked(List<SnapshotTag> tags, Path directory, Path rootfs, Optional<Path> missing) {
        public SnapshotTag head() {
            return tags.get(tags.size() - 1);
        }
    }

    /** Unpacks: all of it, or nothing. What is refused has changed nothing. */
    public Unpacked unpack(UnpackRequest request, Call call) {
        store.sweep();
        Percent percent = new Percent(call, "unpacking " + request.pack(), size(request.pack()));
        try (PackReader reader = PackReader.open(request.pack(), percent::add)) {
            Map<Link, SnapshotTag> tags = tags(reader.manifest(), request);
            if (!request.replace()) {
                tags.values().forEach(store::requireFree);
            }
            new Room()
                    .and(store.root(), reader.manifest().bytes(), "what is in the pack")
                    .require();
            try (OwnedDirectory staged =
                    store.stage(request.tag().orElse(reader.manifest().head().tag()))) {
                Arrival arrival = new Arrival(vmm, reader, tags, staged.path());
                arrival.read();
                Unpacked unpacked = place(request, arrival, call);
                store.install(staged, arrival.installed(), request.replace());
                reader.manifest()
                        .rootfs()
                        .ifPresent(rootfs -> unpacked.tags()
                                .forEach(tag -> RootDiskNote.write(store.directory(tag), rootfs.sha256())));
                unpacked.tags().forEach(tag -> chains.enableVerity(tag, call));
                unpacked.tags()
                        .forEach(tag -> events.happened(
                                Events.Kind.SNAPSHOT_MADE, tag.value(), Snapshots.owner(store, tag), ""));
                return unpacked;
            }
        } catch (IOException e) {
            throw ForkdException.of("unpack " + request.pack(), e);
        }
    }

    private Unpacked place(UnpackRequest request, Arrival arrival, Call call) throws IOException {
        Carried image = arrival.rootfs(request.pack());
        Path local = request.images().place(image);
        arrival.settle(store, local, request.volumes());
        arrival.verify(call);
        Rootfs rootfs = arrival.manifest().rootfs().orElseThrow();
        Path sidecar = request.pack().toAbsolutePath().resolveSibling(rootfs.sidecar());
        Optional<Path> missing = Optional.empty();
        if (!Files.isRegularFile(local) && !Files.isRegularFile(sidecar)) {
            request.beside().fetch(rootfs, sidecar);
        }
        if (Files.isRegularFile(local) || Files.isRegularFile(sidecar)) {
            request.images().put(image, file -> {
                new Room().and(file, rootfs.bytes(), "the root disk").require();
                Percent percent = new Percent(call, "unpacking the root disk", size(sidecar));
                Sidecar.read(sidecar, rootfs, file, percent::add);
            });
        } else {
            missing = Optional.of(sidecar);
        }
        return new Unpacked(arrival.tags(), store.directory(arrival.head()), local, missing);
    }

    private static Map<Link, SnapshotTag> tags(PackManifest manifest, UnpackRequest request) {
        if (request.tag().isPresent() && manifest.links().size() > 1) {
            throw new ForkdException(
                    Kind.USAGE,
                    "the pack has " + manifest.links().size()
                            + " snapshots, whose tags they know of each other, and one tag was given",
                    "Unpack it under the tags that it has.");
        }
        Map<Link, SnapshotTag> tags = new LinkedHashMap<>();
        manifest.links().forEach(link -> tags.put(link, request.tag().orElse(link.tag())));
        return tags;
    }

    private static long size(Path file) {
        try {
            return Files.size(file);
        } catch (IOException e) {
            throw ForkdException.of("read " + file, e);
        }
    }

    /**
     * What a pack is.
     *
     * @param rootfs whether the root disk is beside it; empty: it has none
     */
    public record Checked(PackManifest manifest, MachineState state, Optional<Boolean> rootfs) {
        /** Whether what is here can be unpacked and forked, with its volumes if it has some. */
        public boolean isUsable() {
            return state == MachineState.FORKD && rootfs.orElse(false);
        }
    }

    /** Reads all of a pack, and what is beside it, and writes nothing. */
    public static Checked check(Path pack, Call call) {
        Percent percent = new Percent(call, "reading " + pack, size(pack));
        try (PackReader reader = PackReader.open(pack, percent::add)) {
            List<MachineState> states = new ArrayList<>();
            reader.readAll((link, file, content) -> {
                if (file.name().equals(Snapshot.VMSTATE)) {
                    states.add(MachineState.of(content.readNBytes(MachineState.HEADER)));
                }
            });
            Optional<Boolean> beside = Optional.empty();
            Optional<Rootfs> rootfs = reader.manifest().rootfs();
            if (rootfs.isPresent()) {
                Path sidecar = pack.toAbsolutePath().resolveSibling(rootfs.get().sidecar());
                beside = Optional.of(Files.isRegularFile(sidecar));
                if (beside.get()) {
                    Percent disk = new Percent(call, "reading the root disk", size(sidecar));
                    Sidecar.check(sidecar, rootfs.get(), disk::add);
                }
            }
            return new Checked(
                    reader.manifest(),
                    states.stream()
                            .filter(state -> state != MachineState.FORKD)
                            .findFirst()
                            .orElse(states.isEmpty() ? MachineState.UNKNOWN : MachineState.FORKD),
                    beside);
        } catch (IOException e) {
            throw ForkdException.of("read " + pack, e);
        }
    }
}
