package io.forkd.http;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.ByteChannel;

/** Bytes in both directions, of which nothing is looked at, until one side has ended. */
public final class Splice implements Response.Tunnel {
    private static final int CHUNK = 64 << 10;

    private final ByteChannel server;
    private final ByteBuffer first;

    /**
     * Carries nothing yet.
     *
     * @param server is closed when it is over; to close it ends what waits in it
     * @param first what it has said already
     */
    public Splice(ByteChannel server, ByteBuffer first) {
        this.server = server;
        this.first = first;
    }

    @Override
    public void carry(ByteChannel client) throws IOException {
        Thread feeder = new Thread(() -> copy(client, server), "forkd-splice");
        feeder.setDaemon(true);
        feeder.start();
        write(client, first);
        copy(server, client);
    }

    /** The end of either is that of both. */
    private void copy(ByteChannel from, ByteChannel to) {
        ByteBuffer bytes = ByteBuffer.allocate(CHUNK);
        try {
            while (from.read(bytes.clear()) >= 0) {
                write(to, bytes.flip());
            }
        } catch (IOException e) {
            // It is gone.
        } finally {
            close();
        }
    }

    static void write(ByteChannel to, ByteBuffer bytes) throws IOException {
        while (bytes.hasRemaining()) {
            to.write(bytes);
        }
    }

    @Override
    public void close() {
        try {
            server.close();
        } catch (IOException e) {
            // Nobody reads it any more.
        }
    }
}
