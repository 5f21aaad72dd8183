package io.forkd.image;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.image.ImageReference.InRegistry;
import java.util.List;
import java.util.Optional;
import java.util.function.Predicate;
import java.util.stream.Stream;

/** An image of a registry. Documents of it that have been read are in the cache, and not asked for again. */
final class RegistryImage {
    private final InRegistry reference;
    private final RegistryClient registry;
    private final BlobStore store;
    private final Work work;

    RegistryImage(InRegistry reference, RegistryClient registry, BlobStore store, Work work) {
        this.reference = reference;
        this.registry = registry;
        this.store = store;
        this.work = work;
    }

    Image find(Lookup lookup, LayerPulls pulls) {
        byte[] document = reference.digest().map(this::manifest).orElseGet(this::tagged);
        Documents.Manifest manifest = lookup.manifest(document, entry -> manifest(entry.digest()));
        ImageConfig config = lookup.config(manifest.config(), this::config);
        List<Layer> layers = lookup.layers(
                manifest.layers(),
                config,
                (blob, content) -> pulls.layer(
                        blob, content, lookup.nameOf(blob), offset -> registry.blob(blob.digest(), offset)));
        return new Image(
                manifest.config().digest(),
                config,
                layers,
                Optional.of(manifest.digest()),
                bytes(manifest, layer -> true),
                bytes(manifest, layer -> !store.has(layer)));
    }

    /** Fails unless all of it is in the registry; what the cache has of it does not count. */
    void requireThere(Lookup lookup) {
        Digest digest = reference.digest().orElseThrow();
        byte[] document = registry.manifest(digest.toString());
        requireContent(digest, document);
        Documents.Manifest manifest = lookup.manifest(document, entry -> manifest(entry.digest()));
        for (Descriptor blob : Stream.concat(Stream.of(manifest.config()), manifest.layers().stream())
                .toList()) {
            if (!registry.has(blob.digest())) {
                throw new ForkdException(
                        Kind.NOT_FOUND,
                        "the registry has lost " + blob.digest().brief() + " of " + reference,
                        "Push the image again.");
            }
        }
    }

    /**
     * What a tag leads to. One that is known here is only asked for, which costs the registry nothing; and where nobody
     * answers, what it led to the last time has to do.
     */
    private byte[] tagged() {
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
        byte[] bytes = registry.manifest(reference.tag());
        Digest digest = Digest.sha256(bytes);
        store.add(digest, bytes);
        store.tag(reference.toString(), digest);
        return bytes;
    }

    private byte[] manifest(Digest digest) {
        return store.read(digest).orElseGet(() -> {
            byte[] bytes = registry.manifest(digest.toString());
            requireContent(digest, bytes);
            store.add(digest, bytes);
            return bytes;
        });
    }

    private void requireContent(Digest digest, byte[] manifest) {
        if (!digest.matches(manifest)) {
            throw new ForkdException(
                    Kind.DAMAGED,
                    "the manifest of " + reference + " was sent with other content than its digest " + digest
                            + " says");
        }
    }

    private byte[] config(Descriptor named) {
        Digest id = named.digest();
        return store.read(id).orElseGet(() -> {
            store.fetch(
                    named,
                    offset -> registry.blob(id, offset),
                    "the configuration " + id.brief() + " of " + reference,
                    new Quiet(work));
            return store.read(id).orElseThrow(() -> new ForkdException(Kind.FAILED, "lost " + id));
        });
    }

    private static long bytes(Documents.Manifest manifest, Predicate<Descriptor> which) {
        return manifest.layers().stream()
                .filter(which)
                .mapToLong(Descriptor::size)
                .sum();
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
