package io.forkd.daemon.e2b;

import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.stream.Stream;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/**
 * What a build has told. Guests write most of it, without end: when there is so much that it is full, what comes is left
 * out, and only how the build ends is added. Any thread may use it.
 */
final class BuildLog {
    /** As important as it is late. */
    enum Level {
        DEBUG,
        INFO,
        WARN,
        ERROR;

        String text() {
            return name().toLowerCase(Locale.ROOT);
        }
    }

    /** Of one entry, in characters. */
    static final int MOST_CHARACTERS = 2048;

    private static final int MOST_ENTRIES = 5000;
    private static final int MOST_TOGETHER = 256 << 10;

    /** @param step that it is about: {@code base}, a number from 1, or {@code finalize} */
    record Entry(Instant time, Level level, String message, String step) {
        ObjectNode json() {
            return JsonNodeFactory.instance
                    .objectNode()
                    .put("timestamp", time.toString())
                    .put("level", level.text())
                    .put("message", message)
                    .put("step", step);
        }
    }

    private final List<Entry> entries = new ArrayList<>();
    private int characters;
    private boolean full;

    synchronized void add(Level level, String step, String message) {
        if (full) {
            return;
        }
        String text = cut(message);
        if (entries.size() >= MOST_ENTRIES || characters + text.length() > MOST_TOGETHER) {
            full = true;
            entries.add(new Entry(
                    Instant.now(), Level.WARN, "The log is full: what the build tells from here on is left out", step));
            return;
        }
        characters += text.length();
        entries.add(new Entry(Instant.now(), level, text, step));
    }

    /** The last one, for which there is always room. */
    synchronized void end(Level level, String step, String message) {
        entries.add(new Entry(Instant.now(), level, cut(message), step));
        full = true;
    }

    private static String cut(String message) {
        return message.length() <= MOST_CHARACTERS ? message : message.substring(0, MOST_CHARACTERS) + "...";
    }

    /** Of those that are at least so important. */
    synchronized List<Entry> entries(Level least) {
        Stream<Entry> those = entries.stream().filter(entry -> entry.level().compareTo(least) >= 0);
        return those.toList();
    }
}
