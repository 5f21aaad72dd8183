package io.forkd.http;

import java.util.Optional;
import java.util.function.Function;

/** How those that some routes are for say who they are, and are told what went wrong. */
public interface Dialect {
    /** Bearer tokens, and {@code {"error":TEXT}}. */
    Dialect V1 = new Dialect() {
        @Override
        public Optional<String> authorization(Function<String, Optional<String>> header) {
            return header.apply("Authorization");
        }

        @Override
        public Response error(HttpFailure failure) {
            return Response.error(failure);
        }
    };

    /**
     * What a request has in place of the header field Authorization.
     *
     * @param header the value of a field that the request has
     */
    Optional<String> authorization(Function<String, Optional<String>> header);

    /** What a client gets that is turned away, or whose call failed. */
    Response error(HttpFailure failure);

    /** Whether everybody is let in by the server, since the handlers themselves look who it is. */
    default boolean isOpen() {
        return false;
    }
}
