package io.forkd.agent;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import java.io.ByteArrayOutputStream;
import java.io.Closeable;
import java.io.IOException;
import java.io.InputStream;
import java.net.InetSocketAddress;
import java.net.SocketAddress;
import java.net.StandardProtocolFamily;
import java.net.StandardSocketOptions;
import java.net.UnixDomainSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.AsynchronousCloseException;
import java.nio.channels.CancelledKeyException;
import java.nio.channels.ClosedSelectorException;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Optional;
import java.util.concurrent.atomic.AtomicLong;

/**
 * One connection to an agent, which carries one request. Every wait is bounded by the deadline of its direction, and ends
 * when the thread is interrupted. One thread may read while another writes, and any may close it.
 */
final class AgentConnection implements AutoCloseable {
    /** The longest line that is taken. A chunk of a stream has 64 KiB; what comes whole, a value for example, has more. */
    static final int MAX_LINE = 16 << 20;

    /**
     * What lines that are longer than a chunk may take together, of all connections: an answer is in memory several times
     * while it is taken apart, and one guest's must not be paid for by all.
     */
    static final int MAX_LONG_LINES = 40 << 20;

    private static final int CHUNK_LINE = 128 * 1024;

    private static final int MAX_CONNECT_ANSWER = 64;

    private static final AtomicLong LONG_LINES = new AtomicLong();

    private final AgentAddress address;
    private final SocketChannel channel;
    private final Direction reading = new Direction();
    private final Direction writing = new Direction();
    private final ByteBuffer input = ByteBuffer.allocate(64 * 1024).limit(0);
    private volatile boolean connected;
    private boolean closed;
    private long counted;

    private AgentConnection(AgentAddress address, SocketChannel channel) {
        this.address = address;
        this.channel = channel;
    }

    /** Connects to the port of the line-JSON protocol, which the guest must have taken within {@code time}. */
    static AgentConnection open(AgentAddress address, Duration time) {
        return open(address, AgentAddress.PORT, new byte[0], time);
    }

    /**
     * Connects to a port of the guest (on TCP the address has it), which it must have taken within {@code time}.
     *
     * @param first what is sent at once, so that it need not wait for the answer to CONNECT
     * @throws GuestException.Absent when nothing listens there in the guest
     */
    static AgentConnection open(AgentAddress address, int port, byte[] first, Duration time) {
        try {
            SocketChannel channel = channel(address);
            AgentConnection connection = new AgentConnection(address, channel);
            try {
                channel.configureBlocking(false);
                connection.allow(Optional.of(time));
                connection.connect(port, first);
                return connection;
            } catch (IOException | RuntimeException e) {
                connection.close();
                throw e;
            }
        } catch (IOException e) {
            throw unreachable(address, ForkdException.reason(e));
        }
    }

    private static SocketChannel channel(AgentAddress address) throws IOException {
        if (address instanceof AgentAddress.Dialled dialled) {
            return dialled.dial().connect();
        }
        return address instanceof AgentAddress.Vsock
                ? SocketChannel.open(StandardProtocolFamily.UNIX)
                : SocketChannel.open();
    }

    private void connect(int port, byte[] first) throws IOException {
        if (address instanceof AgentAddress.Dialled) {
            write(ByteBuffer.wrap(first));
            connected = true;
            return;
        }
        SocketAddress socket;
        String prefix = "";
        if (address instanceof AgentAddress.Vsock vsock) {
            socket = UnixDomainSocketAddress.of(vsock.socket());
            prefix = "CONNECT " + port + "\n";
        } else if (address instanceof AgentAddress.Tcp tcp) {
            InetSocketAddress resolved = new InetSocketAddress(tcp.host(), tcp.port());
            if (resolved.isUnresolved()) {
                throw unreachable(address, "the host name is unknown");
            }
            socket = resolved;
        } else {
            throw new AssertionError(address);
        }
        if (!channel.connect(socket)) {
            do {
                writing.await(SelectionKey.OP_CONNECT);
            } while (!channel.finishConnect());
        }
        byte[] line = prefix.getBytes(StandardCharsets.UTF_8);
        write(ByteBuffer.allocate(line.length + first.length)
                .put(line)
                .put(first)
                .flip());
        if (!prefix.isEmpty()) {
            String answer = readLine(MAX_CONNECT_ANSWER)
                    .map(taken -> new String(taken, StandardCharsets.UTF_8))
                    .orElse("");
            if (!answer.startsWith("OK ")) {
                throw new GuestException.Absent(
                        "cannot reach the agent at " + address + ": nothing listens there in the guest");
            }
        }
        connected = true;
    }

