package io.forkd.http;

import io.forkd.Json;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.channels.ByteChannel;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/** What a call is answered with. Immutable. */
public final class Response {
    /** Writes a body piece by piece. */
    @FunctionalInterface
    public interface Writer extends AutoCloseable {
        /**
         * Writes the whole body. What is written is sent at {@link OutputStream#flush}, or when there is enough of it. A
         * client that does not read holds the writer back, until it is dropped.
         *
         * @throws IOException when the client is gone
         */
        void write(OutputStream out) throws IOException;

        /** When all is sent, or nothing will be, as for HEAD. */
        @Override
        default void close() {}
    }

    /** A body that is too long to be there as a whole. It is asked by whichever thread, by one at a time; it waits for nothing. */
    public interface Pieces extends Iterator<byte[]>, AutoCloseable {
        /** When all is sent, or the client is gone. */
        @Override
        void close();
    }

    /** Makes an answer that takes long. */
    public interface Job extends AutoCloseable {
        /** As {@link Handler#handle}. */
        Response run() throws Exception;

        /** When the call is answered, or nobody runs it. */
        @Override
        void close();
    }

    /** What a connection is used for after an answer of 101. */
    public interface Tunnel extends AutoCloseable {
        /**
         * Carries bytes, until this is over; then the connection is closed.
         *
         * @param client one thread may read while another writes, and any may close it
         */
        void carry(ByteChannel client) throws IOException;

        /** When it is over, or does not begin. */
        @Override
        void close();
    }

    private static final String CONTENT_TYPE = "Content-Type";
    private static final byte[] NOTHING = {};

    /** What comes after the head. */
    sealed interface Content {
        final class Bytes implements Content {
            private final byte[] bytes;

            Bytes(byte[] bytes) {
                this.bytes = bytes;
            }
        }

        record Stream(Writer writer) implements Content {}

        record InPieces(Pieces pieces) implements Content {}

        /** There is no head yet. */
        record Later(Job job) implements Content {}

        record Upgrade(Tunnel tunnel) implements Content {}
    }

    private final int status;
    private final List<Header> headers;
    private final Content content;

    private Response(int status, List<Header> headers, Content content) {
        this.status = status;
        this.headers = headers;
        this.content = content;
    }

    private static Response of(int status, String contentType, Content content) {
        return new Response(status, List.of(new Header(CONTENT_TYPE, contentType)), content);
    }

    public static Response json(int status, JsonNode body) {
        return bytes(status, "application/json", Json.bytes(body));
    }

    public static Response empty(int status) {
        return new Response(status, List.of(), new Content.Bytes(NOTHING));
    }

    /** In UTF-8, which the content type should say. */
    public static Response text(int status, String contentType, String body) {
        return bytes(status, contentType, body.getBytes(StandardCharsets.UTF_8));
    }

    public static Response bytes(int status, String contentType, byte[] body) {
        return of(status, contentType, new Content.Bytes(body));
    }

    /**
     * The body is written after the handler has returned, on a thread of its own: how many there are at a time is for who
     * answers so to bound.
     */
    public static Response stream(int status, String contentType, Writer body) {
        return of(status, contentType, new Content.Stream(body));
    }

    /** As {@link #stream(int, String, Writer)}, of whatever type. */
    public static Response stream(int status, List<Header> headers, Writer body) {
        return new Response(status, List.copyOf(headers), new Content.Stream(body));
    }

    /** The body is asked for piece by piece, each when the client has taken the one before, and holds no thread up. */
    public static Response pieces(int status, String contentType, Pieces body) {
        return of(status, contentType, new Content.InPieces(body));
    }

    /** The answer is made on a thread of its own; how many there are at a time is for who answers so to bound. */
    public static Response later(Job job) {
        return new Response(0, List.of(), new Content.Later(job));
    }

    /** The connection is given up to another protocol, on a thread of its own, as for {@link #later}. */
    public static Response upgrade(List<Header> headers, Tunnel tunnel) {
        return new Response(101, List.copyOf(headers), new Content.Upgrade(tunnel));
    }

    static Response error(HttpFailure failure) {
        ObjectNode body = JsonNodeFactory.instance.objectNode().put("error", failure.text());
        failure.code().ifPresent(code -> body.put("code", code));
        return json(failure.status(), body);
    }

    static Response error(int status, String text) {
        return error(new HttpFailure(status, text));
    }

    /** Nothing is sent, or all is. */
    void close() {
        try {
            if (content instanceof Content.Stream stream) {
                stream.writer().close();
            } else if (content instanceof Content.Later later) {
                later.job().close();
            } else if (content instanceof Content.Upgrade upgrade) {
                upgrade.tunnel().close();
            } else if (content instanceof Content.InPieces pieces) {
                pieces.pieces().close();
            }
        } catch (RuntimeException e) {
            Diagnostics.log().error("an answer could not be closed", e);
        }
    }

    public Response withHeader(String name, String value) {
        List<Header> more = new ArrayList<>(headers);
        more.add(new Header(name, value));
        return new Response(status, List.copyOf(more), content);
    }

    public int status() {
        return status;
    }

    List<Header> headers() {
        return headers;
    }

    Content content() {
        return content;
    }

    /** Of an answer that is made of some. */
    byte[] bytes() {
        return content instanceof Content.Bytes whole ? whole.bytes : NOTHING;
    }
}
