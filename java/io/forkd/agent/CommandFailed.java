package io.forkd.agent;

import io.forkd.ForkdException;
import java.time.Duration;
import java.util.Optional;

/** A command did not run, or not to its end. */
public final class CommandFailed extends ForkdException {
    private static final long serialVersionUID = 1;

    /** It took longer than it may; {@code timeout(1)} has the same. */
    public static final int TIMED_OUT = 124;

    private final int exitStatus;

    public CommandFailed(String sentence, int exitStatus) {
        super(Kind.FAILED, sentence);
        this.exitStatus = exitStatus;
    }

    /** Of one that took longer than that. */
    public static CommandFailed late(Optional<Duration> timeout) {
        return new CommandFailed(
                "the command took longer than " + timeout.orElse(Duration.ZERO).toSeconds() + " s, and was ended",
                TIMED_OUT);
    }

    /** What a shell would say: 127 when there is no such command, 126 when it cannot run, {@link #TIMED_OUT}, else 1. */
    public int exitStatus() {
        return exitStatus;
    }
}
