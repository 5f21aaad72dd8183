package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import java.net.InetSocketAddress;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** {@code [HOST:]PORT:GUESTPORT}: a port of this machine behind which is one of a guest. */
record PublishedPort(InetSocketAddress local, int guest) {
    private static final Pattern FORM =
            Pattern.compile("(?:(?<host>[^:]+|\\[[^]]+]):)?(?<port>\\d{0,5}):(?<guest>\\d{1,5})");

    static PublishedPort parse(String text) {
        Matcher matcher = FORM.matcher(text);
        if (matcher.matches()) {
            String host = matcher.group("host") == null ? "127.0.0.1" : matcher.group("host");
            String port = matcher.group("port");
            int local = port.isEmpty() ? 0 : Integer.parseInt(port);
            int guest = Integer.parseInt(matcher.group("guest"));
            InetSocketAddress address = local < 65536
                    ? new InetSocketAddress(host.replaceAll("[\\[\\]]", ""), local)
                    : InetSocketAddress.createUnresolved(host, 0);
            if (local < 65536 && guest > 0 && guest < 65536 && !address.isUnresolved()) {
                return new PublishedPort(address, guest);
            }
        }
        throw new ForkdException(
                Kind.USAGE,
                "'" + text + "' is no [HOST:]PORT:GUESTPORT, of which HOST is an address of this machine, PORT one"
                        + " of its ports (0 or none: any that is free), and GUESTPORT one of the guest");
    }
}
