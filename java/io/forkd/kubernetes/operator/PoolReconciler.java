package io.forkd.kubernetes.operator;

import com.fasterxml.jackson.databind.node.ObjectNode;
import io.fabric8.kubernetes.api.model.Pod;
import io.forkd.kubernetes.operator.Reservations.What;
import io.forkd.kubernetes.operator.Reservations.Where;
import io.forkd.kubernetes.resource.Api;
import io.forkd.kubernetes.resource.Names;
import io.forkd.kubernetes.resource.SnapshotTemplate;
import io.forkd.kubernetes.resource.WarmPool;
import io.javaoperatorsdk.operator.api.reconciler.Cleaner;
import io.javaoperatorsdk.operator.api.reconciler.Context;
import io.javaoperatorsdk.operator.api.reconciler.DeleteControl;
import io.javaoperatorsdk.operator.api.reconciler.EventSourceContext;
import io.javaoperatorsdk.operator.api.reconciler.Reconciler;
import io.javaoperatorsdk.operator.api.reconciler.UpdateControl;
import io.javaoperatorsdk.operator.processing.event.source.EventSource;
import java.time.Duration;
import java.util.Comparator;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;

/** Reserves what a pool keeps ready and what was claimed of it, several places a Pod. */
final class PoolReconciler implements Reconciler<WarmPool>, Cleaner<WarmPool> {
    private static final Duration AGAIN = Duration.ofSeconds(5);
    private static final int MOST_PLACES = 32;

    /** Reservations of one pool that the scheduler has not placed yet. */
    private static final int MOST_WAITING = 32;

    private final Api api;
    private final Cluster cluster;
    private final Reservations reservations;
    private final Claims claims;

    PoolReconciler(Api api, Cluster cluster, Reservations reservations, Claims claims) {
        this.api = api;
        this.cluster = cluster;
        this.reservations = reservations;
        this.claims = claims;
    }

    @Override
    public List<EventSource<?, WarmPool>> prepareEventSources(EventSourceContext<WarmPool> context) {
        cluster.usePools(context.getPrimaryCache());
        return List.of(cluster.poolTrigger);
    }

    private static int placesEach(WarmPool pool) {
        int replicas = pool.getSpec().replicas();
        return Objects.requireNonNullElseGet(
                pool.getSpec().placesPerReservation(), () -> Math.max(1, Math.min(MOST_PLACES, (replicas + 3) / 4)));
    }

    @Override
    public UpdateControl<WarmPool> reconcile(WarmPool pool, Context<WarmPool> context) {
        String name = pool.getSpec().templateRef().name();
        Optional<SnapshotTemplate> template =
                cluster.template(pool.getMetadata().getNamespace(), name);
        int claimed = cluster.claimed(pool.uid()).size();
        if (template.isEmpty()) {
            tell(pool, 0, claimed, "TemplateNotFound", "there is no SnapshotTemplate " + name);
            return UpdateControl.<WarmPool>noUpdate().rescheduleAfter(AGAIN);
        }
        List<Pod> pods = cluster.reservationsOf(pool.uid()).stream()
                .filter(Reservations::counts)
                .toList();
        pods.stream()
                .filter(pod -> Reservations.node(pod).filter(cluster::isGone).isPresent())
                .forEach(reservations::delete);
        List<Pod> kept = pods.stream()
                .filter(pod -> !Reservations.isReleased(pod))
                .filter(pod -> Reservations.node(pod).filter(cluster::isLost).isEmpty())
                .toList();
        int places = kept.stream().mapToInt(Reservations::places).sum();
        Set<String> nodes = new HashSet<>();
        kept.forEach(pod -> Reservations.node(pod).ifPresent(nodes::add));
        // On each node one place is left for what is made in place of one that is just taken.
        int wanted = pool.getSpec().replicas() == 0
                ? claimed
                : pool.getSpec().replicas() + claimed + Math.max(1, nodes.size());
        int each = placesEach(pool);
        Optional<String> none = TemplateReconciler.whyNoNode(template.get(), cluster.nodes());
        // What a cluster has no room for is not asked for all at once, and what is wanted may change meanwhile.
        long most = none.isPresent()
                ? 0
                : MOST_WAITING
                        - kept.stream()
                                .filter(pod -> Reservations.node(pod).isEmpty())
                                .count();
        int number = 0;
        for (int missing = wanted - places; missing > 0 && most > 0; missing -= each, most--) {
            number = unused(pool, number);
            What what = new What(
                    "pool",
                    Names.poolReservation(pool.uid(), number++),
                    pool,
                    each,
                    template.get().getSpec().memoryMiB(),
                    pool.uid());
            reservations.ensure(what, Where.ofTemplate(template.get()));
        }
        // Twice, so that one claim more or less does not make and end reservations in turn.
        if (places - wanted > (pool.getSpec().replicas() == 0 ? each - 1 : 2 * each)) {
            fullest(pool, kept).ifPresent(this::release);
        }
        Optional<String> problem =
                kept.stream().flatMap(pod -> Reservations.problem(pod).stream()).findFirst();
        tell(
                pool,
                places,
                claimed,
                none.isPresent() ? "NoNode" : problem.isPresent() ? "Unschedulable" : "Reserved",
                none.map(why -> "no node can run SnapshotTemplate " + name + ": " + why)
                        .or(() -> problem)
                        .orElse("its reservations have " + places + " places"));
        return UpdateControl.<WarmPool>noUpdate().rescheduleAfter(AGAIN);
    }

