package io.forkd.daemon;

import io.forkd.http.HttpFailure;
import java.util.HashMap;
import java.util.Map;
import java.util.function.Supplier;

/**
 * Calls that wait for guests. One that does not answer holds the thread of each call to it: so a quarter of the threads is
 * for calls that ask no guest, and of the others a guest has a new one while it has less than half of those that are free.
 * Whatever some do, the next one finds some.
 */
final class GuestCalls {
    private final int most;

    /** How many each guest has; guarded by this, as is their sum. */
    private final Map<String, Integer> byGuest = new HashMap<>();

    private int all;

    /** @param threads that there are for calls of all kinds */
    GuestCalls(int threads) {
        most = threads - threads / 4;
    }

    /** @throws HttpFailure 503 when it would be one too many for that sandbox */
    <T> T ask(String sandbox, Supplier<T> question) {
        enter(sandbox);
        try {
            return question.get();
        } finally {
            leave(sandbox);
        }
    }

    private synchronized void enter(String sandbox) {
        int has = byGuest.getOrDefault(sandbox, 0);
        if (2 * has >= most - all) {
            throw new HttpFailure(
                    503,
                    has == 0
                            ? "guests are asked by too many calls; try again"
                            : "sandbox " + sandbox + " is asked by " + has + " calls, and no more may be; try again");
        }
        byGuest.put(sandbox, has + 1);
        all++;
    }

    private synchronized void leave(String sandbox) {
        byGuest.computeIfPresent(sandbox, (id, has) -> has == 1 ? null : has - 1);
        all--;
    }
}
