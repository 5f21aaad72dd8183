package io.forkd.hub;

import com.github.luben.zstd.Zstd;
import com.github.luben.zstd.ZstdCompressCtx;
import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.image.Digest;
import io.forkd.image.RegistryClient;
import io.forkd.image.Work;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicReferenceArray;

/** Cuts files, and sends what the registry has not. */
final class ChunkSender {
    /** Three times as fast as the next, for a tenth more. */
    private static final int LEVEL = 3;

    private final RegistryClient registry;
    private final ChunkSource source;
    private final Workers workers;
    private final Work work;

    /** What the documents of an artifact that is there say of its chunks, by content. Whoever wrote them may lie. */
    private final Map<Digest, Chunk> said = new HashMap<>();

    /** Those that are as they should be: sent by this one, or made by it to the same blob. */
    private final Map<Digest, Chunk> known = new HashMap<>();

    private final Map<Digest, Integer> numbers = new HashMap<>();
    private final List<Chunk> chunks = new ArrayList<>();
    private final AtomicLong sent = new AtomicLong();

    /** @param source of the contents of {@code there} */
    ChunkSender(RegistryClient registry, List<Chunk> there, ChunkSource source, Workers workers, Work work) {
        this.registry = registry;
        this.source = source;
        this.workers = workers;
        this.work = work;
        there.forEach(chunk -> said.put(chunk.content(), chunk));
    }

    /** A file that has been sent, and the SHA-256 of all of it. */
    record Sent(ChunkedFile file, Digest digest) {}

    /** @param old what the registry has in its place, with which its pieces may have much in common */
    Sent send(Path path, String name, List<Optional<Chunk>> old) {
        try (FileChannel channel = FileChannel.open(path, StandardOpenOption.READ)) {
            long bytes = channel.size();
            int piece = ChunkedFile.pieceOf(bytes);
            int count = (int) ChunkedFile.pieces(bytes, piece);
            AtomicReferenceArray<Digest> contents = new AtomicReferenceArray<>(count);
            MessageDigest whole = MessageDigest.getInstance("SHA-256");
            for (int i = 0; i < count; i++) {
                work.check();
                byte[] content = new byte[(int) Math.min(piece, bytes - (long) i * piece)];
                read(channel, content, path);
                whole.update(content);
                if (isZero(content)) {
                    work.advance(content.length);
                    continue;
                }
                int index = i;
                Optional<Chunk> like = i < old.size() ? old.get(i) : Optional.empty();
                workers.give(content.length, () -> {
                    contents.set(index, send(content, like));
                    work.advance(content.length);
                });
            }
            workers.finish();
            List<Integer> pieces = new ArrayList<>();
            for (int i = 0; i < count; i++) {
                Digest content = contents.get(i);
                pieces.add(content == null ? ChunkedFile.ZERO : number(content));
            }
            return new Sent(
                    new ChunkedFile(name, bytes, piece, pieces),
                    new Digest("sha256", HexFormat.of().formatHex(whole.digest())));
        } catch (IOException e) {
            throw ForkdException.of("read " + path, e);
        } catch (NoSuchAlgorithmException e) {
            throw new AssertionError("every Java has SHA-256", e);
        }
    }

    private static void read(FileChannel channel, byte[] into, Path path) throws IOException {
        ByteBuffer buffer = ByteBuffer.wrap(into);
        while (buffer.hasRemaining()) {
            if (channel.read(buffer) < 0) {
                throw new IOException(path + " became shorter while it was read");
            }
        }
    }

    private static boolean isZero(byte[] content) {
        return content[0] == 0 && Arrays.equals(content, 1, content.length, content, 0, content.length - 1);
    }

    private Digest send(byte[] content, Optional<Chunk> like) {
        Digest digest = Digest.sha256(content);
        if (known(digest).isPresent()) {
            return digest;
        }
        byte[] compressed = Zstd.compress(content, LEVEL);
        Optional<Chunk> old = said(digest).filter(chunk -> isOf(chunk, content, compressed));
        if (old.isPresent()) {
            know(old.get());
            return digest;
        }
        Optional<Chunk> base =
                like.map(chunk -> chunk.base().flatMap(this::said).orElse(chunk));
        Optional<byte[]> difference = base.flatMap(this::contentOfBase)
                .map(of -> difference(content, of))
                .filter(bytes -> bytes.length < compressed.length / 2);
        byte[] sending = difference.orElse(compressed);
        Chunk chunk = new Chunk(
                Digest.sha256(sending),
                sending.length,
                digest,
                content.length,
                difference.isPresent() ? base.map(Chunk::content) : Optional.empty());
        if (!registry.has(chunk.blob())) {
            registry.upload(chunk.blob(), sending);
            sent.addAndGet(sending.length);
        }
        know(chunk);
        return digest;
    }

    /** Whether the blob is what this would send: it is made again, and need not be fetched to be believed. */
    private boolean isOf(Chunk chunk, byte[] content, byte[] compressed) {
        Optional<byte[]> blob = chunk.base().isEmpty()
                ? Optional.of(compressed)
                : chunk.base().flatMap(this::said).flatMap(this::contentOfBase).map(base -> difference(content, base));
        return chunk.bytes() == content.length
                && blob.filter(bytes -> isBlob(chunk, bytes)).isPresent();
    }

    private static boolean isBlob(Chunk chunk, byte[] bytes) {
        return chunk.size() == bytes.length && chunk.blob().matches(bytes);
    }

    /** Of one that others can be differences to: who pulls these gets that from the registry, so it has to be there, and whole. */
    private Optional<byte[]> contentOfBase(Chunk base) {
        Optional<byte[]> content = content(base);
        boolean right = content.isPresent()
                && base.base().isEmpty()
                && (known(base.content()).isPresent() || isBlob(base, Zstd.compress(content.get(), LEVEL)));
        return right && know(base).base().isEmpty() ? content : Optional.empty();
    }

    /** Empty where the registry has something else: what is pushed takes the place of that. */
    private Optional<byte[]> content(Chunk base) {
        try {
            return Optional.of(source.content(base));
        } catch (ForkdException e) {
            if (e.kind() == Kind.DAMAGED || e.kind() == Kind.NOT_FOUND) {
                return Optional.empty();
            }
            throw e;
        }
    }

    private Optional<Chunk> said(Digest content) {
        return Optional.ofNullable(said.get(content));
    }

    private Optional<Chunk> known(Digest content) {
        synchronized (known) {
            return Optional.ofNullable(known.get(content));
        }
    }

    /** The one that is known from now on: another thread may have been faster, with another blob of the same content. */
    private Chunk know(Chunk chunk) {
        synchronized (known) {
            Chunk first = known.putIfAbsent(chunk.content(), chunk);
            return first == null ? chunk : first;
        }
    }

    /** What a guest changed is a few pages here and there; the rest is in the base. */
    private static byte[] difference(byte[] content, byte[] base) {
        try (ZstdCompressCtx zstd = new ZstdCompressCtx()) {
            zstd.setLevel(LEVEL).loadDict(base);
            return zstd.compress(content);
        }
    }

    /** A base comes before what is the difference to it. */
    private int number(Digest content) {
        Integer number = numbers.get(content);
        if (number == null) {
            Chunk chunk = known(content).orElseThrow();
            chunk.base().ifPresent(this::number);
            number = chunks.size();
            numbers.put(content, number);
            chunks.add(chunk);
        }
        return number;
    }

    /** Of which the files that were sent are made. */
    List<Chunk> chunks() {
        return chunks;
    }

    /** Bytes that the registry had not. */
    long sent() {
        return sent.get();
    }
}
