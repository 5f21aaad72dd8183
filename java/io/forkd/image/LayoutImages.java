package io.forkd.image;

import java.util.List;
import java.util.Optional;
import tools.jackson.databind.JsonNode;

/** The images of an OCI layout: index.json lists them, and all else lies under what it hashes to. */
record LayoutImages(NamedFiles files) {
    /** @param name of the image; without one there must be one only */
    Image find(Optional<String> name, Lookup lookup) {
        Descriptor chosen = lookup.choose(named(name, lookup));
        Documents.Manifest manifest = lookup.manifest(lookup.read(chosen, this::read), this::read);
        ImageConfig config = lookup.config(manifest.config(), this::read);
        List<Layer> layers = lookup.layers(
                manifest.layers(),
                config,
                (blob, content) ->
                        new FileLayer(files, fileOf(blob.digest()), Optional.of(blob), content, lookup.nameOf(blob)));
        return new Image(manifest.config().digest(), config, layers, Optional.empty(), 0, 0);
    }

    private List<Descriptor> named(Optional<String> name, Lookup lookup) {
        String what = "index.json of " + lookup.reference();
        JsonNode index = Documents.parse(files.read("index.json"), what);
        List<Descriptor> entries = Documents.index(index, what);
        List<Descriptor> named = name.isEmpty()
                ? entries
                : entries.stream().filter(entry -> entry.name().equals(name)).toList();
        long names = named.stream().map(Descriptor::name).distinct().count();
        if (named.isEmpty() || names > 1) {
            throw lookup.isNotOne(
                    named.isEmpty(),
                    entries.stream()
                            .flatMap(entry -> entry.name().stream())
                            .distinct()
                            .toList());
        }
        return named;
    }

    private byte[] read(Descriptor document) {
        return files.read(fileOf(document.digest()), document.digest());
    }

    private static String fileOf(Digest digest) {
        return "blobs/" + digest.algorithm() + "/" + digest.hex();
    }
}
