package io.forkd.image;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.Remedy;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.function.BiFunction;
import java.util.stream.Collectors;
import tools.jackson.databind.JsonNode;

/**
 * An image that is looked for, and the way to it through its documents, wherever they lie: each has to agree with what
 * led to it.
 */
record Lookup(ImageReference reference, Platform platform) {
    private static final int MAX_NESTED_INDEXES = 4;

    /** Reads a document that another one names. */
    @FunctionalInterface
    interface Reader {
        byte[] read(Descriptor document);
    }

    /** The manifest for the platform, the first of those that fit best. Entries that say no platform are for every one. */
    Descriptor choose(List<Descriptor> offered) {
        Optional<Descriptor> best = Optional.empty();
        int bestFit = -2;
        for (Descriptor entry : offered) {
            OptionalInt fit = entry.platform().map(platform::fit).orElse(OptionalInt.of(-1));
            if (fit.isPresent() && fit.getAsInt() > bestFit) {
                best = Optional.of(entry);
                bestFit = fit.getAsInt();
            }
        }
        return best.orElseThrow(() -> isForOther(offered.stream()
                .flatMap(entry -> entry.platform().stream())
                .map(Platform::toString)
                .filter(name -> !name.startsWith("unknown/"))
                .distinct()
                .collect(Collectors.joining(", "))));
    }

    private ForkdException isForOther(String platforms) {
        return new ForkdException(
                Kind.NOT_FOUND, reference + " is not there for " + platform, new Remedy.ChoosePlatform(platforms));
    }

    /** Reads the manifest, or index, that an entry of an index names. */
    byte[] read(Descriptor entry, Reader reader) {
        requireSmall(entry, manifestName());
        byte[] bytes = reader.read(entry);
        requireSize(entry, bytes, manifestName());
        return bytes;
    }

    /** Goes down through indexes to the manifest for the platform. */
    Documents.Manifest manifest(byte[] start, Reader reader) {
        byte[] bytes = start;
        for (int depth = 0; depth < MAX_NESTED_INDEXES; depth++) {
            JsonNode document = Documents.parse(bytes, manifestName());
            if (!Documents.isIndex(document)) {
                return Documents.manifest(document, Digest.sha256(bytes), manifestName());
            }
            bytes = read(choose(Documents.index(document, manifestName())), reader);
        }
        throw new ForkdException(
                Kind.DAMAGED, manifestName() + " is an index of indexes of indexes, or refers to itself");
    }

    private String manifestName() {
        return "the manifest of " + reference;
    }

    private String configName() {
        return "the configuration of " + reference;
    }

    /** The configuration that a manifest names. */
    ImageConfig config(Descriptor named, Reader reader) {
        requireSmall(named, configName());
        byte[] json = reader.read(named);
        requireSize(named, json, configName());
        return config(json);
    }

    ImageConfig config(byte[] json) {
        ImageConfig config = Documents.config(json, configName());
        if (platform.fit(config.platform()).isEmpty()) {
            throw isForOther(config.platform().toString());
        }
        return config;
    }

    /** Before it is pulled. */
    private static void requireSmall(Descriptor document, String what) {
        if (document.size() > Documents.MAX_BYTES) {
            throw Documents.tooLarge(what);
        }
    }

    private static void requireSize(Descriptor document, byte[] bytes, String what) {
        if (bytes.length != document.size()) {
            throw new ForkdException(
                    Kind.DAMAGED,
                    what + " has " + bytes.length + " bytes, and what names it says that it has " + document.size());
        }
    }

    /** Makes layers of what was found, each with what the configuration says that its content hashes to. */
    <T> List<Layer> layers(List<T> found, ImageConfig config, BiFunction<T, Digest, Layer> layer) {
        if (config.layers().size() != found.size()) {
            throw new ForkdException(
                    Kind.DAMAGED,
                    reference + " has " + found.size() + " layers, but its configuration lists "
                            + config.layers().size());
        }
        List<Layer> layers = new ArrayList<>();
        for (int i = 0; i < found.size(); i++) {
            layers.add(layer.apply(found.get(i), config.layers().get(i)));
        }
        return layers;
    }

    /** For people: what names a layer of a manifest. */
    String nameOf(Descriptor layer) {
        return "layer " + layer.digest().brief() + " of " + reference;
    }

    /** There is not just one image where it is looked for. */
    ForkdException isNotOne(boolean none, List<String> offered) {
        return new ForkdException(
                Kind.NOT_FOUND,
                reference + (none ? ": there is no such image in it" : ": there are several images in it"),
                offered.isEmpty() ? "" : "It has: " + String.join(", ", offered));
    }
}
