package io.forkd.agent;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.Json;
import io.forkd.agent.GuestException.Broken;
import io.forkd.agent.GuestException.Lost;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.time.Duration;
import java.util.Arrays;
import java.util.EnumSet;
import java.util.Optional;
import java.util.Set;
import tools.jackson.databind.node.ObjectNode;

/**
 * One stream, as docs/guest-protocol.md has it: a request, its answer, and frames until the guest's END. One thread may
 * read while others write, and any may close it.
 *
 * <p>What comes is handed on as it comes, out of one buffer, and is good until the next is asked for.
 */
final class GuestStream implements AutoCloseable {
    static final int PORT = 8889;
    static final int MAX_LINE = 1 << 20;
    static final int MAX_PAYLOAD = 1 << 16;

    private static final int HEADER = 8;
    private static final int IN = 1;

    /** What a guest sends. */
    enum Type {
        OUT(2),
        ERR(3),
        EVENT(4),
        END(5);

        private final int number;

        Type(int number) {
            this.number = number;
        }

        static Optional<Type> of(int number) {
            return Arrays.stream(values()).filter(type -> type.number == number).findFirst();
        }
    }

    /** What has come next. */
    sealed interface Piece {
        /**
         * Of a frame; all of them together are what was sent.
         *
         * @param type OUT or ERR
         * @param bytes until the next piece is asked for; none when there is no more of this type
         */
        record Bytes(Type type, ByteBuffer bytes) implements Piece {}

        record Event(GuestAnswer event) implements Piece {}

        /** Nothing comes after it. */
        record End(GuestAnswer end) implements Piece {}
    }

    private final String doing;
    private final AgentConnection connection;
    private final GuestAnswer answer;
    private final Set<Type> allowed = EnumSet.of(Type.END);
    private final Set<Type> over = EnumSet.noneOf(Type.class);
    private final ByteBuffer header = ByteBuffer.allocate(HEADER).order(ByteOrder.LITTLE_ENDIAN);
    private final Object sending = new Object();
    private Type current = Type.END;
    private int left;
    private Optional<Duration> pace = Optional.empty();
    private Optional<GuestAnswer> end = Optional.empty();
    private volatile boolean closed;

    private GuestStream(String doing, AgentConnection connection, GuestAnswer answer) {
        this.doing = doing;
        this.connection = connection;
        this.answer = answer;
    }

    /**
     * Asks, and takes the answer.
     *
     * @param doing what is asked for, as in "list /etc"
     * @param time how long it may take
     * @throws GuestException.Refused when the answer is an error
     */
    static GuestStream open(AgentAddress address, String doing, ObjectNode request, Duration time) {
        byte[] json = Json.bytes(request);
        if (json.length >= MAX_LINE) {
            throw new ForkdException(
                    Kind.USAGE, "cannot " + doing + ": what is asked for takes more than " + (MAX_LINE >> 20) + " MiB");
        }
        byte[] line = Arrays.copyOf(json, json.length + 1);
        line[json.length] = '\n';
        AgentConnection connection = AgentConnection.open(address, PORT, line, time);
        try {
            byte[] said = connection.readLine(MAX_LINE).orElseThrow(() -> lost(doing, "its answer"));
            connection.allow(Optional.empty());
            return new GuestStream(
                    doing, connection, GuestAnswer.parse(doing, said).orThrow());
        } catch (IOException e) {
            connection.close();
            throw ForkdException.of(doing, e);
        } catch (RuntimeException e) {
            connection.close();
            throw e;
        }
    }

    GuestAnswer answer() {
        return answer;
    }

    String doing() {
        return doing;
    }

    /** Which frames may come, beside END. */
    GuestStream allowing(Type... types) {
        allowed.addAll(Arrays.asList(types));
        return this;
    }

    /** From now on each piece must come, and each frame be taken, within this time. */
    GuestStream atPace(Duration time) {
        pace = Optional.of(time);
        return this;
    }

    /** From now on everything must be done within this time. */
    GuestStream within(Duration time) {
        connection.allow(Optional.of(time));
        return this;
    }

