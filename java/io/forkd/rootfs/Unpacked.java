package io.forkd.rootfs;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.image.Layer;
import java.io.BufferedInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.security.MessageDigest;
import java.util.concurrent.ArrayBlockingQueue;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.zip.GZIPInputStream;
import org.apache.commons.compress.compressors.zstandard.ZstdCompressorInputStream;

/**
 * A layer's archive, unpacked by a thread of its own some buffers ahead of its reader, and checked at its end against
 * the digest that the image's configuration names.
 */
final class Unpacked extends InputStream {
    private static final int BUFFER = 256 << 10;
    private static final int AHEAD = 16;

    /** What the thread passes on: bytes, or how it ended. */
    private sealed interface Part {}

    private static final class Bytes implements Part {
        private final byte[] bytes;
        private final int length;

        Bytes(byte[] bytes, int length) {
            this.bytes = bytes;
            this.length = length;
        }

        byte[] bytes() {
            return bytes;
        }

        int length() {
            return length;
        }
    }

    private record End() implements Part {}

    private record Failed(Throwable why) implements Part {}

    private final Layer layer;
    private final long mostBytes;
    private final BlockingQueue<Part> parts = new ArrayBlockingQueue<>(AHEAD);
    private final BlockingQueue<byte[]> spare = new ArrayBlockingQueue<>(AHEAD + 2);
    private final AtomicBoolean closed = new AtomicBoolean();
    private Part current = new Bytes(new byte[0], 0);
    private int at;

    /** @param mostBytes more than that is taken for an attack */
    Unpacked(Layer layer, long mostBytes) {
        this.layer = layer;
        this.mostBytes = mostBytes;
        Thread thread = new Thread(this::run, "unpack");
        thread.setDaemon(true);
        thread.start();
    }

    private void run() {
        try (InputStream file = new Ahead(layer.open());
                InputStream in = decompressed(file)) {
            MessageDigest hasher = layer.content().hasher();
            long total = 0;
            while (true) {
                byte[] buffer = spare.poll();
                buffer = buffer == null ? new byte[BUFFER] : buffer;
                int length = in.readNBytes(buffer, 0, buffer.length);
                if (length == 0) {
                    break;
                }
                total += length;
                if (total > mostBytes) {
                    throw new BadLayerException("the layer unpacks to more than " + (mostBytes >> 20) + " MiB");
                }
                hasher.update(buffer, 0, length);
                if (!pass(new Bytes(buffer, length))) {
                    return;
                }
            }
            // Whoever gave us the file checks it at its end.
            file.transferTo(OutputStream.nullOutputStream());
            if (!layer.content().matches(hasher)) {
                layer.discard();
                throw new ForkdException(
                        Kind.DAMAGED,
                        layer.name() + " has other content than the image's configuration says (" + layer.content()
                                + ")");
            }
            pass(new End());
        } catch (IOException | RuntimeException e) {
            pass(new Failed(e));
        }
    }

    /** GZIPInputStream looks for a further member only where something is available, which not every stream knows. */
    private static final class Ahead extends BufferedInputStream {
        Ahead(InputStream in) {
            super(in, BUFFER);
        }

        @Override
        public synchronized int available() throws IOException {
            if (super.available() == 0) {
                mark(1);
                if (read() >= 0) {
                    reset();
                }
            }
            return super.available();
        }
    }

    private boolean pass(Part part) {
        try {
            while (!closed.get()) {
                if (parts.offer(part, 100, TimeUnit.MILLISECONDS)) {
                    return true;
                }
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
        return false;
    }

    /** By its first bytes, as what manifests say of it is often wrong. */
    private static InputStream decompressed(InputStream in) throws IOException {
        in.mark(4);
        byte[] start = in.readNBytes(4);
        in.reset();
        int magic = 0;
        for (byte next : start) {
            magic = (magic << 8) | (next & 0xff);
        }
        if (magic >>> 16 == 0x1f8b) {
            return new GZIPInputStream(in, BUFFER);
        }
        // A frame, or one that is to be skipped.
        if (magic == 0x28b52ffd || (magic & 0xf0ffffff) == 0x502a4d18) {
            return new ZstdCompressorInputStream(in);
        }
        return in;
    }

    private Bytes current() throws IOException {
        while (current instanceof Bytes bytes && at == bytes.length()) {
            if (bytes.length() > 0) {
                spare.offer(bytes.bytes());
            }
            try {
                current = parts.take();
                at = 0;
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
                throw new ForkdException(Kind.FAILED, "interrupted");
            }
        }
        if (current instanceof Failed failed) {
            if (failed.why() instanceof ForkdException known) {
                throw known;
            }
            if (failed.why() instanceof BadLayerException bad) {
                throw bad;
            }
            layer.discard();
            throw new ForkdException(
                    Kind.DAMAGED,
                    layer.name() + " cannot be unpacked: "
                            + (failed.why() instanceof IOException io
                                    ? ForkdException.reason(io)
                                    : failed.why().toString()));
        }
        return current instanceof Bytes bytes ? bytes : new Bytes(new byte[0], 0);
    }

    @Override
    public int read() throws IOException {
        byte[] one = new byte[1];
        return read(one, 0, 1) < 0 ? -1 : one[0] & 0xff;
    }

    @Override
    public int read(byte[] to, int offset, int wanted) throws IOException {
        Bytes bytes = current();
        if (bytes.length() == 0) {
            return -1;
        }
        int length = Math.min(wanted, bytes.length() - at);
        System.arraycopy(bytes.bytes(), at, to, offset, length);
        at += length;
        return length;
    }

    /** Reads to the end, so that the digest is checked. */
    void drain() throws IOException {
        while (current().length() > 0) {
            at = current().length();
        }
    }

    @Override
    public void close() {
        closed.set(true);
    }
}
