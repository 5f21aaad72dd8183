package io.forkd.vmm;

import io.forkd.Json;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.OutputStream;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.channels.Channels;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/** The agents of the guests of a {@link MemoryVmm}: a real socket each, and one thread that listens at all of them. */
final class MemoryAgents implements AutoCloseable {
    /** Whom an agent works for. */
    interface Guest {
        MemoryVmm.Fault step(String action);

        String text();

        void set(String text);

        void die();

        /** Before the client hears of it. */
        void answered() throws IOException;
    }

    private final Selector selector;
    private final Map<SocketChannel, Guest> open = new ConcurrentHashMap<>();
    private final ExecutorService workers = Executors.newCachedThreadPool(job -> {
        Thread thread = new Thread(job, "agent");
        thread.setDaemon(true);
        return thread;
    });
    private volatile boolean closed;

    MemoryAgents() {
        try {
            selector = Selector.open();
        } catch (IOException e) {
            throw new IllegalStateException(e);
        }
        workers.execute(this::accept);
    }

    /** What ends it, and every connection to it. */
    Runnable listen(Path socket, Guest guest) throws IOException {
        Files.deleteIfExists(socket);
        ServerSocketChannel listener = ServerSocketChannel.open(StandardProtocolFamily.UNIX);
        listener.bind(UnixDomainSocketAddress.of(socket));
        listener.configureBlocking(false);
        listener.register(selector, SelectionKey.OP_ACCEPT, guest);
        selector.wakeup();
        return () -> {
            close(listener);
            selector.wakeup();
            open.forEach((connection, of) -> {
                if (of == guest) {
                    close(connection);
                }
            });
            try {
                Files.deleteIfExists(socket);
            } catch (IOException e) {
                // Its folder is gone.
            }
        };
    }

    private static void close(AutoCloseable one) {
        try {
            one.close();
        } catch (Exception e) {
            throw new IllegalStateException(e);
        }
    }

    private void accept() {
        while (!closed) {
            try {
                selector.select(key -> {
                    try {
                        SocketChannel connection = ((ServerSocketChannel) key.channel()).accept();
                        if (connection != null) {
                            Guest guest = (Guest) key.attachment();
                            open.put(connection, guest);
                            workers.execute(() -> serve(connection, guest));
                        }
                    } catch (IOException e) {
                        // It was closed in this instant.
                    }
                });
            } catch (IOException e) {
                throw new IllegalStateException(e);
            }
        }
    }

    private void serve(SocketChannel connection, Guest guest) {
        try (connection) {
            BufferedReader in = new BufferedReader(Channels.newReader(connection, StandardCharsets.UTF_8));
            OutputStream out = Channels.newOutputStream(connection);
            if (in.readLine() == null) {
                return;
            }
            out.write("OK 1\n".getBytes(StandardCharsets.UTF_8));
            String line = in.readLine();
            if (line == null) {
                return;
            }
            JsonNode request = Json.parse(line.getBytes(StandardCharsets.UTF_8));
            String action = request.path("action").asString();
            MemoryVmm.Fault fault = guest.step(action);
            if (fault instanceof MemoryVmm.Fault.Dies) {
                guest.die();
                return;
            }
            if (fault instanceof MemoryVmm.Fault.Hangs) {
                in.read(); // until the client has had enough
                in.read();
                while (connection.isOpen() && !closed) {
                    Thread.sleep(10);
                }
                return;
            }
            ObjectNode answer = fault instanceof MemoryVmm.Fault.Fails failure
                    ? JsonNodeFactory.instance
                            .objectNode()
                            .put("error", "failed with " + failure.code() + ", as planned")
                    : answer(action, request, guest);
            guest.answered();
            out.write((Json.text(answer) + "\n").getBytes(StandardCharsets.UTF_8));
        } catch (IOException e) {
            // The client has gone, or the guest.
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        } finally {
            open.remove(connection);
        }
    }

    private static ObjectNode answer(String action, JsonNode request, Guest guest) {
        ObjectNode answer = JsonNodeFactory.instance.objectNode();
        switch (action) {
            case "ping" -> answer.put("pong", true);
            case "eval" -> answer.put("result", guest.text());
            case "mount" -> answer.put("mounted", true);
            case "unmount" -> answer.putArray("busy");
            case "exec" -> {
                JsonNode words = request.path("args");
                if (words.path(0).asString().equals("set")) {
                    guest.set(words.path(1).asString());
                }
                answer.put("exit_code", words.path(0).asString().equals("false") ? 1 : 0);
            }
            default -> answer.put("error", "unknown action");
        }
        return answer;
    }

    @Override
    public void close() {
        closed = true;
        selector.wakeup();
        workers.shutdownNow();
    }
}
