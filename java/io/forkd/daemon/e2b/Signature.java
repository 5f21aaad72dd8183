package io.forkd.daemon.e2b;

import io.forkd.http.HttpCall;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.time.Instant;
import java.util.Base64;
import java.util.Optional;

/** What says that a client is let in: the sandbox's token, or for one file a digest that only who has it can make. */
final class Signature {
    private static final String PREFIX = "v1_";

    private Signature() {}

    /** Whether both are the same, in a time that does not tell how much of them is. */
    static boolean same(String given, String wanted) {
        return MessageDigest.isEqual(given.getBytes(StandardCharsets.UTF_8), wanted.getBytes(StandardCharsets.UTF_8));
    }

    /** @param operation {@code read} or {@code write} */
    static String of(String path, String operation, String user, String token, Optional<String> expiration) {
        String text = path + ":" + operation + ":" + user + ":" + token
                + expiration.map(seconds -> ":" + seconds).orElse("");
        try {
            byte[] digest = MessageDigest.getInstance("SHA-256").digest(text.getBytes(StandardCharsets.UTF_8));
            return PREFIX + Base64.getEncoder().withoutPadding().encodeToString(digest);
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException(e); // every Java has it
        }
    }

    /** Whether the URL has a good one, which has not expired. */
    static boolean isGood(HttpCall http, String operation, String token) {
        Optional<String> given = http.query("signature");
        Optional<String> expiration = http.query("signature_expiration");
        if (given.isEmpty()) {
            return false;
        }
        String wanted = of(
                http.query("path").orElse(""), operation, http.query("username").orElse(""), token, expiration);
        return same(given.get(), wanted) && expiration.filter(Signature::isOver).isEmpty();
    }

    private static boolean isOver(String seconds) {
        try {
            return Long.parseLong(seconds) < Instant.now().getEpochSecond();
        } catch (NumberFormatException e) {
            return true;
        }
    }
}
