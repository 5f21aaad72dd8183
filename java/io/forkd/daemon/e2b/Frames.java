package io.forkd.daemon.e2b;

import io.forkd.Json;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.ByteBuffer;
import java.util.Optional;
import java.util.function.IntConsumer;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/** Messages of Connect's streams: a byte of flags, a length of four, most significant first, and JSON. */
final class Frames {
    private static final int HEADER = 5;
    private static final int MESSAGE = 0;
    private static final int COMPRESSED = 1;
    private static final int END = 2;

    private Frames() {}

    /** The next one that a client sends; empty when there are no more. */
    static Optional<Fields> read(InputStream in) {
        return read(in, length -> {});
    }

    /**
     * The same.
     *
     * @param room makes room for so many bytes
     */
    static Optional<Fields> read(InputStream in, IntConsumer room) {
        try {
            byte[] header = new byte[HEADER];
            int count = in.readNBytes(header, 0, HEADER);
            if (count == 0) {
                return Optional.empty();
            }
            if (count < HEADER) {
                throw ConnectFailure.invalid("the last message is cut off in its header");
            }
            int flags = header[0] & 0xff;
            int length = ByteBuffer.wrap(header).getInt(1);
            if (flags == COMPRESSED) {
                throw new ConnectFailure(Code.UNIMPLEMENTED, "a message is compressed, which it must not be");
            }
            if (flags != MESSAGE) {
                throw ConnectFailure.invalid("a message has the flags " + flags + ", which there are not");
            }
            if (length < 0 || length > Bodies.MOST_BYTES) {
                throw new ConnectFailure(
                        Code.RESOURCE_EXHAUSTED, "a message is longer than " + Bodies.MOST_BYTES + " bytes");
            }
            room.accept(length);
            byte[] json = new byte[length];
            if (in.readNBytes(json, 0, length) < length) {
                throw ConnectFailure.invalid("the last message is cut off");
            }
            return Optional.of(Fields.parse(json));
        } catch (IOException e) {
            throw ConnectFailure.invalid("the body was cut off");
        }
    }

    /** The only one of a call. */
    static Fields single(InputStream in) {
        Fields message = read(in).orElseThrow(() -> ConnectFailure.invalid("there is no message"));
        if (read(in).isPresent()) {
            throw ConnectFailure.invalid("there is more than one message");
        }
        return message;
    }

    /** Sends one at once. */
    static void write(OutputStream out, ObjectNode message) throws IOException {
        write(out, MESSAGE, message);
    }

    /** Sends that nothing comes any more. */
    static void end(OutputStream out) throws IOException {
        write(out, END, object());
    }

    /** Sends that nothing comes any more, and why. */
    static void end(OutputStream out, ConnectFailure why) throws IOException {
        write(out, END, object().set("error", why.json()));
    }

    private static ObjectNode object() {
        return JsonNodeFactory.instance.objectNode();
    }

    private static void write(OutputStream out, int flags, tools.jackson.databind.JsonNode message) throws IOException {
        byte[] json = Json.bytes(message);
        out.write(ByteBuffer.allocate(HEADER)
                .put((byte) flags)
                .putInt(json.length)
                .array());
        out.write(json);
        out.flush();
    }
}
