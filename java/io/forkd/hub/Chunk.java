package io.forkd.hub;

import io.forkd.image.Digest;
import java.util.Optional;

/**
 * A piece of a file, as a registry has it: a blob, compressed.
 *
 * @param blob of the bytes in the registry
 * @param size of these
 * @param content of what they are uncompressed
 * @param bytes of that
 * @param base the content of another chunk, which is whole, that they are the difference to
 */
record Chunk(Digest blob, long size, Digest content, int bytes, Optional<Digest> base) {
    /** What a blob of so many bytes may be compressed to, at most: zstd's own bound, and more. */
    static long mostCompressed(int bytes) {
        return bytes + (bytes >> 7) + 1024L;
    }
}
