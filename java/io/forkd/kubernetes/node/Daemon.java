package io.forkd.kubernetes.node;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.MissingNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.net.UnixDomainSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.Channels;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Optional;
import java.util.function.Consumer;

/**
 * REST v1 of this node's daemon, by its Unix socket: a connection for each request, in HTTP/1.0, so that the answer ends where
 * the connection does. It answers in time or with an error, whatever its guests do: the daemon keeps deadlines.
 */
final class Daemon {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final int MOST_HEAD = 64 << 10;

    /** An answer that is no success. */
    static final class Refused extends IOException {
        private static final long serialVersionUID = 1;

        private final int status;

        Refused(int status, String error) {
            super(error);
            this.status = status;
        }

        int status() {
            return status;
        }

        /** To ask again does not help. */
        boolean isFinal() {
            return status == 400 || status == 403 || status == 415 || status == 422;
        }
    }

    private final Path socket;

    Daemon(Path socket) {
        this.socket = socket;
    }

    JsonNode get(String path) throws IOException {
        return call("GET", path, Optional.empty());
    }

    JsonNode post(String path, ObjectNode body) throws IOException {
        return call("POST", path, Optional.of(body));
    }

    JsonNode put(String path, ObjectNode body) throws IOException {
        return call("PUT", path, Optional.of(body));
    }

    /** What is not there is deleted already. */
    void delete(String path) throws IOException {
        try {
            call("DELETE", path, Optional.empty());
        } catch (Refused e) {
            if (e.status() != 404) {
                throw e;
            }
        }
    }

    /** Empty when it is not there. */
    Optional<JsonNode> find(String path) throws IOException {
        try {
            return Optional.of(get(path));
        } catch (Refused e) {
            if (e.status() == 404) {
                return Optional.empty();
            }
            throw e;
        }
    }

    private JsonNode call(String method, String path, Optional<ObjectNode> body) throws IOException {
        byte[] content = body.map(each -> each.toString().getBytes(StandardCharsets.UTF_8))
                .orElse(new byte[0]);
        String head = method + " " + path + " HTTP/1.0\r\nHost: forkd\r\nAccept: application/json\r\n"
                + (body.isPresent()
                        ? "Content-Type: application/json\r\nContent-Length: " + content.length + "\r\n"
                        : "")
                + "\r\n";
        try (SocketChannel channel = SocketChannel.open(UnixDomainSocketAddress.of(socket))) {
            write(channel, head.getBytes(StandardCharsets.US_ASCII));
            write(channel, content);
            InputStream in = Channels.newInputStream(channel);
            int status = head(in);
            byte[] answer = in.readAllBytes();
            JsonNode json = answer.length == 0 ? MissingNode.getInstance() : JSON.readTree(answer);
            if (status >= 300) {
                throw new Refused(status, json.path("error").asText("status " + status));
            }
            return json;
        }
    }

    private static void write(SocketChannel channel, byte[] bytes) throws IOException {
        ByteBuffer buffer = ByteBuffer.wrap(bytes);
        while (buffer.hasRemaining()) {
            channel.write(buffer);
        }
    }

    /** @return the status */
    private static int head(InputStream in) throws IOException {
        ByteArrayOutputStream head = new ByteArrayOutputStream();
        int newlines = 0;
        while (newlines < 2) {
            int next = in.read();
            if (next < 0 || head.size() > MOST_HEAD) {
                throw new EOFException("the daemon ended the connection");
            }
            newlines = next == '\n' ? newlines + 1 : next == '\r' ? newlines : 0;
            head.write(next);
        }
        String[] words = head.toString(StandardCharsets.US_ASCII).split("[ \r]", 3);
        return words.length > 1 && words[1].matches("[0-9]{3}") ? Integer.parseInt(words[1]) : 502;
    }

    /** Hears events until the connection ends. */
    void listen(Consumer<String> event) throws IOException {
        try (SocketChannel channel = SocketChannel.open(UnixDomainSocketAddress.of(socket))) {
            write(channel, "GET /v1/events HTTP/1.0\r\nHost: forkd\r\n\r\n".getBytes(StandardCharsets.US_ASCII));
            InputStream in = Channels.newInputStream(channel);
            int status = head(in);
            if (status != 200) {
                throw new Refused(status, "no events");
            }
            BufferedReader lines = new BufferedReader(new InputStreamReader(in, StandardCharsets.UTF_8));
            for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                if (line.startsWith("event:")) {
                    event.accept(line.substring("event:".length()).strip());
                }
            }
        }
    }
}
