package io.forkd.http;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import jdk.net.ExtendedSocketOptions;
import org.eclipse.jetty.io.Connection;
import org.eclipse.jetty.io.EndPoint;
import org.eclipse.jetty.io.SelectableChannelEndPoint;
import org.eclipse.jetty.server.Connector;
import org.eclipse.jetty.server.HttpConfiguration;
import org.eclipse.jetty.server.HttpConnectionFactory;
import org.eclipse.jetty.server.internal.HttpConnection;
import org.eclipse.jetty.util.BufferUtil;
import org.eclipse.jetty.util.Callback;
import org.jspecify.annotations.Nullable;

/**
 * A connection that knows when its client goes away during a call, and how long the head of a request takes.
 *
 * <p>Jetty reads nothing while a request is handled, so it does not see the end of the stream either. Here somebody is
 * {@linkplain #watch told}: the one reader that the end point may have waiting is ours, until the call is over; and when
 * Jetty wants to wait for the next request then, its reader takes over from ours. Of what the client sends ahead, as much
 * is read as fits into Jetty's buffer, which is where it would be read to anyhow.
 */
final class ClientConnection extends HttpConnection {
    static final class Factory extends HttpConnectionFactory {
        Factory(HttpConfiguration configuration) {
            super(configuration);
        }

        @Override
        public Connection newConnection(Connector connector, EndPoint endPoint) {
            return configure(new ClientConnection(getHttpConfiguration(), connector, endPoint), connector, endPoint);
        }
    }

    private final Object lock = new Object();
    private final long opened = System.nanoTime();
    private @Nullable String user;

    // Guarded by the lock.
    private boolean waiting; // our reader is at the end point
    private @Nullable Callback jetty; // what it is to do instead of watching
    private @Nullable Runnable gone; // not null during a call

    private volatile boolean asked; // a request has come
    private volatile long headSince; // 0 while none is under way

    private ClientConnection(HttpConfiguration configuration, Connector connector, EndPoint endPoint) {
        super(configuration, connector, endPoint);
    }

    /**
     * Has {@code onGone} run once when the client goes away. The whole request must have been read. A client that has sent
     * its next request already is not watched: its end would be behind that.
     */
    void watch(Runnable onGone) {
        synchronized (lock) {
            gone = onGone;
            if (isRequestBufferEmpty()) {
                listen();
            }
        }
    }

    /** Before the call's callback is completed, as Jetty reads again then. */
    void unwatch() {
        synchronized (lock) {
            gone = null;
        }
    }

    private void listen() {
        if (!waiting) {
            waiting = true; // Before it, as the reader may be called in it.
            if (!getEndPoint().tryFillInterested(reader)) {
                waiting = false;
            }
        }
    }

    private final Callback reader = new Callback() {
        @Override
        public void succeeded() {
            Callback next;
            Runnable leave = null;
            synchronized (lock) {
                waiting = false;
                next = jetty;
                jetty = null;
                if (gone != null && readAhead() < 0) {
                    leave = gone;
                    gone = null;
                }
            }
            if (next != null) {
                next.succeeded();
            }
            if (leave != null) {
                getExecutor().execute(leave);
            }
        }

        @Override
        public void failed(Throwable failure) {
            Callback next;
            Runnable leave;
            synchronized (lock) {
                waiting = false;
                next = jetty;
                jetty = null;
                leave = gone;
                gone = null;
            }
            if (next != null) {
                next.failed(failure);
            }
            if (leave != null) {
                getExecutor().execute(leave);
            }
        }

        @Override
        public InvocationType getInvocationType() {
            return InvocationType.NON_BLOCKING;
        }
    };

    /** How many bytes; -1 when there are no more to come. */
    private int readAhead() {
        ByteBuffer buffer = BufferUtil.allocate(getInputBufferSize());
        try {
            int read = getEndPoint().fill(buffer);
            if (read > 0) {
                onUpgradeTo(buffer);
            } else if (read == 0) {
                listen();
            }
            return read;
        } catch (IOException e) {
            return -1;
        }
    }

    @Override
    public void fillInterested(Callback callback) {
        synchronized (lock) {
            if (waiting) {
                jetty = callback;
                return;
            }
        }
        super.fillInterested(callback);
    }

    @Override
    public void tryFillInterested(Callback callback) {
        synchronized (lock) {
            if (waiting) {
                jetty = callback;
                return;
            }
        }
        super.tryFillInterested(callback);
    }

    /** Jetty asks so as to abort a request whose body it still waits for. */
    @Override
    public boolean isFillInterested() {
        synchronized (lock) {
            return waiting ? jetty != null : super.isFillInterested();
        }
    }

    @Override
    protected RequestHandler newRequestHandler() {
        return new RequestHandler() {
            @Override
            public void messageBegin() {
                // Jetty says so whenever it looks for a request, also when none has come, which is no head that is
                // slow.
                if (headSince == 0 && !isRequestBufferEmpty()) {
                    asked = true;
                    headSince = System.nanoTime();
                }
                super.messageBegin();
            }

            @Override
            public boolean headerComplete() {
                headSince = 0;
                return super.headerComplete();
            }
        };
    }

    /**
     * Closes the connection when the client takes too long to say what it wants. A client that sends a byte now and then
     * is never idle.
     */
    void closeIfSlow(long now, Limits limits) {
        long since = headSince;
        if (since != 0 && now - since > limits.headTime().toNanos()) {
            headSince = 0;
            byte[] body = Response.error(408, "the head of the request did not come in time")
                    .bytes();
            String head = "HTTP/1.1 408 Request Timeout\r\nContent-Type: application/json\r\nContent-Length: "
                    + body.length + "\r\nConnection: close\r\n\r\n";
            getEndPoint()
                    .write(
                            Callback.from(getEndPoint()::close),
                            ByteBuffer.wrap(head.getBytes(StandardCharsets.US_ASCII)),
                            ByteBuffer.wrap(body));
        } else if (!asked && now - opened > limits.idleTime().toNanos()) {
            getEndPoint().close();
        }
    }

    /** The user at the other end of a Unix socket; empty for TCP. */
    synchronized String user() {
        if (user == null) {
            user = "";
            if (getEndPoint() instanceof SelectableChannelEndPoint endPoint
                    && endPoint.getChannel() instanceof SocketChannel channel
                    && channel.supportedOptions().contains(ExtendedSocketOptions.SO_PEERCRED)) {
                try {
                    user = channel.getOption(ExtendedSocketOptions.SO_PEERCRED)
                            .user()
                            .getName();
                } catch (IOException e) {
                    user = "unknown";
                }
            }
        }
        return user;
    }
}
