package io.forkd.image;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.image.ImageReference.InRegistry;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import tools.jackson.databind.JsonNode;

/** The images of what {@code docker save} wrote: manifest.json lists them, by names, with the files they are made of. */
record SavedImages(NamedFiles files) {
    private static final String LIST = "manifest.json";

    /** @param name of the image; without one there must be one only */
    Image find(Optional<String> name, Lookup lookup) {
        List<JsonNode> found = new ArrayList<>();
        List<String> names = new ArrayList<>();
        for (JsonNode entry : list(lookup)) {
            List<String> tags = Documents.strings(entry.path("RepoTags"));
            names.addAll(tags);
            if (name.isEmpty() || tags.stream().anyMatch(tag -> sameImage(tag, name.get()))) {
                found.add(entry);
            }
        }
        if (found.size() != 1) {
            throw lookup.isNotOne(found.isEmpty(), names);
        }
        String configFile = found.get(0).path("Config").asString("");
        List<String> layerFiles = Documents.strings(found.get(0).path("Layers"));
        if (configFile.equals(LIST) || layerFiles.contains(LIST)) {
            throw new ForkdException(Kind.DAMAGED, listName(lookup) + " refers to itself");
        }
        byte[] json = files.read(configFile);
        ImageConfig config = lookup.config(json);
        List<Layer> layers = lookup.layers(
                layerFiles,
                config,
                (file, content) -> new FileLayer(
                        files, file, Optional.empty(), content, "layer " + file + " of " + lookup.reference()));
        return new Image(Digest.sha256(json), config, layers, Optional.empty(), 0, 0);
    }

    /** Finds it where nothing else was asked for, and may have come under several names. */
    Image findAsked(String name, Lookup lookup) {
        return find(list(lookup).size() > 1 ? Optional.of(name) : Optional.empty(), lookup);
    }

    private JsonNode list(Lookup lookup) {
        return Documents.parse(files.read(LIST), listName(lookup));
    }

    private static String listName(Lookup lookup) {
        return LIST + " of " + lookup.reference();
    }

    private static boolean sameImage(String one, String other) {
        return one.equals(other) || InRegistry.parse(one).equals(InRegistry.parse(other));
    }
}
