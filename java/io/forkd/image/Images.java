package io.forkd.image;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.files.OwnedDirectory;
import io.forkd.image.ImageReference.DockerArchive;
import io.forkd.image.ImageReference.DockerDaemon;
import io.forkd.image.ImageReference.InRegistry;
import io.forkd.image.ImageReference.OciArchive;
import io.forkd.image.ImageReference.OciLayout;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import tools.jackson.databind.JsonNode;

/** Finds images and fetches them. What it has opened is open until it is closed. */
public final class Images implements AutoCloseable {
    private static final int PARALLEL = 4;
    private static final int STOP_SECONDS = 2;
    private static final int MAX_NESTED_INDEXES = 4;

    /** The list of images in what {@code docker save} writes. */
    private static final String SAVED = "manifest.json";

    private final Path cache;
    private final BlobStore store;
    private final Platform platform;
    private final boolean insecure;
    private final Map<String, String> environment;
    private final Work work;
    private final List<AutoCloseable> open = new ArrayList<>();
    private final ExecutorService fetchers = Executors.newFixedThreadPool(PARALLEL, task -> {
        Thread thread = new Thread(task, "fetch");
        thread.setDaemon(true);
        return thread;
    });

    public Images(Path cache, Platform platform, boolean insecureRegistry, Map<String, String> environment, Work work) {
        this.cache = cache;
        this.store = new BlobStore(cache);
        this.platform = platform;
        this.insecure = insecureRegistry;
        this.environment = environment;
        this.work = work;
    }

    /** Looks an image up. Of a registry's image only its documents are read; its layers wait for being fetched. */
    public Image find(ImageReference reference) {
        return switch (kind(reference)) {
            case REGISTRY -> inRegistry((InRegistry) reference);
            case OCI_LAYOUT -> {
                OciLayout layout = (OciLayout) reference;
                yield inLayout(new DirectoryFiles(layout.directory()), layout.name(), reference);
            }
            case OCI_ARCHIVE -> {
                OciArchive archive = (OciArchive) reference;
                yield inLayout(archive(archive.file()), archive.name(), reference);
            }
            case DOCKER_ARCHIVE -> {
                DockerArchive archive = (DockerArchive) reference;
                yield saved(archive(archive.file()), archive.name(), reference);
            }
            case DOCKER_DAEMON -> {
                DockerDaemon daemon = (DockerDaemon) reference;
                NamedFiles files = archive(saveFromDaemon(daemon));
                // A name without a tag gets us every tag that the daemon has of it.
                boolean several = savedIn(files, reference).size() > 1;
                yield saved(files, several ? Optional.of(daemon.name()) : Optional.empty(), reference);
            }
        };
    }

    private enum Where {
        REGISTRY,
        OCI_LAYOUT,
        OCI_ARCHIVE,
        DOCKER_ARCHIVE,
        DOCKER_DAEMON
    }

    /** Java 17 has no switch over types. */
    private static Where kind(ImageReference reference) {
        if (reference instanceof InRegistry) {
            return Where.REGISTRY;
        }
        if (reference instanceof OciLayout) {
            return Where.OCI_LAYOUT;
        }
        if (reference instanceof OciArchive) {
            return Where.OCI_ARCHIVE;
        }
        return reference instanceof DockerArchive ? Where.DOCKER_ARCHIVE : Where.DOCKER_DAEMON;
    }

    // Registries.