    private int unused(WarmPool pool, int from) {
        int number = from;
        while (cluster.reservation(Names.poolReservation(pool.uid(), number)).isPresent()) {
            number++;
        }
        return number;
    }

    private void release(Pod pod) {
        if (Reservations.node(pod).isEmpty()) {
            reservations.delete(pod);
        } else {
            reservations.release(pod);
        }
    }

    /** What can be spared: what waits for a node, then one of the node with the most places that nobody has. */
    private Optional<Pod> fullest(WarmPool pool, List<Pod> pods) {
        Map<String, Integer> free = new HashMap<>();
        pods.forEach(pod ->
                Reservations.node(pod).ifPresent(node -> free.merge(node, Reservations.places(pod), Integer::sum)));
        cluster.claimed(pool.uid())
                .forEach(sandbox -> free.computeIfPresent(sandbox.node().orElseThrow(), (node, left) -> left - 1));
        return pods.stream()
                .filter(pod -> Reservations.node(pod)
                        .map(node -> free.getOrDefault(node, 0) >= Reservations.places(pod))
                        .orElse(true))
                .max(Comparator.comparingInt(pod -> Reservations.node(pod)
                        .map(node -> free.getOrDefault(node, 0))
                        .orElse(Integer.MAX_VALUE)));
    }

    private void tell(WarmPool pool, int places, int claimed, String reason, String message) {
        int ready = pool.nodes().values().stream()
                .mapToInt(on -> Objects.requireNonNullElse(on.ready(), 0))
                .sum();
        boolean isReady = reason.equals("Reserved") && ready >= pool.getSpec().replicas();
        WarmPool.Status had = pool.getStatus();
        ObjectNode status = Api.object();
        if (had == null || !Objects.equals(had.replicas(), places)) {
            status.put("replicas", places);
        }
        if (had == null || !Objects.equals(had.ready(), ready)) {
            status.put("ready", ready);
        }
        if (had == null || !Objects.equals(had.claimed(), claimed)) {
            status.put("claimed", claimed);
        }
        var conditions = had == null ? null : had.conditions();
        if (!Api.saysReady(conditions, isReady, reason, message)) {
            Api.setReady(status, pool, conditions, isReady, reason, message);
        }
        cluster.forgetGone(status, pool.nodes().keySet());
        if (!status.isEmpty()) {
            api.patchStatus(pool, status);
        }
    }

    /**
     * Agents end what is ready and take their nodes out of the status. A reservation whose places are taken outlives the
     * pool, until those sandboxes are gone.
     */
    @Override
    public DeleteControl cleanup(WarmPool pool, Context<WarmPool> context) {
        for (Pod pod : cluster.reservationsOf(pool.uid())) {
            if (Reservations.node(pod).map(cluster::isGone).orElse(true)) {
                reservations.delete(pod);
            } else if (!Reservations.isReleased(pod)) {
                reservations.release(pod);
            }
        }
        if (pool.nodes().keySet().stream().allMatch(cluster::isGone)) {
            claims.forget(pool.uid());
            return DeleteControl.defaultDelete();
        }
        return DeleteControl.noFinalizerRemoval().rescheduleAfter(AGAIN.toMillis());
    }
}
