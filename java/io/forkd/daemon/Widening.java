package io.forkd.daemon;

import io.forkd.Limits;
import io.forkd.engine.NetworkRequest;
import io.forkd.http.Caller;
import io.forkd.http.HttpFailure;
import io.forkd.network.NetworkPolicy;
import io.forkd.snapshot.Manifest;

/** That a sandbox reaches or takes more than it does, or than its snapshot says, is for administrators to say. */
public final class Widening {
    private Widening() {}

    /** @throws HttpFailure 403 when a user wants more for what is made of a snapshot than that says */
    static void require(Caller caller, Manifest of, Limits limits, NetworkRequest network) {
        require(caller, of.machine().limits(), limits);
        network.policy().ifPresent(policy -> require(caller, of.network().orElse(NetworkPolicy.INTERNET), policy));
    }

    /**
     * What a sandbox may reach.
     *
     * @throws HttpFailure 403 when a user wants more than there is
     */
    public static void require(Caller caller, NetworkPolicy present, NetworkPolicy wanted) {
        if (caller.owner().isPresent() && !present.contains(wanted)) {
            throw new HttpFailure(
                    403, "only administrators let a sandbox reach more than the network policy " + present.brief());
        }
    }

    /** @throws HttpFailure 403 when a user wants more than there is */
    static void require(Caller caller, Limits present, Limits wanted) {
        if (caller.owner().isPresent()) {
            wanted.beyond(present).ifPresent(limit -> {
                throw new HttpFailure(
                        403, "only administrators give a sandbox more than its snapshot does: " + limit.field());
            });
        }
    }
}
