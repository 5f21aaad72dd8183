package io.forkd.hub;

import com.github.luben.zstd.ZstdDecompressCtx;
import com.github.luben.zstd.ZstdException;
import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.image.Digest;
import io.forkd.image.RegistryClient;
import io.forkd.image.Work;
import java.io.IOException;
import java.io.InputStream;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.concurrent.atomic.AtomicLong;

/** The contents of an artifact's chunks, from this machine where it has them, else from the registry. */
final class ChunkSource {
    private static final int ATTEMPTS = 5;

    private final RegistryClient registry;
    private final LocalChunks local;
    private final Work work;
    private final Map<Digest, Chunk> chunks = new HashMap<>();
    private final AtomicLong fetched = new AtomicLong();

    /** @param chunks those that others may be differences to are among them */
    ChunkSource(RegistryClient registry, LocalChunks local, List<Chunk> chunks, Work work) {
        this.registry = registry;
        this.local = local;
        this.work = work;
        chunks.forEach(chunk -> this.chunks.put(chunk.content(), chunk));
    }

    /** What it hashes to has been looked at. */
    byte[] content(Chunk chunk) {
        Optional<byte[]> here = local.find(chunk);
        if (here.isPresent()) {
            return here.get();
        }
        byte[] compressed = compressed(chunk);
        fetched.addAndGet(compressed.length);
        return uncompressed(chunk, compressed);
    }

    /** Bytes that came from the registry. */
    long fetched() {
        return fetched.get();
    }

    /** What others are a difference to is whole, so that this ends. */
    private byte[] base(Digest content) {
        return content(Objects.requireNonNull(chunks.get(content)));
    }

    private byte[] compressed(Chunk chunk) {
        for (int attempt = 1; ; attempt++) {
            String why;
            try (InputStream in = registry.blob(chunk.blob(), 0)) {
                byte[] bytes = in.readNBytes((int) chunk.size() + 1);
                if (bytes.length > chunk.size()) {
                    throw lie(chunk, "it is longer than its manifest says (" + chunk.size() + " bytes)");
                }
                if (bytes.length == chunk.size()) {
                    if (chunk.blob().matches(bytes)) {
                        return bytes;
                    }
                    throw lie(chunk, "it has other content than its digest says");
                }
                why = "it ended after " + bytes.length + " of " + chunk.size() + " bytes";
            } catch (IOException e) {
                why = ForkdException.reason(e);
            }
            work.check();
            if (attempt == ATTEMPTS) {
                throw new ForkdException(
                        Kind.FAILED,
                        "cannot pull the chunk " + chunk.blob().brief() + ": the connection breaks again and again: "
                                + why,
                        "What has been pulled is kept: the next try goes on from there.");
            }
            work.pause(100L << attempt);
        }
    }

    private byte[] uncompressed(Chunk chunk, byte[] compressed) {
        byte[] content = new byte[chunk.bytes()];
        byte[] base = chunk.base().map(this::base).orElse(new byte[0]);
        try (ZstdDecompressCtx zstd = new ZstdDecompressCtx()) {
            if (base.length > 0) {
                zstd.loadDict(base);
            }
            if (zstd.decompressByteArray(content, 0, content.length, compressed, 0, compressed.length)
                    != content.length) {
                throw lie(chunk, "it is not of the length that the configuration says");
            }
        } catch (ZstdException e) {
            throw lie(chunk, "it cannot be decompressed to " + chunk.bytes() + " bytes: " + e.getMessage());
        }
        if (!chunk.content().matches(content)) {
            throw lie(chunk, "its content is not what the configuration says");
        }
        return content;
    }

    private static ForkdException lie(Chunk chunk, String why) {
        return new ForkdException(
                Kind.DAMAGED,
                "the chunk " + chunk.blob().brief() + " is damaged: " + why,
                "The registry, or something between it and this machine, is broken or lies.");
    }
}
