package io.forkd.image;

import java.util.List;
import java.util.Optional;

/**
 * An image that was found. Its layers may still be elsewhere.
 *
 * @param id the digest of its configuration, which names all of its content
 * @param manifest the digest by which a registry has it for this platform; empty where it is in none
 * @param fetched bytes of its layers as they are fetched; 0 where none has to be
 * @param missing how many of these are not here
 */
public record Image(
        Digest id, ImageConfig config, List<Layer> layers, Optional<Digest> manifest, long fetched, long missing) {}