    private Image inRegistry(InRegistry reference) {
        RegistryClient registry = new RegistryClient(reference, insecure, environment, work);
        byte[] document = reference
                .digest()
                .map(digest -> store.read(digest)
                        .orElseGet(() -> manifest(registry, reference.selector(), Optional.of(digest), reference)))
                .orElseGet(() -> tagged(registry, reference));
        Documents.Manifest manifest = manifest(
                document,
                entry -> store.read(entry.digest())
                        .orElseGet(() ->
                                manifest(registry, entry.digest().toString(), Optional.of(entry.digest()), reference)),
                reference);
        Digest id = manifest.config().digest();
        byte[] json = store.read(id).orElseGet(() -> {
            store.fetch(
                    manifest.config(),
                    offset -> registry.blob(id, offset),
                    "the configuration " + id.brief() + " of " + reference,
                    new Quiet(work));
            return store.read(id).orElseThrow(() -> new ForkdException(Kind.FAILED, "lost " + id));
        });
        requireSize(manifest.config(), json, "the configuration of " + reference);
        ImageConfig config = config(json, reference);
        requireLayers(config, manifest.layers().size(), reference);
        List<Layer> layers = new ArrayList<>();
        for (int i = 0; i < manifest.layers().size(); i++) {
            layers.add(
                    new RegistryLayer(manifest.layers().get(i), config.layers().get(i), registry, reference));
        }
        return new Image(id, config, layers, missing(manifest));
    }

    /**
     * What a tag leads to. One that is known here is only asked for, which costs the registry nothing; and where nobody
     * answers, what it led to the last time has to do.
     */
    private byte[] tagged(RegistryClient registry, InRegistry reference) {
        Optional<Digest> known = store.tagged(reference.toString());
        Optional<byte[]> here = known.flatMap(store::read);
        if (here.isPresent()) {
            try {
                if (registry.manifestDigest(reference.tag()).equals(known)) {
                    return here.get();
                }
            } catch (NoAnswerException e) {
                work.say(reference + " was not looked up, and is what it was the last time: " + e.sentence());
                return here.get();
            }
        }
        byte[] bytes = manifest(registry, reference.tag(), Optional.empty(), reference);
        store.tag(reference.toString(), Digest.sha256(bytes));
        return bytes;
    }

    private static void requireSize(Descriptor document, byte[] bytes, String what) {
        if (bytes.length != document.size()) {
            throw new ForkdException(
                    Kind.DAMAGED,
                    what + " has " + bytes.length + " bytes, and what names it says that it has " + document.size());
        }
    }

    private long missing(Documents.Manifest manifest) {
        return manifest.layers().stream()
                .filter(layer -> !store.has(layer))
                .mapToLong(Descriptor::size)
                .sum();
    }

    private static void requireLayers(ImageConfig config, int found, ImageReference reference) {
        if (config.layers().size() != found) {
            throw new ForkdException(
                    Kind.DAMAGED,
                    reference + " has " + found + " layers, but its configuration lists "
                            + config.layers().size());
        }
    }

    private byte[] manifest(
            RegistryClient registry, String selector, Optional<Digest> expected, ImageReference reference) {
        byte[] bytes = registry.manifest(selector);
        expected.filter(digest -> !digest.matches(bytes)).ifPresent(digest -> {
            throw new ForkdException(
                    Kind.DAMAGED,
                    "the manifest of " + reference + " was sent with other content than its digest " + digest
                            + " says");
        });
        store.add(expected.orElseGet(() -> Digest.sha256(bytes)), bytes);
        return bytes;
    }

    /** Reads a document that an entry of an index names. */
    @FunctionalInterface
    private interface Reader {
        byte[] read(Descriptor entry);
    }

    /** Goes down through indexes to the manifest for our platform. */
    private Documents.Manifest manifest(byte[] start, Reader reader, ImageReference reference) {
        String what = "the manifest of " + reference;
        byte[] bytes = start;
        for (int depth = 0; depth < MAX_NESTED_INDEXES; depth++) {
            JsonNode document = Documents.parse(bytes, what);
            if (!Documents.isIndex(document)) {
                return Documents.manifest(document, what);
            }
            Descriptor chosen = Documents.choose(Documents.index(document, what), platform, reference.toString());
            bytes = reader.read(chosen);
            requireSize(chosen, bytes, what);
        }
        throw new ForkdException(Kind.DAMAGED, what + " is an index of indexes of indexes, or refers to itself");
    }

