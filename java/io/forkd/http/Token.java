package io.forkd.http;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;

/** The secret that a request over TCP has to name. */
final class Token {
    private static final int LEAST_BYTES = 16;
    private static final int MOST_BYTES = 4096;
    private static final String SCHEME = "Bearer ";

    private final byte[] hash;

    private Token(byte[] hash) {
        this.hash = hash;
    }

    static Token read(Path file) {
        byte[] bytes;
        try (InputStream in = Files.newInputStream(file)) {
            bytes = in.readNBytes(MOST_BYTES + 1);
        } catch (IOException e) {
            throw ForkdException.of("read the token file " + file, e);
        }
        String token = new String(bytes, StandardCharsets.UTF_8).strip();
        if (token.isEmpty()) {
            throw refused(file, "is empty");
        }
        if (token.startsWith("REPLACE_ME") || token.startsWith("CHANGE_ME")) {
            throw refused(file, "holds the text that is to be replaced");
        }
        int length = token.getBytes(StandardCharsets.UTF_8).length;
        if (length < LEAST_BYTES) {
            throw refused(file, "has " + length + " bytes, and a token needs " + LEAST_BYTES);
        }
        if (bytes.length > MOST_BYTES || token.chars().anyMatch(c -> c < ' ' || c > '~')) {
            throw refused(file, "is not one line of printable ASCII, so no client could send it");
        }
        return new Token(hash(token));
    }

    private static ForkdException refused(Path file, String why) {
        return new ForkdException(
                Kind.FAILED, "the token file " + file + " " + why, "Make one: openssl rand -hex 32 > " + file);
    }

    /**
     * @param authorization the header of this name; empty when there is none
     * @throws HttpFailure 401
     */
    void check(String authorization) {
        String given = authorization.startsWith(SCHEME)
                ? authorization.substring(SCHEME.length()).strip()
                : "";
        if (given.isEmpty()) {
            throw new HttpFailure(401, "a token is needed: Authorization: Bearer <token>");
        }
        // Of the same length whatever is given, so that the time it takes tells nothing of the token's own.
        if (!MessageDigest.isEqual(hash(given), hash)) {
            throw new HttpFailure(401, "the token is not valid");
        }
    }

    private static byte[] hash(String token) {
        try {
            return MessageDigest.getInstance("SHA-256").digest(token.getBytes(StandardCharsets.UTF_8));
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException(e);
        }
    }
}
