package io.forkd.image;

import java.io.IOException;
import java.net.InetAddress;
import java.net.URI;
import java.util.List;
import java.util.Optional;
import java.util.function.Predicate;

/**
 * Where a pull may lead.
 *
 * @param plain whether plain HTTP is spoken to a registry that is not on this machine, too
 * @param within of somebody for whom this host is not to speak to whatever it reaches; empty: anywhere
 */
public record Reach(boolean plain, Optional<Within> within) {
    /**
     * To these registries, wherever they are; and where they lead to others, by TLS, and to these addresses.
     *
     * @param registries hosts, each with its port where that is not the usual one
     */
    public record Within(List<String> registries, Predicate<InetAddress> others) {
        private boolean isRegistry(String authority) {
            return registries.contains(authority);
        }
    }

    /** Before it is spoken to. */
    void require(URI uri) throws IOException {
        if (uri.getScheme().equals("http")
                && within.filter(bounds -> !bounds.isRegistry(uri.getAuthority()))
                        .isPresent()) {
            throw new Redirects.UnsafeAddressException("it leads to " + uri.getAuthority() + ", which is not secure");
        }
    }

    /** When there is a connection, and before it is used: a name may lead elsewhere each time. */
    void require(String host, int port, InetAddress address) throws IOException {
        String name = host.contains(":") && !host.startsWith("[") ? "[" + host + "]" : host;
        boolean mayBe = within.isEmpty()
                || within.get().isRegistry(name + ":" + port)
                || (port == 443 && within.get().isRegistry(name))
                || within.get().others().test(address);
        if (!mayBe) {
            throw new Redirects.UnsafeAddressException("it leads to " + host + ", which is "
                    + address.getHostAddress()
                    + " and no public address: users' images come from those, and from registries"
                    + " that are named for them");
        }
    }
}
