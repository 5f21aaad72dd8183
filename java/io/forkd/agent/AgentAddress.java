package io.forkd.agent;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import java.io.IOException;
import java.nio.channels.SocketChannel;
import java.nio.file.Path;

/** How to reach the agent of a guest. */
public sealed interface AgentAddress {
    /** The port that agents listen on, on TCP and on vsock. */
    int PORT = 8888;

    /** Over the guest's network. */
    record Tcp(String host, int port) implements AgentAddress {
        @Override
        public String toString() {
            return host + ":" + port;
        }
    }

    /** Over the Unix socket of the VM, which speaks CONNECT. */
    record Vsock(Path socket) implements AgentAddress {
        @Override
        public String toString() {
            return "unix:" + socket;
        }
    }

    /** Over whatever somebody else has made, who connects to the port of the streams and to no other. */
    record Dialled(String name, Dial dial) implements AgentAddress {
        @Override
        public String toString() {
            return name;
        }
    }

    /** Who makes connections. */
    interface Dial {
        /** Waits for it; the channel is the caller's. */
        SocketChannel connect() throws IOException;

        /** Whether the VM is there. */
        boolean isThere();
    }

    /** {@code HOST:PORT} or {@code unix:PATH}. */
    static AgentAddress parse(String text) {
        if (text.startsWith("unix:")) {
            return new Vsock(Path.of(text.substring("unix:".length())));
        }
        int colon = text.lastIndexOf(':');
        try {
            int port = Integer.parseInt(text.substring(colon + 1));
            if (colon > 0 && port > 0 && port < 65536) {
                String host = text.substring(0, colon);
                boolean bracketed = host.startsWith("[") && host.endsWith("]");
                return new Tcp(bracketed ? host.substring(1, host.length() - 1) : host, port);
            }
        } catch (NumberFormatException e) {
            // said below
        }
        throw new ForkdException(Kind.USAGE, "'" + text + "' is not a target: it must be HOST:PORT or unix:PATH");
    }
}
