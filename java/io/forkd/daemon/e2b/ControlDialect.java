package io.forkd.daemon.e2b;

import io.forkd.http.Dialect;
import io.forkd.http.HttpFailure;
import io.forkd.http.Response;
import java.util.Optional;
import java.util.function.Function;
import java.util.regex.Pattern;
import tools.jackson.databind.node.JsonNodeFactory;

/** Of the control plane: the token comes as a key, and errors are {@code {"code":STATUS,"message":TEXT}}. */
final class ControlDialect implements Dialect {
    static final ControlDialect INSTANCE = new ControlDialect();

    private static final int UNPROCESSABLE = 422;

    /** What some clients want a key to begin with, before digits of base 16: a token in that form is the token. */
    private static final String PREFIX = "e2b_";

    private static final Pattern TOKEN_AS_KEY = Pattern.compile(PREFIX + "[0-9a-f]{64}");

    private ControlDialect() {}

    @Override
    public Optional<String> authorization(Function<String, Optional<String>> header) {
        return header.apply("X-API-KEY")
                .map(key -> "Bearer " + (TOKEN_AS_KEY.matcher(key).matches() ? key.substring(PREFIX.length()) : key))
                .or(() -> header.apply("Authorization"));
    }

    @Override
    public Response error(HttpFailure failure) {
        int status = failure.status() == UNPROCESSABLE ? 400 : failure.status();
        Response answer = Response.json(
                status,
                JsonNodeFactory.instance.objectNode().put("code", status).put("message", message(failure)));
        return status == 503 ? answer.withHeader("Retry-After", "1") : answer;
    }

    private static String message(HttpFailure failure) {
        return failure.status() == 401 ? "the API key is missing, or not valid: X-API-KEY" : failure.text();
    }
}