    /** From now on everything must be done within {@code time}; without one there is no limit. */
    void allow(Optional<Duration> time) {
        allowReading(time);
        allowWriting(time);
    }

    /** The same, of what is read. */
    void allowReading(Optional<Duration> time) {
        reading.allow(time);
    }

    /** The same, of what is written. */
    void allowWriting(Optional<Duration> time) {
        writing.allow(time);
    }

    /** Sends one line and closes our side, as every agent of this protocol understands. */
    void request(byte[] line) throws IOException {
        sendLine(line);
        channel.shutdownOutput();
    }

    private void sendLine(byte[] line) throws IOException {
        write(ByteBuffer.allocate(line.length + 1).put(line).put((byte) '\n').flip());
    }

    /** Sends one line, and then, while answers are read, all of {@code more}; then closes our side. */
    void request(byte[] line, InputStream more) throws IOException {
        sendLine(line);
        allowWriting(Optional.empty());
        Thread pump = new Thread(() -> pump(more), "stdin");
        pump.setDaemon(true); // nobody can end a read of stdin
        pump.start();
    }

    /** Ends with the connection: whatever is wrong with that, its reader finds out. */
    private void pump(InputStream more) {
        byte[] chunk = new byte[64 * 1024];
        try {
            for (int count = more.read(chunk); count >= 0; count = more.read(chunk)) {
                write(ByteBuffer.wrap(chunk, 0, count));
            }
            channel.shutdownOutput();
        } catch (IOException e) {
            // The command does not want more, or it has ended.
        }
    }

    /** Sends all of them, one after the other. Only one thread at a time may do so. */
    void write(ByteBuffer... bytes) throws IOException {
        while (bytes[bytes.length - 1].hasRemaining()) {
            if (channel.write(bytes) == 0) {
                writing.await(SelectionKey.OP_WRITE);
            }
        }
    }

    /** What has come; who takes of it moves its position. */
    ByteBuffer input() {
        return input;
    }

    /** Waits for more input, for which there must be room; false when nothing more comes. */
    boolean fill() throws IOException {
        int count = fillNow();
        while (count == 0) {
            reading.await(SelectionKey.OP_READ);
            count = fillNow();
        }
        return count > 0;
    }

    /** The same without waiting: how much has come; negative when nothing more comes. */
    int fillNow() throws IOException {
        input.compact();
        try {
            return channel.read(input);
        } finally {
            input.flip();
        }
    }

    /** Waits so long for input, or for its end; false when neither has come. */
    boolean awaitInput(Duration time) throws IOException {
        if (input.hasRemaining() || fillNow() != 0) {
            return true;
        }
        reading.select(SelectionKey.OP_READ, time.toNanos());
        return fillNow() != 0;
    }

    /** The next line without its end; empty when there is none any more. */
    Optional<byte[]> readLine(int most) throws IOException {
        ByteArrayOutputStream line = new ByteArrayOutputStream();
        count(0, most);
        while (true) {
            int start = input.position();
            int end = start;
            while (end < input.limit() && input.get(end) != '\n') {
                end++;
            }
            count(line.size() + end - start, most);
            line.write(input.array(), start, end - start);
            input.position(Math.min(end + 1, input.limit()));
            if (end < input.limit()) {
                return Optional.of(line.toByteArray());
            }
            if (!fill()) {
                return line.size() == 0 ? Optional.empty() : Optional.of(line.toByteArray());
            }
        }
    }

