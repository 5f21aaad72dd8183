package io.forkd.hub;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.Json;
import io.forkd.engine.Call;
import io.forkd.engine.Engine;
import io.forkd.engine.Snapshots;
import io.forkd.hub.Artifact.Disk;
import io.forkd.hub.Artifact.Link;
import io.forkd.hub.Artifact.Made;
import io.forkd.image.Digest;
import io.forkd.image.ImageReference.InRegistry;
import io.forkd.image.Reach;
import io.forkd.image.RegistryClient;
import io.forkd.image.Work;
import io.forkd.rootfs.Recipe;
import io.forkd.rootfs.RootfsCache;
import io.forkd.snapshot.Manifest.ManifestDisk;
import io.forkd.snapshot.PortableManifest;
import io.forkd.snapshot.Snapshot;
import io.forkd.snapshot.SnapshotStore;
import io.forkd.snapshot.SnapshotTag;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import tools.jackson.databind.node.ObjectNode;

/** Sends a snapshot, with all that it is a layer over, to a registry. Nobody sees anything of it before all is there. */
public final class Push {
    private final Engine engine;
    private final Work work;
    private final Call call;

    public Push(Engine engine, Work work, Call call) {
        this.engine = engine;
        this.work = work;
        this.call = call;
    }

    /**
     * What came of it.
     *
     * @param digest of the manifest, by which the registry has it for ever
     * @param bytes of all files
     * @param sent those that the registry had not, compressed
     * @param madeOf images that root disks are to be made of, which were not sent
     */
    public record Result(Digest digest, int links, int chunks, long bytes, long sent, List<InRegistry> madeOf) {}

    /**
     * What is wanted.
     *
     * @param to where; its tag leads there afterwards
     * @param key signs it, if there is one
     * @param thin whether root disks stay, since who pulls it can make them again; all of them, or it fails
     */
    public record Order(SnapshotTag tag, InRegistry to, Reach reach, Optional<SigningKey> key, boolean thin) {}

    /** Sends it. */
    public Result push(Order order) {
        InRegistry to = order.to();
        if (to.digest().isPresent()) {
            throw new ForkdException(Kind.USAGE, "a snapshot is sent to a tag, not to a digest: " + to);
        }
        List<Snapshot> chain = engine.snapshots().chain(order.tag(), call);
        return engine.store().using(chain, () -> {
            chain.get(chain.size() - 1).requireImages();
            Map<Path, Recipe> recipes = order.thin() ? recipes(chain, order.reach()) : Map.of();
            try (RegistryClient registry = new RegistryClient(to, order.reach(), engine.environment(), work)) {
                return push(chain, to, registry, order.key(), recipes);
            }
        });
    }

    /** Before anything is sent. */
    private Map<Path, Recipe> recipes(List<Snapshot> chain, Reach reach) {
        Map<Path, Recipe> recipes = new LinkedHashMap<>();
        try (RootfsCache cache = engine.images(engine.imageCache(), engine.environment(), work)) {
            for (Path image : images(chain).keySet()) {
                recipes.put(image, cache.recipe(image, reach));
            }
        }
        return recipes;
    }

    private Result push(
            List<Snapshot> chain,
            InRegistry to,
            RegistryClient registry,
            Optional<SigningKey> key,
            Map<Path, Recipe> recipes) {
        List<String> contents = new ArrayList<>();
        for (Snapshot link : chain) {
            contents.add(engine.snapshots().contentHash(link, call));
        }
        work.begin("Looking what " + to + " has", 0);
        Optional<Artifact> old = present(registry, to);
        List<Chunk> there = old.map(Artifact::chunks).orElse(List.of());
        List<Map<String, Path>> files = chain.stream().map(Snapshot::files).toList();
        Map<Path, ManifestDisk> images = images(chain);
        work.begin("Pushing " + chain.get(chain.size() - 1).tag() + " to " + to, stored(files, images.keySet()));
        try (Workers workers = new Workers(work)) {
            List<Path> present = engine.store().list().stream()
                    .map(SnapshotStore.Entry::directory)
                    .toList();
            ChunkSource source = new ChunkSource(registry, new LocalChunks(present, there), there, work);
            ChunkSender sender = new ChunkSender(registry, there, source, workers, work);
            List<Link> links = new ArrayList<>();
            List<Map<String, ChunkedFile>> cut = new ArrayList<>();
            for (int i = 0; i < chain.size(); i++) {
                Map<String, ChunkedFile> sent = new LinkedHashMap<>();
                int fromEnd = chain.size() - i;
                files.get(i).forEach((name, path) -> {
                    List<Optional<Chunk>> like =
                            old.map(artifact -> like(artifact, fromEnd, name)).orElse(List.of());
                    sent.put(name, sender.send(path, name, like).file());
                });
                cut.add(sent);
                links.add(new Link(
                        chain.get(i).tag().value(),
                        contents.get(i),
                        portable(chain.get(i)),
                        List.copyOf(images.keySet()).indexOf(image(chain.get(i))),
                        List.copyOf(sent.values())));
            }
            List<Disk> disks = new ArrayList<>();
            images.forEach((path, disk) -> disks.add(Optional.ofNullable(recipes.get(path))
                    .map(recipe -> made(path, disk, recipe))
                    .orElseGet(() -> sent(path, disk, disks.size(), sender))));
            List<Path> paths = List.copyOf(images.keySet());
            for (Snapshot link : chain) {
                Disk disk = disks.get(paths.indexOf(image(link)));
                Snapshots.requireRootDisk(link, image(link), disk.digest().hex());
            }
            Artifact artifact = new Artifact(Engine.VERSION, links, disks, sender.chunks());
            Result result = send(artifact, registry, to, sender.sent());
            key.ifPresent(signing -> new Signatures(registry, to).sign(result.digest(), signing));
            for (int i = 0; i < chain.size(); i++) {
                LocalChunks.note(chain.get(i).directory(), cut.get(i), sender.chunks());
            }
            return result;
        }
    }

