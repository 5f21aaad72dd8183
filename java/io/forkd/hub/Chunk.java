package io.forkd.hub;

import io.forkd.image.Digest;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
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
    /** Its content, if that is what a file has there. */
    Optional<byte[]> in(FileChannel file, long offset) {
        byte[] bytes = new byte[this.bytes];
        ByteBuffer buffer = ByteBuffer.wrap(bytes);
        try {
            while (buffer.hasRemaining()) {
                if (file.read(buffer, offset + buffer.position()) < 0) {
                    return Optional.empty();
                }
            }
        } catch (IOException e) {
            return Optional.empty();
        }
        return content.matches(bytes) ? Optional.of(bytes) : Optional.empty();
    }

    /** What a blob of so many bytes may be compressed to, at most: zstd's own bound, and more. */
    static long mostCompressed(int bytes) {
        return bytes + (bytes >> 7) + 1024L;
    }
}
