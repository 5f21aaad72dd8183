package io.forkd.agent;

import tools.jackson.databind.node.ObjectNode;

/** What to connect to from within a guest. */
public sealed interface GuestAddress {
    /** A port of the guest's own, 1 to 65535, whichever loopback address it is on. */
    record Port(int port) implements GuestAddress {
        @Override
        public String toString() {
            return "port " + port;
        }
    }

    /**
     * Any port that the guest reaches.
     *
     * @param host an address in numbers
     */
    record Tcp(String host, int port) implements GuestAddress {
        @Override
        public String toString() {
            return GuestAnswer.printable(host) + " port " + port;
        }
    }

    record Unix(String path) implements GuestAddress {
        @Override
        public String toString() {
            return GuestAnswer.printable(path);
        }
    }

    /** Writes it as a request has it. */
    default void put(ObjectNode request) {
        if (this instanceof Port port) {
            request.put("port", port.port());
        } else if (this instanceof Tcp tcp) {
            request.put("host", tcp.host()).put("port", tcp.port());
        } else if (this instanceof Unix unix) {
            request.put("unix", unix.path());
        }
    }
}