    private static Disk sent(Path path, ManifestDisk disk, int number, ChunkSender sender) {
        ChunkSender.Sent sent = sender.send(path, "disk-" + number + ".image", List.of());
        return Disk.sent(sent.digest(), disk.modified(), sent.file());
    }

    private Disk made(Path path, ManifestDisk disk, Recipe recipe) {
        Digest digest = Digest.ofFile(path, bytes -> {
            work.check();
            work.advance(bytes);
        });
        return new Disk(digest, disk.modified(), disk.bytes(), new Made(recipe));
    }

    private static Result send(Artifact artifact, RegistryClient registry, InRegistry to, long sent) {
        if (artifact.chunks().size() > ArtifactDocuments.MAX_CHUNKS) {
            throw new ForkdException(
                    Kind.FAILED,
                    "the snapshot and its ancestors are of " + artifact.chunks().size()
                            + " chunks, and registries take " + ArtifactDocuments.MAX_CHUNKS);
        }
        byte[] config = ArtifactDocuments.config(artifact);
        boolean has = registry.has(Digest.sha256(config));
        if (!has) {
            registry.upload(Digest.sha256(config), config);
        }
        byte[] manifest = ArtifactDocuments.manifest(artifact, config);
        registry.put(to.tag(), manifest);
        long bytes = artifact.chunks().stream().mapToLong(Chunk::bytes).sum();
        return new Result(
                Digest.sha256(manifest),
                artifact.links().size(),
                artifact.chunks().size(),
                bytes,
                sent + (has ? 0 : config.length) + manifest.length,
                artifact.disks().stream()
                        .flatMap(disk -> disk.recipe().stream())
                        .map(Recipe::image)
                        .toList());
    }

    /** What the tag leads to now: the registry has its chunks, and need not be asked for each. */
    private static Optional<Artifact> present(RegistryClient registry, InRegistry to) {
        try {
            ArtifactDocuments documents = new ArtifactDocuments(to.toString());
            byte[] manifest = registry.manifest(to.tag());
            byte[] config = Pull.config(registry, documents.configOf(manifest), to);
            return Optional.of(documents.read(manifest, config));
        } catch (ForkdException e) {
            if (e.kind() == Kind.NOT_FOUND || e.kind() == Kind.DAMAGED || e.kind() == Kind.UNSUPPORTED) {
                return Optional.empty(); // There is something else, or nothing.
            }
            throw e;
        }
    }

    /** The chunks of the file of that name in the snapshot that is so far from the end of the chain; none where that has none. */
    private static List<Optional<Chunk>> like(Artifact old, int fromEnd, String name) {
        int index = old.links().size() - fromEnd;
        if (index < 0) {
            return List.of();
        }
        for (ChunkedFile file : old.links().get(index).files()) {
            if (file.name().equals(name)) {
                return file.chunks().stream()
                        .map(number -> number == ChunkedFile.ZERO
                                ? Optional.<Chunk>empty()
                                : Optional.of(old.chunks().get(number)))
                        .toList();
            }
        }
        return List.of();
    }

    private static ObjectNode portable(Snapshot snapshot) {
        return (ObjectNode) Json.parse(PortableManifest.of(snapshot).encode());
    }

    /** Those of all links that the guest had at hand; volumes are their owner's, and stay. */
    private static Map<Path, ManifestDisk> images(List<Snapshot> chain) {
        Map<Path, ManifestDisk> images = new LinkedHashMap<>();
        for (Snapshot link : chain) {
            ManifestDisk root = link.manifest().disks().get(0);
            images.putIfAbsent(link.image(root), root);
        }
        return images;
    }

    private static Path image(Snapshot link) {
        return link.image(link.manifest().disks().get(0));
    }

    private static long stored(List<Map<String, Path>> files, Set<Path> images) {
        long sum = 0;
        try {
            for (Map<String, Path> each : files) {
                for (Path path : each.values()) {
                    sum += Files.size(path);
                }
            }
            for (Path path : images) {
                sum += Files.size(path);
            }
            return sum;
        } catch (IOException e) {
            throw ForkdException.of("look at the files of the snapshot", e);
        }
    }
}
