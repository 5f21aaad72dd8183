package io.forkd.image;

import java.util.List;

/**
 * An image that was found. Its layers may still be elsewhere.
 *
 * @param id the digest of its configuration, which names all of its content
 * @param fetched bytes of its layers as they are fetched; 0 where none has to be
 * @param missing how many of these are not here
 */
public record Image(Digest id, ImageConfig config, List<Layer> layers, long fetched, long missing) {}