    private ImageConfig config(byte[] json, ImageReference reference) {
        ImageConfig config = Documents.config(json, "the configuration of " + reference);
        if (platform.fit(config.platform()).isEmpty()) {
            throw new ForkdException(
                    Kind.NOT_FOUND,
                    reference + " is not there for " + platform,
                    "It is there for " + config.platform() + "; choose with --platform.");
        }
        return config;
    }

    private final class RegistryLayer implements Layer {
        private final Descriptor blob;
        private final Digest content;
        private final RegistryClient registry;
        private final String name;
        private Optional<CompletableFuture<Void>> fetched = Optional.empty();

        RegistryLayer(Descriptor blob, Digest content, RegistryClient registry, ImageReference reference) {
            this.blob = blob;
            this.content = content;
            this.registry = registry;
            this.name = "layer " + blob.digest().brief() + " of " + reference;
        }

        @Override
        public Digest content() {
            return content;
        }

        @Override
        public String name() {
            return name;
        }

        @Override
        public synchronized void fetch() {
            if (fetched.isEmpty()) {
                fetched = Optional.of(
                        store.has(blob)
                                ? CompletableFuture.completedFuture(null)
                                : CompletableFuture.runAsync(
                                        () -> store.fetch(
                                                blob, offset -> registry.blob(blob.digest(), offset), name, work),
                                        fetchers));
            }
        }

        @Override
        public InputStream open() throws IOException {
            fetch();
            try {
                fetched.orElseThrow().join();
            } catch (CompletionException e) {
                if (e.getCause() instanceof ForkdException known) {
                    throw known;
                }
                throw e;
            }
            return store.open(blob.digest());
        }

        @Override
        public void discard() {
            store.forget(blob.digest());
        }
    }

    // Folders and files.

    private ArchiveFiles archive(Path file) {
        ArchiveFiles archive = ArchiveFiles.open(file);
        open.add(archive);
        return archive;
    }

    private Image inLayout(NamedFiles files, Optional<String> name, ImageReference reference) {
        JsonNode index = Documents.parse(files.read("index.json"), "index.json of " + reference);
        List<Descriptor> entries = Documents.index(index, "index.json of " + reference);
        List<Descriptor> named = name.isEmpty()
                ? entries
                : entries.stream().filter(entry -> entry.name().equals(name)).toList();
        long names = named.stream().map(Descriptor::name).distinct().count();
        if (named.isEmpty() || names > 1) {
            List<String> offered = entries.stream()
                    .flatMap(entry -> entry.name().stream())
                    .distinct()
                    .toList();
            throw new ForkdException(
                    Kind.NOT_FOUND,
                    named.isEmpty()
                            ? reference + ": there is no such image in it"
                            : reference + ": there are several images in it",
                    offered.isEmpty() ? "" : "It has: " + String.join(", ", offered));
        }
        Reader reader = entry -> files.read(blobName(entry.digest()), entry.digest());
        Descriptor chosen = Documents.choose(named, platform, reference.toString());
        byte[] document = reader.read(chosen);
        requireSize(chosen, document, "the manifest of " + reference);
        Documents.Manifest manifest = manifest(document, reader, reference);
        byte[] json = reader.read(manifest.config());
        requireSize(manifest.config(), json, "the configuration of " + reference);
        ImageConfig config = config(json, reference);
        requireLayers(config, manifest.layers().size(), reference);
        List<Layer> layers = new ArrayList<>();
        for (int i = 0; i < manifest.layers().size(); i++) {
            Descriptor blob = manifest.layers().get(i);
            layers.add(new FileLayer(
                    files,
                    blobName(blob.digest()),
                    Optional.of(blob),
                    config.layers().get(i),
                    "layer " + blob.digest().brief() + " of " + reference));
        }
        return new Image(manifest.config().digest(), config, layers, 0);
    }

    private static String blobName(Digest digest) {
        return "blobs/" + digest.algorithm() + "/" + digest.hex();
    }

