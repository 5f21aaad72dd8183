package io.forkd.daemon;

import static io.forkd.http.Handler.notForReaders;

import io.forkd.agent.GuestStreams;
import io.forkd.agent.GuestWire;
import io.forkd.daemon.Guests.Open;
import io.forkd.http.Header;
import io.forkd.http.HttpCall;
import io.forkd.http.HttpFailure;
import io.forkd.http.Response;
import io.forkd.http.Routes;
import io.forkd.http.Splice;
import io.forkd.sandbox.Found.Known;
import java.nio.ByteBuffer;
import java.util.List;

/** A guest's streams themselves, for clients that speak their protocol (docs/guest-protocol.md), as the command line does. */
final class WireRoute {
    private final Guests guests;

    WireRoute(Guests guests) {
        this.guests = guests;
    }

    void addTo(Routes routes) {
        routes.get("/v1/sandboxes/:id/guest", notForReaders(this::join));
    }

    private Response join(HttpCall http) {
        Known sandbox = guests.sandbox(http);
        if (http.header("Upgrade")
                .filter(GuestStreams.PROTOCOL::equalsIgnoreCase)
                .isEmpty()) {
            throw new HttpFailure(
                    426,
                    "this is for the guest protocol, and the call asks for none (Upgrade: " + GuestStreams.PROTOCOL
                            + ")");
        }
        Open<GuestWire> open = guests.open(http, sandbox, GuestStreams::wire);
        return Response.upgrade(
                List.of(new Header("Connection", "Upgrade"), new Header("Upgrade", GuestStreams.PROTOCOL)),
                new Splice(Guests.channel(open), ByteBuffer.allocate(0)));
    }
}
