package io.forkd.http;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.ByteChannel;

/** A channel whose other side has to take what is written. One thread writes. */
final class PatientChannel implements ByteChannel {
    private final ByteChannel channel;
    private final Patience patience;

    PatientChannel(ByteChannel channel, Patience patience) {
        this.channel = channel;
        this.patience = patience;
    }

    @Override
    public int read(ByteBuffer into) throws IOException {
        return channel.read(into);
    }

    @Override
    public int write(ByteBuffer bytes) throws IOException {
        patience.begin();
        try {
            return channel.write(bytes);
        } finally {
            patience.pause();
        }
    }

    /** Whether it was closed since nothing was taken for too long. */
    boolean isLate() {
        return patience.isOver();
    }

    @Override
    public boolean isOpen() {
        return channel.isOpen();
    }

    @Override
    public void close() throws IOException {
        patience.close();
        channel.close();
    }
}
