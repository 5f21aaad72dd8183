package io.forkd.cli;

import io.forkd.sandbox.Lifetime;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import picocli.CommandLine.ITypeConverter;
import picocli.CommandLine.Option;
import picocli.CommandLine.TypeConversionException;

/** How long a sandbox goes on by itself. */
final class LifetimeOptions {
    @Option(
            names = "--ttl",
            paramLabel = "TIME",
            converter = TimeConverter.class,
            description = "Its time to live from now, and from each time that it is resumed: 90, 90s, 5m, 2h or 1d."
                    + " Default: no end.")
    Optional<Duration> ttl = Optional.empty();

    @Option(
            names = "--idle",
            paramLabel = "TIME",
            converter = TimeConverter.class,
            description = "It is over, too, when nobody has used it for so long.")
    Optional<Duration> idle = Optional.empty();

    @Option(
            names = "--on-timeout",
            paramLabel = "kill|pause",
            defaultValue = "kill",
            description = "What happens then. Default: ${DEFAULT-VALUE}.")
    OnTimeout onTimeout = OnTimeout.KILL;

    @Option(names = "--wake", description = "Whoever uses it when it is paused resumes it.")
    boolean wake;

    @Option(
            names = "--freeze",
            paramLabel = "TIME",
            converter = TimeConverter.class,
            description = "When its guest has been idle for so long its processors stop, until something reaches it:"
                    + " programs that wait for a time to come wait for longer.")
    Optional<Duration> freeze = Optional.empty();

    enum OnTimeout {
        KILL,
        PAUSE
    }

    Lifetime lifetime() {
        return Lifetime.of(ttl, idle, onTimeout == OnTimeout.PAUSE, wake).freezing(freeze);
    }

    static final class TimeConverter implements ITypeConverter<Duration> {
        private static final List<String> UNITS = List.of("s", "m", "h", "d");
        private static final List<Integer> SECONDS = List.of(1, 60, 3600, 86_400);

        @Override
        public Duration convert(String text) {
            int unit = text.isEmpty() ? -1 : UNITS.indexOf(text.substring(text.length() - 1));
            try {
                long count = Long.parseLong(unit < 0 ? text : text.substring(0, text.length() - 1));
                long seconds = Math.multiplyExact(count, unit < 0 ? 1L : SECONDS.get(unit));
                if (seconds >= 1 && seconds <= Lifetime.MOST) {
                    return Duration.ofSeconds(seconds);
                }
            } catch (ArithmeticException | NumberFormatException e) {
                // said below
            }
            throw new TypeConversionException(
                    "'" + text + "' is no time from 1 second to 10 years: 90, 90s, 5m, 2h or 1d");
        }
    }
}
