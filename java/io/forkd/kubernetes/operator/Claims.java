package io.forkd.kubernetes.operator;

import io.fabric8.kubernetes.api.model.Pod;
import io.forkd.kubernetes.resource.Phase;
import io.forkd.kubernetes.resource.Sandbox;
import io.forkd.kubernetes.resource.WarmPool;
import java.util.Comparator;
import java.util.HashMap;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.concurrent.ConcurrentHashMap;
import org.jspecify.annotations.Nullable;

/**
 * Which node's ready sandboxes go to whom. It is counted by reservations, which agents do not promise twice, and not by what
 * agents last said to be ready: that decides only which node is asked first.
 */
final class Claims {
    private final Cluster cluster;

    /** By pool, then by sandbox: nodes that were just given, and that the cache does not show yet. */
    private final Map<String, Map<String, Given>> given = new ConcurrentHashMap<>();

    private record Given(@Nullable String namespace, String name, String node) {}

    Claims(Cluster cluster) {
        this.cluster = cluster;
    }

    /** A node with a free place, which is the sandbox's from now on. */
    synchronized Optional<String> give(WarmPool pool, Sandbox to) {
        Map<String, Integer> free = free(pool);
        Map<String, Integer> starting = new HashMap<>();
        cluster.claimed(pool.uid()).stream()
                .filter(each -> each.phase().equals(Phase.SCHEDULED))
                .forEach(each -> starting.merge(each.node().orElseThrow(), 1, Integer::sum));
        given(pool).values().forEach(each -> starting.merge(each.node(), 1, Integer::sum));
        Optional<String> node = free.entrySet().stream()
                .filter(each -> each.getValue() > 0 && !cluster.isLost(each.getKey()))
                .max(Comparator.comparingInt((Map.Entry<String, Integer> each) ->
                                ready(pool, each.getKey()) - starting.getOrDefault(each.getKey(), 0))
                        .thenComparing(Map.Entry::getValue))
                .map(Map.Entry::getKey);
        node.ifPresent(name -> given(pool)
                .put(
                        to.uid(),
                        new Given(
                                to.getMetadata().getNamespace(),
                                to.getMetadata().getName(),
                                name)));
        return node;
    }

    /** It did not become the sandbox's. */
    synchronized void takeBack(WarmPool pool, Sandbox from) {
        given(pool).remove(from.uid());
    }

    private Map<String, Given> given(WarmPool pool) {
        return given.computeIfAbsent(pool.uid(), uid -> new HashMap<>());
    }

    /** Places of each node that no sandbox has. */
    private Map<String, Integer> free(WarmPool pool) {
        Map<String, Integer> free = new HashMap<>();
        for (Pod pod : cluster.reservationsOf(pool.uid())) {
            if (Reservations.counts(pod) && !Reservations.isReleased(pod)) {
                Reservations.node(pod).ifPresent(node -> free.merge(node, Reservations.places(pod), Integer::sum));
            }
        }
        // What the cache shows counts there, and what has gone does not count.
        given(pool)
                .entrySet()
                .removeIf(each -> cluster.sandbox(
                                each.getValue().namespace(), each.getValue().name())
                        .filter(sandbox -> sandbox.uid().equals(each.getKey())
                                && sandbox.node().isEmpty())
                        .isEmpty());
        for (Sandbox each : cluster.claimed(pool.uid())) {
            free.computeIfPresent(each.node().orElseThrow(), (node, places) -> places - 1);
        }
        given(pool).values().forEach(each -> free.computeIfPresent(each.node(), (node, places) -> places - 1));
        return free;
    }

    private static int ready(WarmPool pool, String node) {
        WarmPool.OnNode on = pool.nodes().get(node);
        return on == null ? 0 : Objects.requireNonNullElse(on.ready(), 0);
    }

    void forget(String poolUid) {
        given.remove(poolUid);
    }
}
