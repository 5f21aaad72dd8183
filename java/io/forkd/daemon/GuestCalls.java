package io.forkd.daemon;

import io.forkd.http.HttpFailure;
import java.util.HashMap;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.function.Supplier;

/**
 * Calls that wait for guests. One that does not answer holds the thread of each call to it: so a quarter of the threads is
 * for calls that ask no guest, and of the others a guest has a new one while it has less than half of those that are free.
 * A user who has many guests has half of them at most, and all users have three quarters. Whatever some do, the next one
 * finds some.
 */
public final class GuestCalls {
    private final int most;

    /** How many each guest has; guarded by this, as is their sum. */
    private final Map<String, Integer> byGuest = new HashMap<>();

    /** How many each user has; as that. */
    private final Map<String, Integer> byUser = new HashMap<>();

    private int all;

    /** @param threads that there are for calls of all kinds */
    GuestCalls(int threads) {
        most = threads - threads / 4;
    }

    /** One of them, until it is closed; any thread may do that, more than once. */
    public interface Place extends AutoCloseable {
        @Override
        void close();
    }

    /** @throws HttpFailure 503 when it would be one too many for that sandbox, or for who asks */
    <T> T ask(Optional<String> user, String sandbox, Supplier<T> question) {
        try (Place place = take(user, sandbox)) {
            return question.get();
        }
    }

    /** As {@link #ask}, for what does not end here. */
    Place take(Optional<String> user, String sandbox) {
        enter(user, sandbox);
        AtomicBoolean left = new AtomicBoolean();
        return () -> {
            if (left.compareAndSet(false, true)) {
                leave(user, sandbox);
            }
        };
    }

    private synchronized void enter(Optional<String> user, String sandbox) {
        user.ifPresent(this::requireFewer);
        int has = byGuest.getOrDefault(sandbox, 0);
        if (2 * has >= most - all) {
            throw new HttpFailure(
                    503,
                    has == 0
                            ? "guests are asked by too many calls; try again"
                            : "sandbox " + sandbox + " is asked by " + has + " calls, and no more may be; try again");
        }
        byGuest.put(sandbox, has + 1);
        user.ifPresent(name -> byUser.merge(name, 1, Integer::sum));
        all++;
    }

    private void requireFewer(String user) {
        int has = byUser.getOrDefault(user, 0);
        int users = byUser.values().stream().mapToInt(Integer::intValue).sum();
        if (has >= Math.max(1, most / 2)) {
            throw new HttpFailure(503, user + " asks guests by " + has + " calls, and no more may be; try again");
        }
        if (users >= Math.max(1, most / 4 * 3)) {
            throw new HttpFailure(503, "guests are asked by too many calls of users; try again");
        }
    }

    private synchronized void leave(Optional<String> user, String sandbox) {
        byGuest.computeIfPresent(sandbox, (id, has) -> has == 1 ? null : has - 1);
        user.ifPresent(name -> byUser.computeIfPresent(name, (same, has) -> has == 1 ? null : has - 1));
        all--;
    }
}
