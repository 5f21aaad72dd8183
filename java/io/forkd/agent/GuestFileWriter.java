package io.forkd.agent;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.agent.GuestException.Broken;
import io.forkd.agent.GuestException.Lost;
import io.forkd.agent.GuestStream.Piece;
import java.nio.ByteBuffer;
import java.nio.channels.WritableByteChannel;
import java.util.Optional;

/**
 * A file of a guest that is written: it is there when {@link #finish} has returned. When this is closed before, there is
 * what was before. One thread uses it; any may close it.
 */
public final class GuestFileWriter implements WritableByteChannel {
    private final GuestStream stream;
    private volatile boolean open = true;

    GuestFileWriter(GuestStream stream) {
        this.stream = stream;
    }

    /**
     * Sends everything; waits until there is room for it.
     *
     * @throws GuestException.Refused when the guest cannot write it: {@code ENOSPC}, for example
     */
    @Override
    public int write(ByteBuffer bytes) {
        int count = bytes.remaining();
        if (stream.hasNews()) {
            throw early(Optional.empty());
        }
        try {
            stream.send(bytes);
        } catch (Lost e) {
            throw early(Optional.of(e));
        }
        return count;
    }

    /** The guest ended it before we did: most often it has said why. */
    private ForkdException early(Optional<Lost> lost) {
        try {
            Piece piece = stream.next();
            return new Broken(GuestAnswer.told(stream.doing()) + "it ended before the file did: "
                    + piece.getClass().getSimpleName());
        } catch (ForkdException said) {
            return said instanceof Lost && lost.isPresent() ? lost.get() : said;
        }
    }

    /** Has the file take its place, and returns what is there then. */
    public GuestEntry finish() {
        try {
            stream.sendEnd();
        } catch (Lost e) {
            throw early(Optional.of(e));
        }
        if (stream.next() instanceof Piece.End end) {
            return GuestEntry.of(end.end());
        }
        throw new ForkdException(Kind.FAILED, "no frame but END is taken"); // by GuestStream
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
