package io.forkd.http;

import java.time.Duration;

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

    /**
     * What suits a daemon. Descriptors are for sandboxes, too: a process that may open 20000 has 8000 left beside the
     * connections.
     */
    public static final Limits STANDARD = new Limits(
            256,
            1024,
            2 << 20,
            16 << 20,
            32 << 20,
            Duration.ofSeconds(30),
            Duration.ofSeconds(10),
            Duration.ofSeconds(60),
            12_000,
            Duration.ofSeconds(30));
}
