package io.forkd.daemon.e2b;

import java.security.SecureRandom;
import java.util.HexFormat;

/** Secrets of sandboxes. */
final class Tokens {
    private static final SecureRandom RANDOM = new SecureRandom();
    private static final int BYTES = 20;

    private Tokens() {}

    static String make() {
        byte[] random = new byte[BYTES];
        RANDOM.nextBytes(random);
        return HexFormat.of().formatHex(random);
    }
}
