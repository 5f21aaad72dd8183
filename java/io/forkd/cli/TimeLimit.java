package io.forkd.cli;

import java.time.Duration;
import java.util.Optional;

/** {@code --timeout-secs}. */
final class TimeLimit {
    static final String REMEDY = "--timeout-secs allows it more; 0: no limit.";

    private TimeLimit() {}

    /** Empty for 0: no limit. */
    static Optional<Duration> of(long seconds) {
        MachineOptions.requireRange("--timeout-secs", seconds, 0, 86_400 * 365);
        return seconds == 0 ? Optional.empty() : Optional.of(Duration.ofSeconds(seconds));
    }
}
