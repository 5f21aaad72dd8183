package io.forkd.agent;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.ByteChannel;
import java.util.Optional;

/** A connection to the streams of a guest, of which nothing is looked at. One thread may read while another writes. */
public final class GuestWire implements ByteChannel {
    private final AgentConnection connection;
    private volatile boolean open = true;

    GuestWire(AgentConnection connection) {
        this.connection = connection;
        connection.allow(Optional.empty());
    }

    @Override
    public int read(ByteBuffer into) throws IOException {
        ByteBuffer input = connection.input();
        if (!input.hasRemaining() && !connection.fill()) {
            return -1;
        }
        int count = Math.min(input.remaining(), into.remaining());
        into.put(input.slice(input.position(), count));
        input.position(input.position() + count);
        return count;
    }

    @Override
    public int write(ByteBuffer bytes) throws IOException {
        int count = bytes.remaining();
        connection.write(bytes);
        return count;
    }

    @Override
    public boolean isOpen() {
        return open;
    }

    @Override
    public void close() {
        open = false;
        connection.close();
    }
}