    /** What {@code docker save} wrote: manifest.json lists images, by names, with the files they are made of. */
    private Image saved(NamedFiles files, Optional<String> name, ImageReference reference) {
        List<JsonNode> found = new ArrayList<>();
        List<String> names = new ArrayList<>();
        for (JsonNode entry : savedIn(files, reference)) {
            List<String> tags = Documents.strings(entry.path("RepoTags"));
            names.addAll(tags);
            if (name.isEmpty() || tags.stream().anyMatch(tag -> sameImage(tag, name.get()))) {
                found.add(entry);
            }
        }
        if (found.size() != 1) {
            throw new ForkdException(
                    Kind.NOT_FOUND,
                    reference
                            + (found.isEmpty() ? ": there is no such image in it" : ": there are several images in it"),
                    names.isEmpty() ? "" : "It has: " + String.join(", ", names));
        }
        String configFile = found.get(0).path("Config").asString("");
        List<String> layerFiles = Documents.strings(found.get(0).path("Layers"));
        if (configFile.equals(SAVED) || layerFiles.contains(SAVED)) {
            throw new ForkdException(Kind.DAMAGED, SAVED + " of " + reference + " refers to itself");
        }
        byte[] json = files.read(configFile);
        ImageConfig config = config(json, reference);
        requireLayers(config, layerFiles.size(), reference);
        List<Layer> layers = new ArrayList<>();
        for (int i = 0; i < layerFiles.size(); i++) {
            layers.add(new FileLayer(
                    files,
                    layerFiles.get(i),
                    Optional.empty(),
                    config.layers().get(i),
                    "layer " + layerFiles.get(i) + " of " + reference));
        }
        return new Image(Digest.sha256(json), config, layers, 0);
    }

    private static JsonNode savedIn(NamedFiles files, ImageReference reference) {
        return Documents.parse(files.read(SAVED), SAVED + " of " + reference);
    }

    private static boolean sameImage(String one, String other) {
        return one.equals(other) || InRegistry.parse(one).equals(InRegistry.parse(other));
    }

    /** @param blob what the manifest says of the file; in some archives nothing does */
    private record FileLayer(NamedFiles files, String file, Optional<Descriptor> blob, Digest content, String name)
            implements Layer {
        @Override
        public void fetch() {}

        @Override
        public void discard() {}

        @Override
        public InputStream open() throws IOException {
            InputStream in = files.open(file);
            return blob.isPresent() ? new CheckedFile(in, blob.get(), name) : in;
        }
    }

    private Path saveFromDaemon(DockerDaemon reference) {
        try {
            Files.createDirectories(cache);
            OwnedDirectory.sweep(cache, ".daemon-");
            OwnedDirectory staging = OwnedDirectory.create(cache, ".daemon-");
            open.add(staging);
            Path file = staging.path().resolve("saved.tar");
            work.begin("Taking " + reference.name() + " from the Docker daemon", 0);
            DockerSocket.save(reference.name(), file, environment, work);
            return file;
        } catch (IOException e) {
            throw ForkdException.of("keep what the Docker daemon sends in " + cache, e);
        }
    }

    /**
     * Ends what is still being fetched and waits until it has removed what it had: of a failed pull nothing is left.
     * Only a server that sends nothing may keep one for longer; that one's directory goes at the next pull.
     */
    @Override
    public void close() {
        fetchers.shutdownNow();
        try {
            fetchers.awaitTermination(STOP_SECONDS, TimeUnit.SECONDS);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
        for (AutoCloseable one : open) {
            try {
                one.close();
            } catch (Exception e) {
                // It was only read from.
            }
        }
    }

    /** Passes nothing on but the user's wish to stop. */
    private record Quiet(Work work) implements Work {
        @Override
        public void begin(String what, long bytes) {}

        @Override
        public void advance(long bytes) {}

        @Override
        public void say(String line) {
            work.say(line);
        }

        @Override
        public void check() {
            work.check();
        }
    }
}
