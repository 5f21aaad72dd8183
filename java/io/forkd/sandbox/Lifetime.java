package io.forkd.sandbox;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import java.time.Duration;
import java.time.Instant;
import java.util.Optional;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ObjectNode;

/**
 * How long a sandbox goes on by itself. Time is the host's, which goes on while nobody looks.
 *
 * @param ttl after which it is over, whatever it does
 * @param idle for how long nobody has to have used it until it is over
 * @param pause whether it is paused then, as against ended
 * @param wake whether one that is paused is resumed when somebody uses it
 * @param freeze for how long its guest has to be idle until its processors stop, until something reaches it
 * @param since when the time to live began: when it was made or resumed, or this was said
 */
public record Lifetime(
        Optional<Duration> ttl,
        Optional<Duration> idle,
        boolean pause,
        boolean wake,
        Optional<Duration> freeze,
        Instant since) {
    /** Until somebody ends it. */
    public static final Lifetime ENDLESS =
            new Lifetime(Optional.empty(), Optional.empty(), false, false, Optional.empty(), Instant.EPOCH);

    /** In seconds: ten years. */
    public static final long MOST = 315_360_000;

    /** Of {@link #freeze}, in seconds: a day. */
    public static final long FREEZE_MOST = 86_400;

    public static final String TTL = "ttl_secs";
    public static final String IDLE = "idle_secs";
    public static final String ON_TIMEOUT = "on_timeout";
    public static final String WAKE = "wake";
    public static final String FREEZE = "freeze_secs";
    public static final String KILL = "kill";
    public static final String PAUSE = "pause";

    private static final String SINCE = "since";

    /** One that has not begun. */
    public static Lifetime of(Optional<Duration> ttl, Optional<Duration> idle, boolean pause, boolean wake) {
        if (pause && ttl.isEmpty() && idle.isEmpty()) {
            throw new ForkdException(
                    Kind.USAGE, "a sandbox is paused after its time to live or its idle time, and has neither");
        }
        return new Lifetime(ttl, idle, pause, wake, Optional.empty(), Instant.EPOCH);
    }

    public Lifetime freezing(Optional<Duration> after) {
        if (after.filter(time -> time.toSeconds() > FREEZE_MOST).isPresent()) {
            throw new ForkdException(Kind.USAGE, "a sandbox is frozen after a day at most");
        }
        return new Lifetime(ttl, idle, pause, wake, after, since);
    }

    public Lifetime begun(Instant now) {
        return equals(ENDLESS) ? this : new Lifetime(ttl, idle, pause, wake, freeze, now);
    }

    /** Whether it is over at some time. */
    public boolean isTimed() {
        return ttl.isPresent() || idle.isPresent();
    }

    /** When it is over whatever it does. */
    public Optional<Instant> end() {
        return ttl.map(since::plus);
    }

    /** When it is over if nobody uses it any more. */
    public Optional<Instant> end(Instant lastUse) {
        Optional<Instant> unused = idle.map(lastUse::plus);
        Optional<Instant> end = end();
        return end.isEmpty() || (unused.isPresent() && unused.get().isBefore(end.get())) ? unused : end;
    }

    static Lifetime read(JsonNode node) {
        return node.isMissingNode()
                ? ENDLESS
                : new Lifetime(
                        seconds(node.path(TTL)),
                        seconds(node.path(IDLE)),
                        node.path(ON_TIMEOUT).asString("").equals(PAUSE),
                        node.path(WAKE).asBoolean(false),
                        seconds(node.path(FREEZE)),
                        Instant.parse(node.path(SINCE).asString("")));
    }

    /** As the fields of REST v1 have it, of what is not forkd's: without when it began, and what makes no sense left out. */
    public static Lifetime told(JsonNode node) {
        return new Lifetime(
                seconds(node.path(TTL)),
                seconds(node.path(IDLE)),
                node.path(ON_TIMEOUT).asString("").equals(PAUSE),
                node.path(WAKE).asBoolean(false),
                seconds(node.path(FREEZE)),
                Instant.EPOCH);
    }

    private static Optional<Duration> seconds(JsonNode value) {
        return value.canConvertToLong() ? Optional.of(Duration.ofSeconds(value.longValue())) : Optional.empty();
    }

    /** The fields of REST v1; what is not said is not there. */
    public ObjectNode put(ObjectNode node) {
        ttl.ifPresent(time -> node.put(TTL, time.toSeconds()));
        idle.ifPresent(time -> node.put(IDLE, time.toSeconds()));
        if (isTimed()) {
            node.put(ON_TIMEOUT, pause ? PAUSE : KILL);
        }
        if (wake) {
            node.put(WAKE, true);
        }
        freeze.ifPresent(time -> node.put(FREEZE, time.toSeconds()));
        return node;
    }

    ObjectNode write(ObjectNode node) {
        return put(node).put(SINCE, since.toString());
    }
}