    /** What comes next, which is waited for. After the end it is the end. */
    Piece next() {
        if (end.isPresent()) {
            return new Piece.End(end.get().orThrow());
        }
        if (pace.isPresent()) {
            connection.allowReading(pace);
        }
        try {
            ByteBuffer input = connection.input();
            if (left == 0) {
                readHeader(input);
            }
            if (current == Type.EVENT) {
                return new Piece.Event(readObject(input));
            }
            if (current == Type.END) {
                GuestAnswer last = readObject(input);
                if (input.hasRemaining()) {
                    throw new Broken(GuestAnswer.told(doing) + "it went on after its end");
                }
                end = Optional.of(last);
                return new Piece.End(last.orThrow());
            }
            require(input, Math.min(left, 1));
            int part = Math.min(left, input.remaining());
            ByteBuffer bytes = input.slice(input.position(), part);
            input.position(input.position() + part);
            left -= part;
            return new Piece.Bytes(current, bytes);
        } catch (IOException e) {
            throw broken(e);
        }
    }

    private void readHeader(ByteBuffer input) throws IOException {
        require(input, HEADER);
        int word = Integer.reverseBytes(input.getInt());
        int number = word & 0xff;
        int length = Integer.reverseBytes(input.getInt());
        Type type = Type.of(number).filter(allowed::contains).orElseThrow(() -> {
            return new Broken(GuestAnswer.told(doing) + "it sent a frame of type " + number);
        });
        if (word != number || length < 0 || length > MAX_PAYLOAD) {
            throw new Broken(GuestAnswer.told(doing) + "it sent a frame with a wrong header");
        }
        if (over.contains(type)) {
            throw new Broken(GuestAnswer.told(doing) + "it sent more after it said that there is no more");
        }
        if (length == 0) {
            over.add(type);
        }
        current = type;
        left = length;
    }

    private GuestAnswer readObject(ByteBuffer input) throws IOException {
        byte[] json = new byte[left];
        while (left > 0) {
            require(input, 1);
            int part = Math.min(left, input.remaining());
            input.get(json, json.length - left, part);
            left -= part;
        }
        return GuestAnswer.parse(doing, json);
    }

    private void require(ByteBuffer input, int count) throws IOException {
        while (input.remaining() < count) {
            if (!connection.fill()) {
                throw lost(doing, "it ended");
            }
        }
    }

    /** Sends bytes, in as many frames as that takes. */
    void send(ByteBuffer bytes) {
        synchronized (sending) {
            while (bytes.hasRemaining()) {
                int length = Math.min(bytes.remaining(), MAX_PAYLOAD);
                sendFrame(bytes.slice(bytes.position(), length));
                bytes.position(bytes.position() + length);
            }
        }
    }

    /** Says that there is no more. */
    void sendEnd() {
        synchronized (sending) {
            sendFrame(ByteBuffer.allocate(0));
        }
    }

    private void sendFrame(ByteBuffer payload) {
        if (pace.isPresent()) {
            connection.allowWriting(pace);
        }
        header.clear().putInt(IN).putInt(payload.remaining()).flip();
        try {
            if (payload.hasRemaining()) {
                connection.write(header, payload);
            } else {
                connection.write(header);
            }
        } catch (IOException e) {
            throw broken(e);
        }
    }

    /** Whether the guest has sent something, or closed the connection; without waiting. */
    boolean hasNews() {
        try {
            return connection.input().hasRemaining() || connection.fillNow() != 0;
        } catch (IOException e) {
            return true;
        }
    }

    private ForkdException broken(IOException e) {
        return closed
                ? new Lost("cannot " + doing + ": its connection was closed")
                : new Lost("cannot " + doing + ": the connection to the guest broke: " + ForkdException.reason(e));
    }

    private static Lost lost(String doing, String what) {
        return new Lost("cannot " + doing + ": the guest closed the connection before " + what);
    }

    /** Waits so long until there is something for {@link #next} to tell; false when there is nothing yet. */
    boolean awaitNews(Duration time) {
        try {
            return end.isPresent() || connection.awaitInput(time);
        } catch (IOException e) {
            throw broken(e);
        }
    }

    @Override
    public void close() {
        closed = true;
        connection.close();
    }
}
