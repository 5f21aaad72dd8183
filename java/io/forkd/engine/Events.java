package io.forkd.engine;

import java.security.SecureRandom;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.HexFormat;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.function.Consumer;

/**
 * What has happened, for whoever wants to hear of it. The last of it is kept, so that who comes back hears what he has
 * missed, or that there is something that nobody can tell him any more. Of another run of the service nothing is known.
 */
public final class Events implements AutoCloseable {
    private static final int KEPT = 4096;

    /** What may happen. */
    public enum Kind {
        CREATED,
        ENDED,
        PAUSED,
        RESUMED,
        RESET,
        TAKEN,
        GIVEN_BACK,
        BRANCHED,
        SNAPSHOT_MADE,
        SNAPSHOT_REMOVED,
        /** What is not known any more. */
        LOST;

        /** As it is written. */
        public String word() {
            return name().toLowerCase(Locale.ROOT);
        }
    }

    /**
     * One of them.
     *
     * @param of the id of a sandbox, or the tag of a snapshot
     * @param owner the user whose it is; empty: nobody's, or nobody can tell any more
     * @param detail of what a sandbox was made, as what it was branched, of which pool it was taken, or why it ended or was
     *     paused; may be empty
     */
    public record Event(long number, Instant time, Kind kind, String of, Optional<String> owner, String detail) {}

    private final String run;
    private final Deque<Event> last = new ArrayDeque<>();
    private final List<Consumer<Event>> listeners = new CopyOnWriteArrayList<>();
    private long next = 1;
    private boolean closed;

    Events() {
        byte[] random = new byte[6];
        new SecureRandom().nextBytes(random);
        run = HexFormat.of().formatHex(random);
    }

    /** Has somebody hear of each, at once, on the thread that tells it: he must not take long. */
    public void listen(Consumer<Event> listener) {
        listeners.add(listener);
    }

    void happened(Kind kind, String of, Optional<String> owner, String detail) {
        Event event = note(kind, of, owner, detail);
        listeners.forEach(listener -> listener.accept(event));
    }

    private synchronized Event note(Kind kind, String of, Optional<String> owner, String detail) {
        if (last.size() == KEPT) {
            last.removeFirst();
        }
        Event event = new Event(next++, Instant.now(), kind, of, owner, detail);
        last.addLast(event);
        notifyAll();
        return event;
    }

    /** Where one who has heard that would go on. */
    public String cursor(Event event) {
        return run + "-" + event.number();
    }

    /** One who hears of what happens from now on, or has happened since a cursor that he was given. */
    public Reader reader(Optional<String> cursor) {
        synchronized (this) {
            if (cursor.isEmpty()) {
                return new Reader(next - 1, false);
            }
            long heard = number(cursor.get());
            return heard < 0 || heard >= next ? new Reader(0, true) : new Reader(heard, false);
        }
    }

    /** Negative for one of another run, and for what is none. */
    private long number(String cursor) {
        if (!cursor.startsWith(run + "-")) {
            return -1;
        }
        try {
            return Long.parseLong(cursor.substring(run.length() + 1));
        } catch (NumberFormatException e) {
            return -1;
        }
    }

    /** For one thread. */
    public final class Reader {
        private long heard;
        private boolean lost;
        private boolean stopped; // guarded by the events

        private Reader(long heard, boolean lost) {
            this.heard = heard;
            this.lost = lost;
        }

        /** The next one; empty when there is none in that time, or no more will come. */
        public Optional<Event> next(Duration time) throws InterruptedException {
            synchronized (Events.this) {
                long end = System.nanoTime() + time.toNanos();
                while (heard >= next - 1 && !lost && !closed && !stopped) {
                    long left = end - System.nanoTime();
                    if (left <= 0) {
                        return Optional.empty();
                    }
                    Events.this.wait(left / 1_000_000 + 1);
                }
                long oldest = next - last.size();
                if (lost || heard < oldest - 1) {
                    lost = false;
                    heard = oldest - 1;
                    return Optional.of(new Event(heard, Instant.now(), Kind.LOST, "", Optional.empty(), ""));
                }
                if (heard >= next - 1) {
                    return Optional.empty();
                }
                heard++;
                return last.stream().skip(heard - oldest).findFirst();
            }
        }

        /** Whether no more will come. */
        public boolean isOver() {
            synchronized (Events.this) {
                return stopped || (closed && heard >= next - 1);
            }
        }

        /** Nobody waits for more; from any thread. */
        public void stop() {
            synchronized (Events.this) {
                stopped = true;
                Events.this.notifyAll();
            }
        }
    }

    /** Nobody waits for more. */
    @Override
    public synchronized void close() {
        closed = true;
        notifyAll();
    }
}
