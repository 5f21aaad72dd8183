package io.forkd.http;

import io.forkd.Json;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Optional;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.JsonNodeFactory;

/** What a call is answered with. Immutable. */
public final class Response {
    /** Writes a body piece by piece. */
    @FunctionalInterface
    public interface Writer {
        /**
         * Writes the whole body. What is written is sent at {@link OutputStream#flush}, or when there is enough of it. A
         * client that does not read holds the writer back, until it is dropped.
         *
         * @throws IOException when the client is gone
         */
        void write(OutputStream out) throws IOException;
    }

    /** A body that is too long to be there as a whole. It is asked by whichever thread, by one at a time; it waits for nothing. */
    public interface Pieces extends Iterator<byte[]>, AutoCloseable {
        /** When all is sent, or the client is gone. */
        @Override
        void close();
    }

    private static final String CONTENT_TYPE = "Content-Type";
    private static final byte[] NOTHING = {};

    private final int status;
    private final Map<String, String> headers;
    private final byte[] bytes;
    private final Optional<Writer> stream;
    private final Optional<Pieces> pieces;

    private Response(
            int status, Map<String, String> headers, byte[] bytes, Optional<Writer> stream, Optional<Pieces> pieces) {
        this.status = status;
        this.headers = headers;
        this.bytes = bytes;
        this.stream = stream;
        this.pieces = pieces;
    }

    public static Response json(int status, JsonNode body) {
        return bytes(status, "application/json", Json.bytes(body));
    }

    public static Response empty(int status) {
        return new Response(status, Map.of(), NOTHING, Optional.empty(), Optional.empty());
    }

    /** In UTF-8, which the content type should say. */
    public static Response text(int status, String contentType, String body) {
        return bytes(status, contentType, body.getBytes(StandardCharsets.UTF_8));
    }

    public static Response bytes(int status, String contentType, byte[] body) {
        return new Response(status, Map.of(CONTENT_TYPE, contentType), body, Optional.empty(), Optional.empty());
    }

    /** The body is written after the handler has returned, on the same thread. */
    public static Response stream(int status, String contentType, Writer body) {
        return new Response(status, Map.of(CONTENT_TYPE, contentType), NOTHING, Optional.of(body), Optional.empty());
    }

    /** The body is asked for piece by piece, each when the client has taken the one before, and holds no thread up. */
    public static Response pieces(int status, String contentType, Pieces body) {
        return new Response(status, Map.of(CONTENT_TYPE, contentType), NOTHING, Optional.empty(), Optional.of(body));
    }

    static Response error(int status, String text) {
        return json(status, JsonNodeFactory.instance.objectNode().put("error", text));
    }

    public Response withHeader(String name, String value) {
        Map<String, String> more = new LinkedHashMap<>(headers);
        more.put(name, value);
        return new Response(status, more, bytes, stream, pieces);
    }

    public int status() {
        return status;
    }

    Map<String, String> headers() {
        return headers;
    }

    byte[] bytes() {
        return bytes;
    }

    /** Writes the body, when it is not these bytes. */
    Optional<Writer> stream() {
        return stream;
    }

    /** Are the body, when it is neither. */
    Optional<Pieces> pieces() {
        return pieces;
    }
}
