package io.forkd.network;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/**
 * Where to: {@code DESTINATION[:PORT[-PORT]]}. With ports it is about TCP and UDP, without about everything.
 *
 * @param ports empty: all
 */
record Rule(Destination destination, Optional<Ports> ports) {
    /** What no one means by the internet (IANA's special-purpose registry), and what clouds tell their machines by. */
    static final List<Cidr> NOT_PUBLIC = Stream.of(
                    "0.0.0.0/8",
                    "10.0.0.0/8",
                    "100.64.0.0/10",
                    "127.0.0.0/8",
                    "168.63.129.16",
                    "169.254.0.0/16",
                    "172.16.0.0/12",
                    "192.0.0.0/24",
                    "192.0.2.0/24",
                    "192.88.99.0/24",
                    "192.168.0.0/16",
                    "198.18.0.0/15",
                    "198.51.100.0/24",
                    "203.0.113.0/24",
                    "224.0.0.0/3")
            .map(Cidr::of)
            .toList();

    private static final Pattern LABELS =
            Pattern.compile("(?=.{1,253}$)([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\\.)*[a-z]([a-z0-9-]{0,61}[a-z0-9])?");

    sealed interface Destination {
        /** Whatever the host reaches, and the host. */
        record All() implements Destination {
            @Override
            public String toString() {
                return "all";
            }
        }

        /** Every public address. */
        record Internet() implements Destination {
            @Override
            public String toString() {
                return "internet";
            }
        }

        record Addresses(Cidr range) implements Destination {
            @Override
            public String toString() {
                return range.toString();
            }
        }

        /** The public addresses that a name, or one below it, is resolved to. */
        record Name(String name) implements Destination {
            boolean contains(Name other) {
                return other.name.equals(name) || other.name.endsWith("." + name);
            }

            @Override
            public String toString() {
                return name;
            }
        }

        default boolean contains(Destination other) {
            if (this instanceof All || equals(other)) {
                return true;
            }
            if (this instanceof Internet) {
                return other instanceof Name
                        || (other instanceof Addresses addresses
                                && NOT_PUBLIC.stream().noneMatch(addresses.range()::meets));
            }
            if (this instanceof Addresses ours) {
                return other instanceof Addresses theirs && ours.range().contains(theirs.range());
            }
            return this instanceof Name ours && other instanceof Name theirs && ours.contains(theirs);
        }

        /** Whether they may have an address in common. */
        default boolean meets(Destination other) {
            if (this instanceof Addresses ours && other instanceof Addresses theirs) {
                return ours.range().meets(theirs.range());
            }
            if (this instanceof Addresses && (other instanceof Internet || other instanceof Name)) {
                return other.meets(this);
            }
            return this instanceof All
                    || !(other instanceof Addresses theirs)
                    || NOT_PUBLIC.stream().noneMatch(range -> range.contains(theirs.range()));
        }
    }

    record Ports(int first, int last) {
        boolean contains(Ports other) {
            return first <= other.first && other.last <= last;
        }

        boolean meets(Ports other) {
            return first <= other.last && other.first <= last;
        }

        @Override
        public String toString() {
            return first == last ? Integer.toString(first) : first + "-" + last;
        }
    }

    static Rule parse(String text) {
        String lower = text.toLowerCase(Locale.ROOT);
        int colon = lower.lastIndexOf(':');
        String destination = colon < 0 ? lower : lower.substring(0, colon);
        if (destination.indexOf(':') >= 0 || destination.startsWith("[")) {
            throw wrong(text, "guests have no IPv6");
        }
        return new Rule(
                destination(text, destination),
                colon < 0 ? Optional.empty() : Optional.of(ports(text, lower.substring(colon + 1))));
    }

    private static Destination destination(String text, String destination) {
        switch (destination) {
            case "all" -> {
                return new Destination.All();
            }
            case "internet" -> {
                return new Destination.Internet();
            }
            case "none" -> throw wrong(text, "none allows nothing, and stands alone");
            default -> {
                Optional<Cidr> range = Cidr.parse(destination);
                if (range.isPresent()) {
                    return range.get().bits() == 0 ? new Destination.All() : new Destination.Addresses(range.get());
                }
                String name =
                        destination.endsWith(".") ? destination.substring(0, destination.length() - 1) : destination;
                if (!LABELS.matcher(name).matches()) {
                    throw wrong(text, "it is no range of addresses, no name, and neither internet nor all");
                }
                return new Destination.Name(name);
            }
        }
    }

    private static Ports ports(String text, String ports) {
        if (!ports.matches("[0-9]{1,5}(-[0-9]{1,5})?")) {
            throw wrong(text, "after the colon comes a port, or two with a - between them");
        }
        String[] parts = ports.split("-", -1);
        int first = Integer.parseInt(parts[0]);
        int last = Integer.parseInt(parts[parts.length - 1]);
        if (first < 1 || last > 65535 || first > last) {
            throw wrong(text, "ports are from 1 to 65535, the lower one first");
        }
        return new Ports(first, last);
    }

    private static ForkdException wrong(String text, String why) {
        String shown = text.length() > 100 ? text.substring(0, 100) + "..." : text;
        return new ForkdException(Kind.USAGE, "'" + shown + "' cannot be in a network policy: " + why);
    }

    boolean contains(Rule other) {
        return destination.contains(other.destination)
                && (ports.isEmpty() || (other.ports.isPresent() && ports.get().contains(other.ports.get())));
    }

    boolean meets(Rule other) {
        return destination.meets(other.destination)
                && (ports.isEmpty() || other.ports.isEmpty() || ports.get().meets(other.ports.get()));
    }

    @Override
    public String toString() {
        return destination + ports.map(range -> ":" + range).orElse("");
    }
}
