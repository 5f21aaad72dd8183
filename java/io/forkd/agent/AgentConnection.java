package io.forkd.agent;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.net.InetSocketAddress;
import java.net.SocketAddress;
import java.net.StandardProtocolFamily;
import java.net.StandardSocketOptions;
import java.net.UnixDomainSocketAddress;
import java.nio.ByteBuffer;
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
 * One connection to an agent, which carries one request. Every wait is bounded by the current deadline, and ends when the
 * thread is interrupted.
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

    private static final AtomicLong LONG_LINES = new AtomicLong();

    private final AgentAddress address;
    private final SocketChannel channel;
    private final Selector selector;
    private final SelectionKey key;
    private final ByteBuffer input = ByteBuffer.allocate(64 * 1024).limit(0);
    private boolean connected;
    private long counted;
    private Optional<Duration> allowed = Optional.empty();
    private long deadline;

    private AgentConnection(AgentAddress address, SocketChannel channel, Selector selector, SelectionKey key) {
        this.address = address;
        this.channel = channel;
        this.selector = selector;
        this.key = key;
    }

    /** Connects, which the guest must have taken within {@code time}. */
    static AgentConnection open(AgentAddress address, Duration time) {
        try {
            Selector selector = Selector.open();
            SocketChannel channel = address instanceof AgentAddress.Vsock
                    ? SocketChannel.open(StandardProtocolFamily.UNIX)
                    : SocketChannel.open();
            channel.configureBlocking(false);
            AgentConnection connection = new AgentConnection(address, channel, selector, channel.register(selector, 0));
            try {
                connection.allow(Optional.of(time));
                connection.connect();
                return connection;
            } catch (IOException | RuntimeException e) {
                connection.close();
                throw e;
            }
        } catch (IOException e) {
            throw unreachable(address, ForkdException.reason(e));
        }
    }

    private void connect() throws IOException {
        SocketAddress socket;
        if (address instanceof AgentAddress.Vsock vsock) {
            socket = UnixDomainSocketAddress.of(vsock.socket());
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
                await(SelectionKey.OP_CONNECT);
            } while (!channel.finishConnect());
        }
        if (address instanceof AgentAddress.Vsock) {
            send("CONNECT " + AgentAddress.PORT + "\n");
            String answer = readLine()
                    .map(line -> new String(line, StandardCharsets.UTF_8))
                    .orElse("");
            if (!answer.startsWith("OK ")) {
                throw unreachable(address, "nothing listens there in the guest");
            }
        }
        connected = true;
    }

    /** From now on everything must be done within {@code time}; without one there is no limit. */
    void allow(Optional<Duration> time) {
        allowed = time;
        deadline = System.nanoTime() + time.orElse(Duration.ZERO).toNanos();
    }

    /** Sends one line and closes our side, as every agent of this protocol understands. */
    void request(byte[] line) throws IOException {
        sendLine(line);
        channel.shutdownOutput();
    }

    private void sendLine(byte[] line) throws IOException {
        send(ByteBuffer.allocate(line.length + 1).put(line).put((byte) '\n').flip());
    }

    /** Sends one line, and then, while answers are read, all of {@code more}; then closes our side. */
    void request(byte[] line, InputStream more) throws IOException {
        sendLine(line);
        Thread pump = new Thread(() -> pump(more), "stdin");
        pump.setDaemon(true); // nobody can end a read of stdin
        pump.start();
    }

    /** Ends with the connection: whatever is wrong with that, its reader finds out. */
    private void pump(InputStream more) {
        byte[] chunk = new byte[64 * 1024];
        try (Selector writable = Selector.open()) {
            channel.register(writable, SelectionKey.OP_WRITE);
            for (int count = more.read(chunk); count >= 0; count = more.read(chunk)) {
                ByteBuffer bytes = ByteBuffer.wrap(chunk, 0, count);
                while (bytes.hasRemaining()) {
                    if (channel.write(bytes) == 0) {
                        writable.select();
                    }
                }
            }
            channel.shutdownOutput();
        } catch (IOException | ClosedSelectorException | CancelledKeyException e) {
            // The command does not want more, or it has ended.
        }
    }

    private void send(String text) throws IOException {
        send(ByteBuffer.wrap(text.getBytes(StandardCharsets.UTF_8)));
    }

    private void send(ByteBuffer bytes) throws IOException {
        while (bytes.hasRemaining()) {
            if (channel.write(bytes) == 0) {
                await(SelectionKey.OP_WRITE);
            }
        }
    }

    /** The next line without its end; empty when there is none any more. */
    Optional<byte[]> readLine() throws IOException {
        ByteArrayOutputStream line = new ByteArrayOutputStream();
        count(0);
        while (true) {
            int start = input.position();
            int end = start;
            while (end < input.limit() && input.get(end) != '\n') {
                end++;
            }
            count(line.size() + end - start);
            line.write(input.array(), start, end - start);
            if (end < input.limit()) {
                input.position(end + 1);
                return Optional.of(line.toByteArray());
            }
            input.clear();
            int count = channel.read(input);
            input.flip();
            if (count < 0) {
                return line.size() == 0 ? Optional.empty() : Optional.of(line.toByteArray());
            }
            if (count == 0) {
                await(SelectionKey.OP_READ);
            }
        }
    }

    /** Takes so many bytes for the line, up to the next one, if they can be had. */
    private void count(int length) {
        long wanted = length > CHUNK_LINE ? length : 0;
        long all = LONG_LINES.addAndGet(wanted - counted);
        counted = wanted;
        if (length > MAX_LINE) {
            throw new ForkdException(
                    Kind.FAILED,
                    "the agent at " + address + " answered with a line of more than " + (MAX_LINE >> 20) + " MiB");
        }
        if (wanted > 0 && all > MAX_LONG_LINES) {
            throw new ForkdException(
                    Kind.FAILED,
                    "the answers that are read at this moment, that of the agent at " + address
                            + " among them, have more than " + (MAX_LONG_LINES >> 20) + " MiB together");
        }
    }

    private void await(int operation) throws IOException {
        long left = allowed.isPresent() ? deadline - System.nanoTime() : Long.MAX_VALUE;
        if (Thread.currentThread().isInterrupted()) {
            throw new ForkdException(Kind.FAILED, "interrupted while talking to the agent at " + address);
        }
        if (left <= 0) {
            String late = " within " + allowed.orElse(Duration.ZERO).toSeconds() + " s";
            throw connected
                    ? new ForkdException(Kind.FAILED, "the agent at " + address + " did not answer" + late)
                    : unreachable(address, "its guest did not take the connection" + late);
        }
        key.interestOps(operation);
        selector.select(left / 1_000_000 + 1);
        selector.selectedKeys().clear();
    }

    private static ForkdException unreachable(AgentAddress address, String why) {
        return new ForkdException(Kind.FAILED, "cannot reach the agent at " + address + ": " + why);
    }

    @Override
    public void close() {
        count(0);
        try (selector;
                channel) {
            input.limit(0);
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
