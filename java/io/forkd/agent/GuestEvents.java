package io.forkd.agent;

import io.forkd.agent.GuestStream.Piece;
import java.time.Duration;
import java.util.Optional;
import java.util.function.Function;

/** What a guest tells piece by piece: the entries of a list, or changes. Any thread may close it. */
public final class GuestEvents<T> implements AutoCloseable {
    private final GuestStream stream;
    private final Function<GuestAnswer, T> reader;

    GuestEvents(GuestStream stream, Function<GuestAnswer, T> reader) {
        this.stream = stream.allowing(GuestStream.Type.EVENT);
        this.reader = reader;
    }

    /** Waits for the next; empty when there are no more. */
    public Optional<T> next() {
        return stream.next() instanceof Piece.Event event ? Optional.of(reader.apply(event.event())) : Optional.empty();
    }

    /** Waits so long until there is something for {@link #next} to tell; false when there is nothing yet. */
    public boolean awaitNews(Duration time) {
        return stream.awaitNews(time);
    }

    @Override
    public void close() {
        stream.close();
    }
}
