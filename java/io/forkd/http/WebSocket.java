package io.forkd.http;

import java.io.ByteArrayOutputStream;
import java.io.EOFException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.ByteChannel;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Base64;
import java.util.List;
import java.util.Optional;

/**
 * Messages with a client, in both directions at once (RFC 6455, without extensions). One thread may read while others send.
 * Jetty's own wants a connection that nobody watches, which those of calls here are.
 */
public final class WebSocket {
    /** The longest message that is taken. */
    public static final int MOST = 1 << 20;

    private static final String MAGIC = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    private static final int MOST_CONTROL = 125;
    private static final int NORMAL = 1000;
    private static final int PROTOCOL = 1002;
    private static final int NO_TEXT = 1007;
    private static final int TOO_LONG = 1009;
    private static final int TRY_LATER = 1013;

    /** Of a message so much is in memory in any case; of what is longer room is taken for each so many more. */
    private static final int PART = 64 << 10;

    /** Of all clients, half of them one user's at most: messages that are not whole yet, or that nobody has taken. */
    private static final HeldInput HELD = new HeldInput(32 << 20, "too much of messages is under way");

    private static final int CONTINUATION = 0;
    private static final int TEXT = 1;
    private static final int BINARY = 2;
    private static final int CLOSE = 8;
    private static final int PING = 9;
    private static final int PONG = 10;

    /** What a client has sent. */
    public sealed interface Message {
        record Text(String text) implements Message {}

        record Binary(ByteBuffer bytes) implements Message {}
    }

    /** What is said. */
    public interface Conversation extends AutoCloseable {
        /** Until this returns; the connection is closed then. */
        void hold(WebSocket socket) throws IOException;

        /** When it is over, or does not begin. */
        @Override
        void close();
    }

    private static final class Broken extends IOException {
        private static final long serialVersionUID = 1;
        private final int code;

        Broken(int code, String why) {
            super(why);
            this.code = code;
        }
    }

    private final ByteChannel client;
    private final Optional<String> user;
    private final List<HeldInput.Place> held = new ArrayList<>(); // of the last message, or the one that comes
    private final ByteBuffer input = ByteBuffer.allocate(64 << 10).flip();
    private boolean over; // guarded by this: we have said goodbye

    private WebSocket(ByteChannel client, Optional<String> user) {
        this.client = client;
        this.user = user;
    }

    /**
     * Looks whether the call is one for a WebSocket.
     *
     * @throws HttpFailure 426 or 400 when it is not
     */
    public static void require(HttpCall call) {
        if (call.header("Upgrade").filter("websocket"::equalsIgnoreCase).isEmpty()) {
            throw new HttpFailure(426, "this is for a WebSocket, and the call asks for none (Upgrade: websocket)");
        }
        if (call.header("Sec-WebSocket-Version").filter("13"::equals).isEmpty()
                || key(call).isEmpty()) {
            throw new HttpFailure(400, "the WebSocket is not asked for as RFC 6455 has it, with version 13 and a key");
        }
    }

    private static Optional<String> key(HttpCall call) {
        return call.header("Sec-WebSocket-Key").map(String::strip).filter(key -> key.matches("[A-Za-z0-9+/]{22}=="));
    }

    /** Of a call that {@link #require} has let pass. */
    public static Response answer(HttpCall call, Conversation conversation) {
        String accept = Base64.getEncoder().encodeToString(sha1(key(call).orElseThrow() + MAGIC));
        List<Header> headers = List.of(
                new Header("Connection", "Upgrade"),
                new Header("Upgrade", "websocket"),
                new Header("Sec-WebSocket-Accept", accept));
        return Response.upgrade(headers, new Response.Tunnel() {
            @Override
            public void carry(ByteChannel client) throws IOException {
                WebSocket socket = new WebSocket(client, call.caller().owner());
                try {
                    conversation.hold(socket);
                } finally {
                    socket.free();
                }
                socket.sayGoodbye(NORMAL);
            }

            @Override
            public void close() {
                conversation.close();
            }
        });
    }

    private static byte[] sha1(String text) {
        try {
            return MessageDigest.getInstance("SHA-1").digest(text.getBytes(StandardCharsets.US_ASCII));
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException(e); // Every Java has it.
        }
    }

    // --- what comes ---

    /**
     * Waits for the next message; empty when the client says goodbye. The one before is done with.
     *
     * @throws IOException when it is gone, or breaks the protocol
     */
    public Optional<Message> next() throws IOException {
        free();
        try {
            return read();
        } catch (Broken e) {
            sayGoodbye(e.code);
            throw e;
        }
    }

    private synchronized void free() {
        held.forEach(HeldInput.Place::close);
        held.clear();
    }

