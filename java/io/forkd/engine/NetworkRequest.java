package io.forkd.engine;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.network.NetworkPolicy;
import io.forkd.snapshot.Snapshot;
import java.util.Optional;

/**
 * The network that children are to have.
 *
 * @param own each in a namespace of its own; otherwise the host's tap device, which one of them can have
 * @param policy what they may reach; without one, what their snapshot says, or the internet
 */
public record NetworkRequest(boolean own, Optional<NetworkPolicy> policy) {
    public static final NetworkRequest OF_HOST = new NetworkRequest(false, Optional.empty());

    public NetworkRequest {
        own |= policy.isPresent();
    }

    public static NetworkRequest own(boolean own) {
        return new NetworkRequest(own, Optional.empty());
    }

    /**
     * What comes of it for children of that snapshot: they have no more than what it is a branch of. Those of a user have
     * networks of ours, since the host's tap device, and namespaces that others made, reach what their makers like.
     */
    NetworkRequest of(Snapshot snapshot, Optional<String> owner) {
        Optional<NetworkPolicy> inherited = snapshot.manifest().network();
        boolean connected = snapshot.manifest().machine().tap().isPresent();
        if (inherited.isEmpty()) {
            return owner.isPresent() && connected
                    ? new NetworkRequest(true, policy.or(() -> Optional.of(NetworkPolicy.INTERNET)))
                    : this;
        }
        if (policy.isPresent() && !inherited.get().contains(policy.get())) {
            throw new ForkdException(
                    Kind.CONFLICT,
                    "the snapshot '" + snapshot.tag() + "' was branched from a sandbox with the network policy "
                            + inherited.get().brief() + ", and its children cannot be made with a wider one",
                    "Make them as they are, and then give each another policy.");
        }
        return new NetworkRequest(true, policy.or(() -> inherited));
    }
}
