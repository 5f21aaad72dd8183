package io.forkd.image;

import io.forkd.ForkdException;
import java.io.IOException;
import java.io.InputStream;
import java.net.HttpURLConnection;
import java.net.URI;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import tools.jackson.databind.JsonNode;

/** What a server answered; its content is still to be read. */
record Answer(int status, HttpURLConnection connection) {
    static final int TOO_MANY_REQUESTS = 429;

    private static final int MAX_ERROR_BYTES = 64 << 10;
    private static final Pattern UNPRINTABLE = Pattern.compile("\\p{Cc}");

    /** Waits for it. */
    static Answer of(HttpURLConnection connection) throws IOException {
        return new Answer(connection.getResponseCode(), connection);
    }

    boolean isGood() {
        return status / 100 == 2;
    }

    /** Whether asking again may bring another one. */
    boolean mayPass() {
        return status == HttpURLConnection.HTTP_CLIENT_TIMEOUT
                || status == TOO_MANY_REQUESTS
                || (status / 100 == 5 && status != HttpURLConnection.HTTP_NOT_IMPLEMENTED);
    }

    /** Who gave it, which is somebody else than was asked where a redirect led there. */
    URI from() {
        return URI.create(connection.getURL().toString());
    }

    Optional<String> header(String name) {
        return Optional.ofNullable(connection.getHeaderField(name));
    }

    /** Where it leads: from where it was given, which may be somewhere else than what was asked. */
    Optional<String> location() {
        try {
            return header("Location").map(place -> from().resolve(place).toString());
        } catch (IllegalArgumentException e) {
            return Optional.empty();
        }
    }

    InputStream content() throws IOException {
        return connection.getInputStream();
    }

    /** When the server wants to be asked again: in seconds, or at a time. In milliseconds from now. */
    Optional<Long> retryAfterMillis() {
        String text = header("Retry-After").orElse("");
        if (text.matches("[0-9]{1,9}")) {
            return Optional.of(Long.parseLong(text) * 1000);
        }
        long at = connection.getHeaderFieldDate("Retry-After", 0);
        return at == 0 ? Optional.empty() : Optional.of(Math.max(0, at - System.currentTimeMillis()));
    }

    /** What a registry says about a failure, in the protocol's form of an error; empty where it says nothing. */
    String error() {
        try (InputStream in = connection.getErrorStream()) {
            if (in == null) {
                return "";
            }
            JsonNode error = Documents.parse(in.readNBytes(MAX_ERROR_BYTES), "the answer")
                    .path("errors")
                    .path(0);
            String text = error.path("message").asString(error.path("code").asString(""));
            Matcher unprintable = UNPRINTABLE.matcher(text);
            return unprintable.replaceAll(" ");
        } catch (IOException | ForkdException e) {
            return "";
        }
    }
}
