package io.forkd.engine;

import io.forkd.Remedy;
import io.forkd.network.NetworkPolicy;
import io.forkd.network.Networks;
import io.forkd.snapshot.Snapshot;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Optional;
import java.util.function.IntPredicate;

/**
 * Namespaces for the children of one call: those that somebody else made for them, as they are, unless a policy is asked for;
 * else ours.
 */
final class ChildNetworks {
    private final Networks networks;

    ChildNetworks(Networks networks) {
        this.networks = networks;
    }

    /** The tap device that the children get; one serves one VM, unless each has a network of its own. */
    Optional<String> tap(Snapshot snapshot, NetworkRequest network, int count, Progress progress) {
        Optional<String> tap = snapshot.manifest().machine().tap();
        if (tap.isEmpty()) {
            if (network.policy().isPresent() && !network.policy().get().equals(NetworkPolicy.NONE)) {
                progress.warn(
                        "the snapshot '" + snapshot.tag() + "' has no network device: its children reach nothing");
            }
            return tap;
        }
        if (!network.own() && count > 1) {
            progress.warn("one tap device serves one VM: the children have no network", Remedy.Action.OWN_NETWORKS);
            return Optional.empty();
        }
        return tap;
    }

    /** Nothing for each of them. */
    static List<Optional<String>> none(int count) {
        return Collections.nCopies(count, Optional.empty());
    }

    /** Child i has the i-th of others, if there is one. */
    List<Optional<String>> numbered(NetworkRequest request, Path user, int count) {
        if (!request.own()) {
            return none(count);
        }
        List<Integer> foreign = foreign(request);
        List<Integer> missing = new ArrayList<>();
        List<Optional<String>> names = new ArrayList<>();
        for (int i = 1; i <= count; i++) {
            if (foreign.contains(i)) {
                names.add(Optional.of(Place.ownNamespace(i)));
            } else {
                missing.add(i - 1);
                names.add(Optional.empty());
            }
        }
        List<String> taken = networks.take(Collections.nCopies(missing.size(), user), policy(request));
        for (int i = 0; i < missing.size(); i++) {
            names.set(missing.get(i), Optional.of(taken.get(i)));
        }
        return names;
    }

    /** The first of others that nobody has, as many as there are of them, or as are wanted. */
    List<String> free(NetworkRequest request, int count, IntPredicate used) {
        return foreign(request).stream()
                .filter(number -> !used.test(number))
                .limit(count)
                .map(Place::ownNamespace)
                .toList();
    }

    List<String> take(NetworkRequest request, List<Path> users) {
        return users.isEmpty() ? List.of() : networks.take(users, policy(request));
    }

    private List<Integer> foreign(NetworkRequest request) {
        return request.policy().isPresent() ? List.of() : networks.foreign();
    }

    private static NetworkPolicy policy(NetworkRequest request) {
        return request.policy().orElse(NetworkPolicy.INTERNET);
    }

    /** Takes back what that folder has; what it had is also taken back when it is found to be gone. */
    void release(Path user) {
        networks.release(List.of(user));
    }

    /** What is enforced in a namespace that was given out; nothing of ours in those of others. */
    Optional<NetworkPolicy> enforced(NetworkRequest request, Optional<String> netns) {
        return netns.filter(name -> request.policy().isPresent() || networks.isUsed(name))
                .map(name -> policy(request));
    }
}
