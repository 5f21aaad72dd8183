package io.forkd.http;

/**
 * Who asks, as far as the connection tells.
 *
 * @param user the user at the other end of the Unix socket; empty for every other means
 */
public record Caller(Means means, String user) {
    /** By what a caller was let in. */
    public enum Means {
        /** Nothing: the server has no token, or this path needs none, or the caller was turned away. */
        NONE,
        /** The token. */
        TOKEN,
        /** The permission to open the Unix socket. */
        UNIX
    }

    static final Caller NOBODY = new Caller(Means.NONE, "");
    static final Caller TOKEN = new Caller(Means.TOKEN, "");

    /** As the audit log names the caller: {@code none}, {@code token} or {@code unix:<user>}. */
    public String text() {
        return switch (means) {
            case NONE -> "none";
            case TOKEN -> "token";
            case UNIX -> "unix:" + user;
        };
    }
}
