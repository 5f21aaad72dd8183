package io.forkd.network;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;

/**
 * What things are called and which addresses they have. A guest's own address is part of its snapshot, and the same in all.
 *
 * @param range of the ways out, one address for each child
 * @param resolvers of the host, which the resolvers of children ask
 */
record NetConfig(Cidr range, List<String> resolvers) {
    static final String TAP = "forkd-tap0";

    /** What the host's ends of the ways out begin with. */
    static final String UPLINKS = "forkd-n";

    static final String CHILD = "forkd-child-";

    /** Names of network devices have 15 characters, and folders and devices have to be looked through. */
    private static final int MOST = 65_000;

    NetConfig {
        resolvers = List.copyOf(resolvers);
    }

    static NetConfig of(Map<String, String> environment) {
        String range = environment.getOrDefault("FORKD_NET_RANGE", "10.43.0.0/16");
        Cidr parsed = Cidr.parse(range)
                .filter(cidr -> cidr.bits() >= 8 && cidr.bits() <= 28)
                .orElseThrow(() -> new ForkdException(
                        Kind.USAGE,
                        "FORKD_NET_RANGE is '" + range + "', and has to be a range of IPv4 addresses, /8 to /28"));
        if (parsed.meets(Cidr.of("10.42.0.0/24"))) {
            throw new ForkdException(
                    Kind.USAGE, "FORKD_NET_RANGE is " + range + ", which has the guests' own 10.42.0.0/24 in it");
        }
        String given = environment.getOrDefault("FORKD_NET_RESOLVERS", "");
        return new NetConfig(parsed, given.isEmpty() ? resolversOfHost() : List.of(given.split(",", -1))).checked();
    }

    private NetConfig checked() {
        for (String resolver : resolvers) {
            if (Cidr.parseAddress(resolver).isEmpty()) {
                throw new ForkdException(
                        Kind.USAGE, "FORKD_NET_RESOLVERS has '" + resolver + "', which is no IPv4 address");
            }
        }
        return this;
    }

    /** Those that can be asked from elsewhere than the host: a stub on loopback cannot, and says where it asks itself. */
    private static List<String> resolversOfHost() {
        return Stream.of("/etc/resolv.conf", "/run/systemd/resolve/resolv.conf")
                .map(NetConfig::resolversIn)
                .filter(found -> !found.isEmpty())
                .findFirst()
                .orElse(List.of());
    }

    private static List<String> resolversIn(String file) {
        List<String> found = new ArrayList<>();
        try {
            for (String line : Files.readAllLines(Path.of(file))) {
                String[] words = line.strip().split("\\s+", -1);
                if (words.length >= 2
                        && words[0].equals("nameserver")
                        && Cidr.parse(words[1])
                                .filter(address -> !Cidr.of("127.0.0.0/8").contains(address))
                                .isPresent()) {
                    found.add(words[1]);
                }
            }
        } catch (IOException e) {
            return List.of();
        }
        return found;
    }

    int most() {
        return (int) Math.min(MOST, (1L << (32 - range.bits())) - 3);
    }

    /** The first address is the next hop of all. */
    String address(int number) {
        return Cidr.text(range.address() + number + 1);
    }

    String nextHop() {
        return Cidr.text(range.address() + 1);
    }

    String guest() {
        return "10.42.0.2";
    }

    String gateway() {
        return "10.42.0.1";
    }

    static String name(int number) {
        return CHILD + number;
    }

    static String uplink(int number) {
        return UPLINKS + number;
    }
}
