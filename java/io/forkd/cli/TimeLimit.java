package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.agent.CommandFailed;
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

    /** With what helps when the limit was the reason. */
    static ForkdException explained(ForkdException e, int exitStatus) {
        return exitStatus == CommandFailed.TIMED_OUT ? new ForkdException(e.kind(), e.sentence(), REMEDY) : e;
    }
}
