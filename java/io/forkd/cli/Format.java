package io.forkd.cli;

import java.time.Duration;
import java.util.Locale;

/** Numbers as people read them. */
final class Format {
    private static final double KIB = 1024;

    private Format() {}

    /** {@code N KiB}, {@code N.N MiB} or {@code N.NN GiB}. */
    static String size(long bytes) {
        if (bytes >= KIB * KIB * KIB) {
            return String.format(Locale.ROOT, "%.2f GiB", bytes / (KIB * KIB * KIB));
        }
        if (bytes >= KIB * KIB) {
            return String.format(Locale.ROOT, "%.1f MiB", bytes / (KIB * KIB));
        }
        return String.format(Locale.ROOT, "%.0f KiB", bytes / KIB);
    }

    /** How long ago something was, in its largest unit. */
    static String age(Duration age) {
        long seconds = Math.max(0, age.toSeconds());
        if (seconds < 60) {
            return seconds + "s ago";
        }
        if (seconds < 3600) {
            return seconds / 60 + "m ago";
        }
        if (seconds < 86_400) {
            return seconds / 3600 + "h ago";
        }
        return seconds < 30 * 86_400 ? seconds / 86_400 + "d ago" : seconds / (30 * 86_400) + "mo ago";
    }

    /** Milliseconds with a decimal. */
    static String millis(Duration duration) {
        return String.format(Locale.ROOT, "%.1f", inMillis(duration));
    }

    /** Milliseconds, for JSON. */
    static double inMillis(Duration duration) {
        return Math.round(duration.toNanos() / 1e3) / 1e3;
    }
}
