package io.forkd.http;

import java.io.IOException;
import java.io.InterruptedIOException;
import java.nio.ByteBuffer;
import java.nio.channels.ByteChannel;
import java.time.Duration;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Executor;
import java.util.concurrent.Future;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import org.eclipse.jetty.io.AbstractConnection;
import org.eclipse.jetty.io.Connection;
import org.eclipse.jetty.util.BufferUtil;
import org.eclipse.jetty.util.FutureCallback;

/** A connection that is no longer one of HTTP: its client, to whom a thread of its own reads and writes. */
final class TunnelConnection extends AbstractConnection implements Connection.UpgradeTo, ByteChannel {
    private static final Duration LINGER = Duration.ofSeconds(10);
    private static final int WASTE = 64 << 10;

    private final ClientConnection before;
    private final Object reading = new Object(); // The last of them may still wait when it is lingered.
    private final Executor threads;
    private final Response.Tunnel tunnel;
    private final long patience;
    private ByteBuffer first = BufferUtil.EMPTY_BUFFER;

    TunnelConnection(ClientConnection before, Executor executor, Executor threads, Response.Tunnel tunnel) {
        super(before.getEndPoint(), executor);
        this.before = before;
        this.threads = threads;
        this.tunnel = tunnel;
        this.patience = before.getEndPoint().getIdleTimeout();
    }

    /** What came behind the request. */
    @Override
    public void onUpgradeTo(ByteBuffer buffer) {
        first = BufferUtil.copy(buffer);
    }

    @Override
    public void onOpen() {
        super.onOpen();
        getEndPoint().setIdleTimeout(0); // Both may be silent for as long as they like.
        try {
            threads.execute(this::carry);
        } catch (RejectedExecutionException e) {
            close(); // The server has stopped.
            tunnel.close();
        }
    }

    private void carry() {
        try (this) {
            try (tunnel) {
                tunnel.carry(this);
            }
            linger();
        } catch (IOException | RuntimeException e) {
            Diagnostics.log().debug("a connection was cut", e);
        }
    }

    /**
     * Lets the client close first: what it has sent that nobody reads would be answered by a reset, which throws away what
     * it was sent last and has not read.
     */
    private void linger() throws IOException {
        getEndPoint().shutdownOutput();
        getEndPoint().setIdleTimeout(LINGER.toMillis());
        ByteBuffer waste = ByteBuffer.allocate(WASTE);
        long start = System.nanoTime();
        while (read(waste.clear()) >= 0 && System.nanoTime() - start < LINGER.toNanos()) {
            // It goes on.
        }
    }

    /** Nobody asks for it: who reads is told by a callback of its own. */
    @Override
    public void onFillable() {}

    @Override
    public int read(ByteBuffer into) throws IOException {
        synchronized (reading) {
            return readNext(into);
        }
    }

    private int readNext(ByteBuffer into) throws IOException {
        if (BufferUtil.hasContent(first)) {
            int count = Math.min(first.remaining(), into.remaining());
            into.put(first.slice(first.position(), count));
            first.position(first.position() + count);
            return count;
        }
        ByteBuffer filled = into.slice(into.position(), into.remaining());
        while (true) {
            BufferUtil.clear(filled);
            int count = getEndPoint().fill(filled);
            if (count != 0) {
                into.position(into.position() + Math.max(0, count));
                return count;
            }
            FutureCallback news = new FutureCallback();
            // Of the connection before: its own reader may still be there, and hands over.
            before.fillInterested(news);
            await(news, 0);
        }
    }

    @Override
    public int write(ByteBuffer bytes) throws IOException {
        int count = bytes.remaining();
        FutureCallback sent = new FutureCallback();
        getEndPoint().write(sent, bytes);
        await(sent, patience);
        return count;
    }

    /** @param millis how long at most; 0 for as long as it takes */
    private void await(Future<Void> done, long millis) throws IOException {
        try {
            if (millis > 0) {
                done.get(millis, TimeUnit.MILLISECONDS);
            } else {
                done.get();
            }
        } catch (ExecutionException e) {
            throw new IOException(e.getCause());
        } catch (TimeoutException e) {
            close();
            throw new IOException("the client does not read", e);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new InterruptedIOException("interrupted");
        }
    }

    @Override
    public boolean isOpen() {
        return getEndPoint().isOpen();
    }
}
