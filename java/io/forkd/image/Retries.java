package io.forkd.image;

import java.util.Optional;

/** How often a registry is asked again, and how long it is left alone before. */
final class Retries {
    private static final int ATTEMPTS = 4;
    private static final long FIRST_PAUSE_MILLIS = 200;

    /** To a registry that has had enough of us and does not say for how long. */
    private static final long FIRST_PAUSE_AT_LIMIT_MILLIS = 1000;

    /** Who is told to wait longer than that is better told so. */
    private static final long MAX_PAUSE_MILLIS = 60_000;

    private final String registry;
    private final Work work;

    Retries(String registry, Work work) {
        this.registry = registry;
        this.work = work;
    }

    /** The pause after an answer, in milliseconds; empty where asking again would not change it. */
    static Optional<Long> pauseAfter(Answer answer, int attempt) {
        if (!answer.mayPass()) {
            return Optional.empty();
        }
        long first = answer.status() == Answer.TOO_MANY_REQUESTS ? FIRST_PAUSE_AT_LIMIT_MILLIS : FIRST_PAUSE_MILLIS;
        return answer.retryAfterMillis().or(() -> Optional.of(first << (attempt - 1)));
    }

    /** The pause after there was no answer. */
    static Optional<Long> pauseAfter(ConnectionFault fault, int attempt) {
        return fault.mayPass() ? Optional.of(FIRST_PAUSE_MILLIS << (attempt - 1)) : Optional.empty();
    }

    /** Waits for the next attempt; says whether there is to be one. */
    boolean await(int attempt, Optional<Long> pause) {
        if (attempt >= ATTEMPTS || pause.isEmpty() || pause.get() > MAX_PAUSE_MILLIS) {
            return false;
        }
        sleep(pause.get());
        return true;
    }

    private void sleep(long millis) {
        if (millis > 2 * FIRST_PAUSE_AT_LIMIT_MILLIS) {
            work.say(registry + " wants to be asked again in " + (millis + 999) / 1000 + " seconds");
        }
        work.pause(millis);
    }
}
