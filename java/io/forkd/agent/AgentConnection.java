package io.forkd.agent;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.SocketAddress;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Optional;

/** One connection to an agent, which carries one request. Every wait is bounded by the current deadline. */
final class AgentConnection implements AutoCloseable {
    private final AgentAddress address;
    private final SocketChannel channel;
    private final Selector selector;
    private final SelectionKey key;
    private final ByteBuffer input = ByteBuffer.allocate(64 * 1024).limit(0);
    private boolean connected;
    private Duration allowed = Duration.ZERO;
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
                connection.allow(time);
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

    /** From now on everything must be done within {@code time}. */
    void allow(Duration time) {
        allowed = time;
        deadline = System.nanoTime() + time.toNanos();
    }

    /** Sends one line and closes our side, as every agent of this protocol understands. */
    void request(byte[] line) throws IOException {
        send(ByteBuffer.allocate(line.length + 1).put(line).put((byte) '\n').flip());
        channel.shutdownOutput();
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
        while (true) {
            int start = input.position();
            int end = start;
            while (end < input.limit() && input.get(end) != '\n') {
                end++;
            }
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

    private void await(int operation) throws IOException {
        long left = deadline - System.nanoTime();
        if (Thread.currentThread().isInterrupted()) {
            throw new ForkdException(Kind.FAILED, "interrupted while talking to the agent at " + address);
        }
        if (left <= 0) {
            String late = " within " + allowed.toSeconds() + " s";
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
        try (selector;
                channel) {
            input.limit(0);
        } catch (IOException e) {
            // There is nothing that could be lost.
        }
    }
}
