package io.forkd.agent;

import io.forkd.agent.GuestStream.Piece;
import java.nio.ByteBuffer;
import java.nio.channels.ByteChannel;

/**
 * A connection to a server in a guest. One thread may read while another writes, and any may close it, which closes the
 * connection in the guest. Who does not read holds the server back.
 */
public final class GuestPort implements ByteChannel {
    private final GuestStream stream;
    private ByteBuffer rest = ByteBuffer.allocate(0);
    private boolean ended;
    private volatile boolean open = true;

    GuestPort(GuestStream stream) {
        this.stream = stream;
    }

    /**
     * Waits for bytes of the server.
     *
     * @return -1 when it sends no more; it may still read
     * @throws GuestException.Refused when the connection was reset
     */
    @Override
    public int read(ByteBuffer into) {
        if (ended) {
            return -1;
        }
        if (!rest.hasRemaining()) {
            Piece piece = stream.next();
            if (!(piece instanceof Piece.Bytes part) || !part.bytes().hasRemaining()) {
                ended = true;
                return -1;
            }
            rest = part.bytes();
        }
        int count = Math.min(rest.remaining(), into.remaining());
        into.put(rest.slice(rest.position(), count));
        rest.position(rest.position() + count);
        return count;
    }

    /** Sends everything; waits until there is room for it. */
    @Override
    public int write(ByteBuffer bytes) {
        int count = bytes.remaining();
        stream.send(bytes);
        return count;
    }

    /** Sends no more, as a connection is shut down in one direction. */
    public void endOutput() {
        stream.sendEnd();
    }

    /**
     * After {@link #read} has returned -1: waits until the connection is closed in both directions.
     *
     * @throws GuestException.Refused when it was reset
     */
    public void awaitEnd() {
        while (!(stream.next() instanceof Piece.End)) {
            // OUT is over, or this would have thrown.
        }
    }

    @Override
    public boolean isOpen() {
        return open;
    }

    @Override
    public void close() {
        open = false;
        stream.close();
    }
}
