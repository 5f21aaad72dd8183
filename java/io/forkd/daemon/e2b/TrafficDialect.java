package io.forkd.daemon.e2b;

import io.forkd.http.Dialect;
import io.forkd.http.HttpFailure;
import io.forkd.http.Response;
import java.util.Optional;
import java.util.function.Function;
import tools.jackson.databind.node.JsonNodeFactory;

/** Of what goes to sandboxes: each says itself whom it serves. */
final class TrafficDialect implements Dialect {
    static final TrafficDialect INSTANCE = new TrafficDialect();

    private TrafficDialect() {}

    @Override
    public Optional<String> authorization(Function<String, Optional<String>> header) {
        return Optional.empty();
    }

    @Override
    public boolean isOpen() {
        return true;
    }

    @Override
    public Response error(HttpFailure failure) {
        return Response.json(
                failure.status(),
                JsonNodeFactory.instance
                        .objectNode()
                        .put("code", failure.status())
                        .put("message", failure.text()));
    }
}
