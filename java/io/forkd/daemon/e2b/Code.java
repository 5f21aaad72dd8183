package io.forkd.daemon.e2b;

import java.util.Locale;

/** What kinds of failures Connect has, and the status of each in HTTP. */
enum Code {
    CANCELED(499),
    INVALID_ARGUMENT(400),
    DEADLINE_EXCEEDED(504),
    NOT_FOUND(404),
    ALREADY_EXISTS(409),
    PERMISSION_DENIED(403),
    RESOURCE_EXHAUSTED(429),
    FAILED_PRECONDITION(400),
    UNIMPLEMENTED(501),
    INTERNAL(500),
    UNAVAILABLE(503),
    DATA_LOSS(500),
    UNAUTHENTICATED(401);

    private final int status;

    Code(int status) {
        this.status = status;
    }

    int status() {
        return status;
    }

    /** As it is in answers. */
    String text() {
        return name().toLowerCase(Locale.ROOT);
    }
}
