package io.forkd.pack;

import com.github.luben.zstd.ZstdDecompressCtx;
import com.github.luben.zstd.ZstdException;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.channels.ReadableByteChannel;
import java.util.function.LongConsumer;

/** What one frame of zstd has in it, which is all that there is in a file. */
final class OneFrame extends InputStream {
    private static final int BUFFER = 1 << 17;
    private static final int MAGIC = 0xfd2fb528;

    /** Memory for what may be referred back to: 128 MiB, what zstd itself reads unless it is told otherwise. */
    private static final int MOST_WINDOW_LOG = 27;

    private final Refusal refusal;
    private final ReadableByteChannel from;
    private final LongConsumer progress;
    private final ZstdDecompressCtx context;
    private final ByteBuffer packed = ByteBuffer.allocateDirect(BUFFER).flip();
    private final ByteBuffer plain = ByteBuffer.allocateDirect(BUFFER).flip();
    private boolean begun;
    private boolean ended;

    /** @param progress hears how many packed bytes more were read */
    OneFrame(ReadableByteChannel from, Refusal refusal, LongConsumer progress) {
        this.from = from;
        this.refusal = refusal;
        this.progress = progress;
        this.context = new ZstdDecompressCtx().setLongMax(MOST_WINDOW_LOG);
    }

    @Override
    public int read() throws IOException {
        return fill() ? Byte.toUnsignedInt(plain.get()) : -1;
    }

    @Override
    public int read(byte[] out, int offset, int length) throws IOException {
        if (length == 0) {
            return 0;
        }
        if (!fill()) {
            return -1;
        }
        int count = Math.min(length, plain.remaining());
        plain.get(out, offset, count);
        return count;
    }

    /** Whether there is more. */
    private boolean fill() throws IOException {
        while (!plain.hasRemaining() && !ended) {
            if (!packed.hasRemaining() && !more()) {
                throw refusal.of("it is cut short");
            }
            if (!begun) {
                begin();
            }
            plain.clear();
            try {
                ended = context.decompressDirectByteBufferStream(plain, packed);
            } catch (ZstdException e) {
                throw refusal.of("it cannot be unpacked by zstd: " + e.getMessage());
            }
            plain.flip();
        }
        return plain.hasRemaining();
    }

    private void begin() throws IOException {
        while (packed.remaining() < Integer.BYTES) {
            if (!more()) {
                break;
            }
        }
        if (packed.remaining() < Integer.BYTES || Integer.reverseBytes(packed.getInt(packed.position())) != MAGIC) {
            throw refusal.of("it is not packed by zstd");
        }
        begun = true;
    }

    private boolean more() throws IOException {
        packed.compact();
        int count = from.read(packed);
        packed.flip();
        progress.accept(Math.max(0, count));
        return count > 0;
    }

    /** Fails unless the frame has been read to its end, and nothing comes after it. */
    void requireEnd() throws IOException {
        if (fill()) {
            throw refusal.of("it has more in it than it says");
        }
        if (packed.hasRemaining() || more()) {
            throw refusal.of("something comes after its end");
        }
    }

    @Override
    public void close() throws IOException {
        context.close();
        from.close();
    }
}
