package io.forkd.http;

import java.util.HashMap;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.atomic.AtomicBoolean;

/**
 * What clients have sent that is in memory for as long as it is not taken, by programs for example. A user has half of the
 * room at most, and all users have three quarters.
 */
public final class HeldInput {
    private final long most;
    private final String why;

    /** How many bytes each has; guarded by this, as is their sum. Who is no user is the empty one. */
    private final Map<Optional<String>, Long> byUser = new HashMap<>();

    private long all;

    /** @param why there is no room at times */
    public HeldInput(long most, String why) {
        this.most = most;
        this.why = why;
    }

    /** Some of the room, until it is closed; any thread may do that, more than once. */
    public interface Place extends AutoCloseable {
        @Override
        void close();
    }

    /**
     * Takes some of the room.
     *
     * @throws HttpFailure 503 when there is none for it
     */
    public Place hold(Optional<String> user, long bytes) {
        take(user, bytes);
        AtomicBoolean left = new AtomicBoolean();
        return () -> {
            if (left.compareAndSet(false, true)) {
                leave(user, bytes);
            }
        };
    }

    private synchronized void take(Optional<String> user, long bytes) {
        long users = all - byUser.getOrDefault(Optional.<String>empty(), 0L);
        boolean fits = all + bytes <= most
                && (user.isEmpty()
                        || (byUser.getOrDefault(user, 0L) + bytes <= most / 2 && users + bytes <= most / 4 * 3));
        if (bytes > 0 && !fits) {
            throw new HttpFailure(503, why + "; try again");
        }
        byUser.merge(user, bytes, Long::sum);
        all += bytes;
    }

    private synchronized void leave(Optional<String> user, long bytes) {
        byUser.computeIfPresent(user, (same, has) -> has == bytes ? null : has - bytes);
        all -= bytes;
    }
}