    /** Before a message gets longer. */
    private synchronized void grow(int length) throws Broken {
        while (length > (held.size() + 1) * PART) {
            try {
                held.add(HELD.hold(user, PART));
            } catch (HttpFailure e) {
                throw new Broken(TRY_LATER, e.text());
            }
        }
    }

    private Optional<Message> read() throws IOException {
        ByteArrayOutputStream message = new ByteArrayOutputStream();
        int type = CONTINUATION; // of the message; none has begun
        while (true) {
            require(2);
            int first = input.get() & 0xff;
            int second = input.get() & 0xff;
            boolean last = (first & 0x80) != 0;
            int code = first & 0x0f;
            boolean control = code >= CLOSE;
            byte[] payload =
                    payload(second, control ? MOST_CONTROL : MOST - message.size(), control ? 0 : message.size());
            if ((first & 0x70) != 0 || (control && !last)) {
                throw new Broken(PROTOCOL, "a frame that is not allowed");
            }
            switch (code) {
                case CLOSE -> {
                    sayGoodbye(NORMAL);
                    return Optional.empty();
                }
                case PING -> send(PONG, ByteBuffer.wrap(payload));
                case PONG -> {
                    // Nobody asked.
                }
                case CONTINUATION, TEXT, BINARY -> {
                    if ((code == CONTINUATION) == (type == CONTINUATION)) {
                        throw new Broken(PROTOCOL, "a frame that is not the next of its message");
                    }
                    type = code == CONTINUATION ? type : code;
                    message.writeBytes(payload);
                    if (last) {
                        return Optional.of(message(type, message.toByteArray()));
                    }
                }
                default -> throw new Broken(PROTOCOL, "a frame of an unknown type");
            }
        }
    }

    private static Message message(int type, byte[] bytes) throws Broken {
        if (type == BINARY) {
            return new Message.Binary(ByteBuffer.wrap(bytes));
        }
        try {
            return new Message.Text(StandardCharsets.UTF_8
                    .newDecoder()
                    .decode(ByteBuffer.wrap(bytes))
                    .toString());
        } catch (CharacterCodingException e) {
            throw new Broken(NO_TEXT, "a text that is not UTF-8");
        }
    }

    /** @param before how much of the message there is already */
    private byte[] payload(int second, int most, int before) throws IOException {
        long length = second & 0x7f;
        if (length == 126) {
            require(2);
            length = input.getShort() & 0xffff;
        } else if (length == 127) {
            require(8);
            length = input.getLong();
        }
        if ((second & 0x80) == 0) {
            throw new Broken(PROTOCOL, "a frame without a mask");
        }
        if (length < 0 || length > most) {
            throw new Broken(TOO_LONG, "a message of more than " + MOST + " bytes");
        }
        byte[] mask = new byte[4];
        require(mask.length);
        input.get(mask);
        // There is room for what has come, and not for what is announced.
        byte[] payload = new byte[(int) Math.min(length, PART)];
        for (int done = 0; done < length; ) {
            require(1);
            int part = (int) Math.min(input.remaining(), length - done);
            grow(before + done + part);
            if (done + part > payload.length) {
                payload = Arrays.copyOf(payload, (int) Math.min(length, 2L * payload.length));
            }
            part = Math.min(part, payload.length - done);
            for (int i = 0; i < part; i++) {
                payload[done] = (byte) (input.get() ^ mask[done & 3]);
                done++;
            }
        }
        return payload;
    }

    private void require(int count) throws IOException {
        while (input.remaining() < count) {
            input.compact();
            try {
                if (client.read(input) < 0) {
                    throw new EOFException("the client is gone");
                }
            } finally {
                input.flip();
            }
        }
    }

    // --- what goes ---

    public void send(String text) throws IOException {
        send(TEXT, ByteBuffer.wrap(text.getBytes(StandardCharsets.UTF_8)));
    }

    public void send(ByteBuffer bytes) throws IOException {
        send(BINARY, bytes);
    }

    private void sayGoodbye(int code) throws IOException {
        send(CLOSE, ByteBuffer.allocate(2).putShort((short) code).flip());
    }

    private synchronized void send(int code, ByteBuffer payload) throws IOException {
        if (over) {
            if (code == CLOSE) {
                return;
            }
            throw new IOException("the conversation is over");
        }
        over = code == CLOSE;
        int length = payload.remaining();
        ByteBuffer frame = ByteBuffer.allocate(10 + length);
        frame.put((byte) (0x80 | code));
        if (length < 126) {
            frame.put((byte) length);
        } else if (length <= 0xffff) {
            frame.put((byte) 126).putShort((short) length);
        } else {
            frame.put((byte) 127).putLong(length);
        }
        frame.put(payload).flip();
        while (frame.hasRemaining()) {
            client.write(frame);
        }
    }
}
