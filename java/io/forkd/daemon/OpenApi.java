package io.forkd.daemon;

import io.forkd.http.Response;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.util.Objects;

/** The description of everything that is served. */
final class OpenApi {
    private static final String RESOURCE = "openapi.json";

    private OpenApi() {}

    static Response response() {
        try (InputStream document = Objects.requireNonNull(OpenApi.class.getResourceAsStream(RESOURCE))) {
            return Response.bytes(200, "application/json", document.readAllBytes());
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }
}
