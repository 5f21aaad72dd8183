package io.forkd.image;

import java.util.List;

/**
 * An image that was found. Its layers may still be elsewhere.
 *
 * @param id the digest of its configuration, which names all of its content
 * @param missing bytes that have to be fetched before all layers are here
 */
public record Image(Digest id, ImageConfig config, List<Layer> layers, long missing) {}
