package io.forkd.agent;

import io.forkd.ForkdException;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.StandardSocketOptions;
import java.nio.ByteBuffer;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Semaphore;

/** A port of this host behind which is one of a guest. Who connects before the guest's server is there is hung up on. */
public final class PortForward implements AutoCloseable {
    /** Fewer than a guest has streams; those that come after wait to be taken. */
    private static final int MOST = 128;

    private final GuestStreams guest;
    private final GuestAddress address;
    private final ServerSocketChannel listener;
    private final Semaphore places = new Semaphore(MOST);
    private final Set<SocketChannel> open = ConcurrentHashMap.newKeySet();

    /**
     * Listens, and carries each connection to the guest.
     *
     * @param local what to listen at; port 0 is any that is free
     */
    public PortForward(GuestStreams guest, InetSocketAddress local, GuestAddress address) {
        this.guest = guest;
        this.address = address;
        try {
            listener = ServerSocketChannel.open();
            try {
                listener.bind(local);
            } catch (IOException e) {
                listener.close();
                throw e;
            }
        } catch (IOException e) {
            throw ForkdException.of("listen at " + local.getHostString() + ":" + local.getPort(), e);
        }
        start("forward", this::accept);
    }

    /** Where it listens. */
    public InetSocketAddress local() {
        try {
            return (InetSocketAddress) listener.getLocalAddress();
        } catch (IOException e) {
            throw ForkdException.of("find the port that is listened at", e);
        }
    }

    private static void start(String name, Runnable job) {
        Thread thread = new Thread(job, name);
        thread.setDaemon(true);
        thread.start();
    }

    private void accept() {
        try {
            while (true) {
                places.acquire();
                SocketChannel client = listener.accept();
                open.add(client);
                start("forwarded", () -> {
                    try {
                        carry(client);
                    } finally {
                        open.remove(client);
                        places.release();
                    }
                });
            }
        } catch (IOException | InterruptedException e) {
            // It was closed.
        }
    }

    /** Both ways until both have ended; a reset on one side is one on the other. */
    private void carry(SocketChannel client) {
        try (client;
                GuestPort port = guest.connect(address)) {
            Thread back = new Thread(() -> bringBack(port, client), "forwarded");
            back.setDaemon(true);
            back.start();
            ByteBuffer bytes = ByteBuffer.allocateDirect(64 << 10);
            while (client.read(bytes.clear()) >= 0) {
                port.write(bytes.flip());
            }
            port.endOutput();
            back.join();
        } catch (IOException | ForkdException | InterruptedException e) {
            reset(client);
        }
    }

    private static void bringBack(GuestPort port, SocketChannel client) {
        ByteBuffer bytes = ByteBuffer.allocateDirect(64 << 10);
        try {
            while (port.read(bytes.clear()) >= 0) {
                bytes.flip();
                while (bytes.hasRemaining()) {
                    client.write(bytes);
                }
            }
            client.shutdownOutput();
            port.awaitEnd();
        } catch (IOException | ForkdException e) {
            reset(client);
            port.close();
        }
    }

    private static void reset(SocketChannel client) {
        try (client) {
            client.setOption(StandardSocketOptions.SO_LINGER, 0);
        } catch (IOException e) {
            // It is closed already.
        }
    }

    /** Listens no more, and ends all connections. */
    @Override
    public void close() {
        try (listener) {
            open.forEach(PortForward::reset);
        } catch (IOException e) {
            // There is nothing that could be lost.
        }
    }
}
