package io.forkd.daemon;

import static io.forkd.http.Handler.notForReaders;

import io.forkd.agent.GuestAddress;
import io.forkd.agent.GuestPort;
import io.forkd.daemon.Guests.Open;
import io.forkd.http.Caller;
import io.forkd.http.Header;
import io.forkd.http.HttpCall;
import io.forkd.http.HttpFailure;
import io.forkd.http.Relay;
import io.forkd.http.Response;
import io.forkd.http.Routes;
import io.forkd.sandbox.Found.Known;
import java.time.Duration;
import java.util.List;
import java.util.Set;
import java.util.regex.Pattern;

/**
 * Web servers in guests. By path they have the daemon's own host, so that a page of theirs would be one of the daemon's for
 * a browser, and could ask it for everything: that way is for programs. By a host of its own each is a site of its own.
 */
final class PortRoutes {
    /** A port and the id of a sandbox. */
    private static final Pattern HOST = Pattern.compile("[0-9]{1,5}-[a-z0-9-]+");

    private static final int MOST_PORT = 65535;

    /** As proxies have it for a stream on which nothing happens. */
    private static final Duration PATIENCE = Duration.ofMinutes(5);

    /** What is before the path of the guest: /v1/sandboxes/ID/ports/PORT. */
    private static final int SEGMENTS = 5;

    private final Guests guests;
    private final String domain;

    /** @param domain whose hosts are the guests' ports */
    PortRoutes(Guests guests, String domain) {
        this.guests = guests;
        this.domain = domain;
    }

    void addTo(Routes routes) {
        routes.any("/v1/sandboxes/:id/ports/:port/:path*", notForReaders(this::byPath));
        routes.hosts(HOST, domain, notForReaders(this::byHost));
    }

    private Response byPath(HttpCall http) {
        // With every request of a browser; Sec-Fetch-Mode alone is Node's fetch, which is none.
        if (http.header("Sec-Fetch-Site").isPresent()) {
            throw new HttpFailure(
                    403,
                    "by this address a sandbox's page would be one of the daemon's: a browser asks for "
                            + http.parameter("port") + "-" + http.parameter("id") + "." + domain);
        }
        int prefix = 0;
        for (int i = 0; i < SEGMENTS; i++) {
            int slash = http.path().indexOf('/', prefix + 1);
            prefix = slash < 0 ? http.path().length() : slash;
        }
        String path = http.path().substring(prefix);
        return relay(
                http,
                http.parameter("id"),
                http.parameter("port"),
                path.isEmpty() ? "/" : path,
                http.path().substring(0, prefix),
                // And one that does not say what it is shows the page as nobody's.
                List.of(new Header("Content-Security-Policy", "sandbox")));
    }

    private Response byHost(HttpCall http) {
        String[] parts = http.parameter("host").split("-", 2);
        return relay(http, parts[1], parts[0], http.path(), "", List.of());
    }

    private Response relay(HttpCall http, String id, String port, String path, String prefix, List<Header> added) {
        int number = port.matches("[0-9]{1,5}") ? Integer.parseInt(port) : 0;
        if (number < 1 || number > MOST_PORT) {
            throw new HttpFailure(400, "a port is a number from 1 to " + MOST_PORT + ", and not " + port);
        }
        Known sandbox = guests.sandbox(http, id);
        String target = http.query().isEmpty() ? path : path + "?" + http.query();
        Open<GuestPort> open = guests.open(http, sandbox, guest -> guest.connect(new GuestAddress.Port(number)));
        Set<String> ours = http.caller().means() == Caller.Means.TOKEN ? Set.of("authorization") : Set.of();
        return Response.later(new Relay(
                http, new Relay.Rules(target, prefix, ours, List.of(), added, PATIENCE), Guests.channel(open)));
    }
}
