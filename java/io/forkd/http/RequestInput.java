package io.forkd.http;

import java.io.IOException;
import java.io.InputStream;
import java.io.InterruptedIOException;
import java.util.concurrent.CountDownLatch;
import org.eclipse.jetty.io.Content;
import org.eclipse.jetty.server.Request;
import org.eclipse.jetty.util.thread.Invocable;
import org.jspecify.annotations.Nullable;

/** The body of a request as it comes. One thread reads it; any may close it, which ends what that one waits for. */
final class RequestInput extends InputStream {
    private final Request request;
    private final Runnable atEnd;

    // Guarded by this.
    private Content.@Nullable Chunk chunk;
    private boolean ended;
    private boolean closed;
    private CountDownLatch news = new CountDownLatch(0);

    /** @param atEnd run once, when all of it has been read */
    RequestInput(Request request, Runnable atEnd) {
        this.request = request;
        this.atEnd = atEnd;
    }

    @Override
    public int read() throws IOException {
        byte[] one = new byte[1];
        return read(one, 0, 1) < 0 ? -1 : one[0] & 0xff;
    }

    @Override
    public int read(byte[] into, int offset, int length) throws IOException {
        if (length == 0) {
            return 0; // readNBytes asks for that when it has all, and is not to wait for more.
        }
        while (true) {
            CountDownLatch awaited;
            synchronized (this) {
                Content.Chunk present = chunk;
                if (present != null && present.hasRemaining()) {
                    return present.get(into, offset, length);
                }
                advance();
                if (ended) {
                    return -1;
                }
                if (chunk != null) {
                    continue;
                }
                awaited = new CountDownLatch(1);
                news = awaited;
                request.demand(Invocable.from(Invocable.InvocationType.NON_BLOCKING, awaited::countDown));
            }
            try {
                awaited.await();
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
                throw new InterruptedIOException("interrupted");
            }
        }
    }

    /** Takes the next piece, if it is there. */
    private synchronized void advance() throws IOException {
        if (closed) {
            throw new IOException("the call is over");
        }
        Content.Chunk present = chunk;
        if (ended || (present != null && present.hasRemaining())) {
            return;
        }
        if (present != null) {
            chunk = null;
            present.release();
            if (present.isLast()) {
                end();
                return;
            }
        }
        Content.Chunk next = request.read();
        if (next != null && Content.Chunk.isFailure(next)) {
            throw new IOException("the body is cut off or wrongly encoded", next.getFailure());
        }
        chunk = next;
        if (next != null && next.isLast() && !next.hasRemaining()) {
            chunk = null;
            next.release();
            end();
        }
    }

    private void end() {
        ended = true;
        atEnd.run();
    }

    synchronized boolean isEnded() {
        return ended;
    }

    @Override
    public synchronized void close() {
        closed = true;
        Content.Chunk present = chunk;
        chunk = null;
        if (present != null) {
            present.release();
        }
        news.countDown();
    }
}
