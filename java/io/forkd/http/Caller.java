package io.forkd.http;

import java.util.Optional;
import java.util.OptionalLong;

/**
 * Who asks, as far as the connection and the token tell.
 *
 * @param name of the token, or the user at the other end of the Unix socket; empty for every other means, and for the
 *     token of a file that holds nothing else
 */
public record Caller(Means means, String name, Role role, Quotas quotas) {
    /** By what a caller was let in. */
    public enum Means {
        /** Nothing: the server has no token, or this path needs none, or the caller was turned away. */
        NONE,
        /** A token. */
        TOKEN,
        /** The permission to open the Unix socket. */
        UNIX
    }

    /** What a caller may do. */
    public enum Role {
        /** Everything. */
        ADMIN,
        /** What routes for users offer, with what is its own or for all. */
        USER,
        /** Look at everything, and change nothing. */
        READ
    }

    /** How much may be a caller's at a time; without a number, as much as there is room for. */
    public record Quotas(OptionalLong sandboxes, OptionalLong memoryMib, OptionalLong snapshots) {
        public static final Quotas NONE = new Quotas(OptionalLong.empty(), OptionalLong.empty(), OptionalLong.empty());
    }

    static final Caller NOBODY = new Caller(Means.NONE, "", Role.ADMIN, Quotas.NONE);
    static final Caller TOKEN = new Caller(Means.TOKEN, "", Role.ADMIN, Quotas.NONE);

    static Caller unix(String user) {
        return new Caller(Means.UNIX, user, Role.ADMIN, Quotas.NONE);
    }

    /** Whose the things are that it makes, and the only ones that it knows of; empty of one who sees all. */
    public Optional<String> owner() {
        return role == Role.USER ? Optional.of(name) : Optional.empty();
    }

    /** As the audit log names the caller: {@code none}, {@code token}, {@code token:<name>} or {@code unix:<user>}. */
    public String text() {
        return switch (means) {
            case NONE -> "none";
            case TOKEN -> name.isEmpty() ? "token" : "token:" + name;
            case UNIX -> "unix:" + name;
        };
    }
}
