package io.forkd.agent;

import io.forkd.agent.GuestException.Broken;
import io.forkd.agent.GuestStream.Piece;
import java.nio.ByteBuffer;
import java.nio.channels.ReadableByteChannel;

/** A file of a guest that is read. */
public final class GuestFileReader implements ReadableByteChannel {
    private final GuestStream stream;
    private final GuestEntry entry;
    private final long most;
    private ByteBuffer rest = ByteBuffer.allocate(0);
    private long count;
    private boolean ended;
    private volatile boolean open = true;

    GuestFileReader(GuestStream stream, long most) {
        this.stream = stream.allowing(GuestStream.Type.OUT);
        this.entry = GuestEntry.of(stream.answer());
        this.most = most;
    }

    /** As it was when it was opened: while it is read, its size may change. */
    public GuestEntry entry() {
        return entry;
    }

    /**
     * Waits for the next bytes.
     *
     * @return -1 when all has been read, and the guest has confirmed how much that is
     */
    @Override
    public int read(ByteBuffer into) {
        while (!ended && !rest.hasRemaining()) {
            take(stream.next());
        }
        if (ended) {
            return -1;
        }
        int part = Math.min(rest.remaining(), into.remaining());
        into.put(rest.slice(rest.position(), part));
        rest.position(rest.position() + part);
        return part;
    }

    private void take(Piece piece) {
        if (piece instanceof Piece.Bytes part) {
            rest = part.bytes();
            count += rest.remaining();
            if (count > most) {
                throw new Broken(GuestAnswer.told(stream.doing()) + "it sent more than was asked for");
            }
        } else if (piece instanceof Piece.End end) {
            if (end.end().count("bytes") != count) {
                throw end.end().broken("bytes");
            }
            ended = true;
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
