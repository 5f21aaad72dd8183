package io.forkd.http;

import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** The diagnostics log: lines on standard error, for whoever runs the daemon. */
public final class Diagnostics {
    private static final List<String> LEVELS = List.of("trace", "debug", "info", "warn", "error", "off");

    /** Made at its first use, when the settings are there: they are read once. */
    private static final class Log {
        static final Logger HTTP = LoggerFactory.getLogger("forkd.http");
    }

    private Diagnostics() {}

    static Logger log() {
        return Log.HTTP;
    }

    /**
     * Sets what is logged, from {@code FORKD_LOG} or else {@code RUST_LOG}: a level, or a list as in {@code
     * warn,forkd=debug}, in which a word with a name is for the logs of that name; {@code forkd} has all
     * of ours. To be called before anything is logged.
     */
    public static void configure(Map<String, String> environment) {
        settings(environment.getOrDefault("FORKD_LOG", environment.getOrDefault("RUST_LOG", "")))
                .forEach((name, value) -> System.setProperty("org.slf4j.simpleLogger." + name, value));
    }

    /** What slf4j-simple reads when it starts. */
    static Map<String, String> settings(String wanted) {
        Map<String, String> settings = new TreeMap<>();
        settings.put("showDateTime", "true");
        settings.put("dateTimeFormat", "yyyy-MM-dd'T'HH:mm:ss.SSSXXX");
        settings.put("showShortLogName", "true");
        settings.put("defaultLogLevel", "info");
        // What Jetty tells of its own start is of no use to anybody.
        settings.put("log.org.eclipse.jetty", "warn");
        // Nor what it has to say of each request that is none: anybody may send as many as he likes.
        settings.put("log.org.eclipse.jetty.http", "error");
        for (String word : wanted.split(",", -1)) {
            int equals = word.indexOf('=');
            String level = word.substring(equals + 1).strip().toLowerCase(Locale.ROOT);
            if (!LEVELS.contains(level)) {
                continue;
            }
            String target = equals < 0 ? "" : word.substring(0, equals).strip();
            if (target.isEmpty()) {
                settings.put("defaultLogLevel", level);
            } else {
                settings.put("log." + (target.startsWith("forkd_") ? "forkd" : target), level);
            }
        }
        return settings;
    }
}