    /** Takes so many bytes for the line, up to the next one, if they can be had. */
    private void count(int length, int most) {
        long wanted = length > CHUNK_LINE ? length : 0;
        long all;
        synchronized (this) {
            wanted = closed ? 0 : wanted;
            all = LONG_LINES.addAndGet(wanted - counted);
            counted = wanted;
        }
        if (length > most) {
            throw new GuestException.Broken("the agent at " + address + " answered with a line of more than "
                    + (most < 1 << 20 ? most + " bytes" : (most >> 20) + " MiB"));
        }
        if (wanted > 0 && all > MAX_LONG_LINES) {
            throw new ForkdException(
                    Kind.FAILED,
                    "the answers that are read at this moment, that of the agent at " + address
                            + " among them, have more than " + (MAX_LONG_LINES >> 20) + " MiB together");
        }
    }

    /** One of the two, with a selector of its own, so that each may have its thread. */
    private final class Direction {
        private volatile Optional<Duration> allowed = Optional.empty();
        private volatile long deadline;
        private Optional<Selector> selector = Optional.empty();

        void allow(Optional<Duration> time) {
            deadline = System.nanoTime() + time.orElse(Duration.ZERO).toNanos();
            allowed = time;
        }

        void await(int operation) throws IOException {
            long left = allowed.isPresent() ? deadline - System.nanoTime() : Long.MAX_VALUE;
            if (left <= 0) {
                throw late();
            }
            select(operation, left);
        }

        /** Until it is possible, or so much time has passed. */
        void select(int operation, long nanos) throws IOException {
            if (Thread.currentThread().isInterrupted()) {
                throw new ForkdException(Kind.FAILED, "interrupted while talking to the agent at " + address);
            }
            try {
                Selector ours = selector();
                Optional.ofNullable(channel.keyFor(ours)).orElseThrow().interestOps(operation);
                ours.select(nanos / 1_000_000 + 1);
                ours.selectedKeys().clear();
            } catch (ClosedSelectorException | CancelledKeyException e) {
                throw new AsynchronousCloseException();
            }
        }

        private GuestException late() {
            String seconds = " within " + allowed.orElse(Duration.ZERO).toSeconds() + " s";
            return new GuestException.Late(
                    connected
                            ? "the agent at " + address + " did not answer" + seconds
                            : "cannot reach the agent at " + address + ": its guest did not take the connection"
                                    + seconds);
        }

        private Selector selector() throws IOException {
            synchronized (AgentConnection.this) {
                if (closed) {
                    throw new AsynchronousCloseException();
                }
                if (selector.isEmpty()) {
                    Selector made = Selector.open();
                    selector = Optional.of(made); // from here on closed with the connection
                    channel.register(made, 0);
                }
                return selector.get();
            }
        }
    }

    private static ForkdException unreachable(AgentAddress address, String why) {
        return new ForkdException(Kind.FAILED, "cannot reach the agent at " + address + ": " + why);
    }

    /** Any thread may do so: those that read or write then get an {@link AsynchronousCloseException}, or another. */
    @Override
    public void close() {
        synchronized (this) {
            if (closed) {
                return;
            }
            closed = true;
            LONG_LINES.addAndGet(-counted);
            counted = 0;
        }
        try (Closeable first = reading.selector.<Closeable>map(one -> one).orElse(() -> {});
                Closeable second = writing.selector.<Closeable>map(one -> one).orElse(() -> {});
                channel) {
            if (address instanceof AgentAddress.Tcp) {
                // By a reset: the agent cannot tell a mere end from that of the request, and is to end what it does for
                // us.
                channel.setOption(StandardSocketOptions.SO_LINGER, 0);
            }
        } catch (IOException e) {
            // There is nothing that could be lost.
        }
    }
}
