package io.forkd.http;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/**
 * What a server grants its clients, who may all be hostile.
 *
 * @param callsAtOnce how many handlers run
 * @param callsWaiting how many calls wait for one of them; one more is answered with 503
 * @param bodyBytes the longest body; a longer one is answered with 413
 * @param allBodyBytes what the bodies of all calls may take together; one more is answered with 503
 * @param allAnswerBytes what the answers that clients have not read yet may take together, short ones aside; one more
 *     is answered with 503
 * @param bodyTime until then a body has to be there, or it is answered with 408
 * @param headTime until then the head of a request has to be there, once it has begun
 * @param idleTime how long a connection may be silent, and how long a client may not read what is sent to it
 * @param connections how many TCP connections are open at once; more wait to be accepted
 * @param drainTime how long a stop waits for the calls that are under way
 */
public record Limits(
        int callsAtOnce,
        int callsWaiting,
        int bodyBytes,
        int allBodyBytes,
        int allAnswerBytes,
        Duration bodyTime,
        Duration headTime,
        Duration idleTime,
        int connections,
        Duration drainTime) {

    private static final Pattern OPEN_FILES = Pattern.compile("^Max open files +([0-9]+|unlimited) ");
    private static final int MOST_CONNECTIONS = 12_000;
    private static final long FEW_DESCRIPTORS = 1024;

    /** What suits a daemon. */
    public static final Limits STANDARD = new Limits(
            256,
            1024,
            2 << 20,
            16 << 20,
            32 << 20,
            Duration.ofSeconds(30),
            Duration.ofSeconds(10),
            Duration.ofSeconds(60),
            connections(descriptors()),
            Duration.ofSeconds(30));

    /** Descriptors are for sandboxes, too: two of five that the process may open are left for what is no connection. */
    private static int connections(long descriptors) {
        return (int) Math.min(MOST_CONNECTIONS, descriptors / 5 * 3);
    }

    /** How many this process may have open, as setrlimit(2) said. */
    private static long descriptors() {
        try (Stream<String> lines = Files.lines(Path.of("/proc/self/limits"))) {
            return lines.map(OPEN_FILES::matcher)
                    .filter(Matcher::find)
                    .mapToLong(
                            line -> line.group(1).equals("unlimited") ? Long.MAX_VALUE : Long.parseLong(line.group(1)))
                    .findFirst()
                    .orElse(FEW_DESCRIPTORS);
        } catch (IOException e) {
            return FEW_DESCRIPTORS;
        }
    }
}
