package io.forkd.kubernetes.operator;

import com.fasterxml.jackson.databind.node.ObjectNode;
import io.fabric8.kubernetes.api.model.Pod;
import io.forkd.kubernetes.operator.Reservations.What;
import io.forkd.kubernetes.operator.Reservations.Where;
import io.forkd.kubernetes.resource.Api;
import io.forkd.kubernetes.resource.Names;
import io.forkd.kubernetes.resource.Phase;
import io.forkd.kubernetes.resource.Ref;
import io.forkd.kubernetes.resource.Sandbox;
import io.forkd.kubernetes.resource.SnapshotTemplate;
import io.forkd.kubernetes.resource.WarmPool;
import io.javaoperatorsdk.operator.api.reconciler.Context;
import io.javaoperatorsdk.operator.api.reconciler.EventSourceContext;
import io.javaoperatorsdk.operator.api.reconciler.Reconciler;
import io.javaoperatorsdk.operator.api.reconciler.UpdateControl;
import io.javaoperatorsdk.operator.processing.event.source.EventSource;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.stream.Collectors;

/**
 * Gives each sandbox a node. What happens there is the node's agent's; a sandbox that has run is never made again, whatever
 * became of it.
 */
final class SandboxReconciler implements Reconciler<Sandbox> {
    private static final Duration FINALIZER_LATER = Duration.ofMillis(300);
    private static final Duration AGAIN = Duration.ofSeconds(2);
    private static final Duration POOL_AGAIN = Duration.ofMillis(200);

    private final Api api;
    private final Cluster cluster;
    private final Reservations reservations;
    private final Claims claims;

    /** Uids of claims that run, and get their finalizer when they are looked at again. */
    private final Set<String> awaited = ConcurrentHashMap.newKeySet();

    SandboxReconciler(Api api, Cluster cluster, Reservations reservations, Claims claims) {
        this.api = api;
        this.cluster = cluster;
        this.reservations = reservations;
        this.claims = claims;
    }

    @Override
    public List<EventSource<?, Sandbox>> prepareEventSources(EventSourceContext<Sandbox> context) {
        cluster.use(context.getPrimaryCache());
        return List.of(cluster.sandboxTrigger);
    }

    /** Also of what is to be deleted, and what has been: the finalizer is seen to here, as a claim is not to wait for it. */
    @Override
    public UpdateControl<Sandbox> reconcile(Sandbox sandbox, Context<Sandbox> context) {
        UpdateControl<Sandbox> control = UpdateControl.noUpdate();
        if (context.isPrimaryResourceDeleted()) {
            awaited.remove(sandbox.uid());
            return control;
        }
        if (sandbox.getMetadata().getDeletionTimestamp() != null) {
            cleanUp(sandbox);
            return control;
        }
        if (sandbox.getMetadata().getFinalizers().contains(Names.FINALIZER)) {
            awaited.remove(sandbox.uid());
        } else if (sandbox.getSpec().warmPoolRef() == null || sandbox.phase().equals(Phase.SUSPENDED)) {
            addFinalizer(sandbox);
        } else if (sandbox.phase().equals(Phase.RUNNING)) {
            // A claim gets it when it has run for a moment: before it would stand in the way of who writes that, and of
            // the
            // first answer. One that is deleted until then its agent ends as one that is not there any more.
            if (awaited.add(sandbox.uid())) {
                return control.rescheduleAfter(FINALIZER_LATER);
            }
            addFinalizer(sandbox);
        }
        place(sandbox).ifPresent(control::rescheduleAfter);
        return control;
    }

    private void addFinalizer(Sandbox sandbox) {
        List<String> finalizers = new ArrayList<>(sandbox.getMetadata().getFinalizers());
        finalizers.add(Names.FINALIZER);
        api.setFinalizers(sandbox, finalizers);
    }

    private void cleanUp(Sandbox sandbox) {
        if (sandbox.node().filter(node -> !cluster.isGone(node)).isPresent()) {
            return; // The agent ends it, and then lets go of the resource.
        }
        reservations.delete(Names.sandboxReservation(sandbox.uid()));
        api.removeFinalizer(sandbox);
    }

    private Optional<Duration> place(Sandbox sandbox) {
        Optional<Duration> left = timeLeft(sandbox);
        if (left.isPresent() && left.get().compareTo(Duration.ZERO) <= 0) {
            api.client().resource(sandbox).delete();
            return Optional.empty();
        }
        if (sandbox.isOver()) {
            if (sandbox.node().filter(cluster::isGone).isPresent()) {
                reservations.delete(Names.sandboxReservation(sandbox.uid()));
            }
            return left;
        }
        if (sandbox.node().filter(cluster::isLost).isPresent()) {
            lost(sandbox);
            return left;
        }
        Optional<Duration> again = sandbox.getSpec().isSuspended() ? suspended(sandbox) : running(sandbox);
        return again.isEmpty() || (left.isPresent() && left.get().compareTo(again.get()) < 0) ? left : again;
    }

    private static Optional<Duration> timeLeft(Sandbox sandbox) {
        return Optional.ofNullable(sandbox.getSpec().shutdownTime())
                .map(time -> Duration.between(Instant.now(), Instant.parse(time)));
    }

    // --- nodes that go ---

    private void lost(Sandbox sandbox) {
        String node = sandbox.node().orElseThrow();
        boolean isGone = cluster.isGone(node);
        switch (sandbox.phase()) {
            case Phase.SUSPENDED -> {
                if (sandbox.now().snapshot() != null) {
                    leave(sandbox, "its node " + node + " is lost; it is in the registry");
                } else if (isGone) {
                    end(sandbox, "it was suspended on node " + node + ", which is gone, and had no suspendTo");
                }
            }
            case Phase.RUNNING -> end(sandbox, "its node " + node + (isGone ? " is gone" : " is not ready"));
            // Nobody was told that it ran.
            default -> leave(sandbox, "its node " + node + " is lost");
        }
    }

    private void leave(Sandbox sandbox, String why) {
        reservations.delete(Names.sandboxReservation(sandbox.uid()));
        ObjectNode status = Api.object()
                .put("phase", sandbox.phase().equals(Phase.SUSPENDED) ? Phase.SUSPENDED : Phase.PENDING)
                .putNull("nodeName")
                .putNull("sandboxID")
                .putNull("reservation")
                .put("message", why);
        api.patchStatusIfUnchanged(sandbox, status);
    }

    private void end(Sandbox sandbox, String why) {
        ObjectNode status = Api.object().put("phase", Phase.LOST).put("message", why);
        condition(sandbox, status, false, "Lost", why);
        if (api.patchStatusIfUnchanged(sandbox, status)) {
            api.event(sandbox, true, "Lost", why);
        }
    }

    // --- what is wanted ---

    private Optional<Duration> suspended(Sandbox sandbox) {
        if (sandbox.node().isEmpty() && sandbox.phase().equals(Phase.PENDING)) {
            reservations.delete(Names.sandboxReservation(sandbox.uid()));
            say(sandbox, "Suspended", "it is made when its operatingMode is Running");
        }
        return Optional.empty();
    }

    private Optional<Duration> running(Sandbox sandbox) {
        boolean isPlaced = sandbox.node().isPresent();
        if (sandbox.phase().equals(Phase.RUNNING)
                || (sandbox.isInPool() && !sandbox.phase().equals(Phase.SUSPENDED))) {
            return Optional.empty();
        }
        Ref pool = sandbox.getSpec().warmPoolRef();
        if (pool != null && !isPlaced && sandbox.phase().equals(Phase.PENDING)) {
            return claim(sandbox, pool);
        }
        return reserve(sandbox);
    }

    private Optional<Duration> claim(Sandbox sandbox, Ref ref) {
        Optional<WarmPool> pool = cluster.pool(sandbox.getMetadata().getNamespace(), ref.name());
        if (pool.isEmpty()) {
            return waiting(sandbox, "WarmPoolNotFound", "there is no WarmPool " + ref.name());
        }
        Optional<SnapshotTemplate> template = cluster.template(
                sandbox.getMetadata().getNamespace(),
                pool.get().getSpec().templateRef().name());
        if (template.isEmpty()) {
            return waiting(
                    sandbox,
                    "TemplateNotFound",
                    "there is no SnapshotTemplate "
                            + pool.get().getSpec().templateRef().name());
        }
        Optional<String> node = claims.give(pool.get(), sandbox);
        if (node.isEmpty()) {
            say(sandbox, "NoneReady", "all places of WarmPool " + ref.name() + " are taken");
            cluster.poolTrigger.fire(pool.get());
            return Optional.of(POOL_AGAIN);
        }
        ObjectNode status = assigned(sandbox, node.get(), Sandbox.BY_POOL)
                .put("poolUID", pool.get().uid())
                .put("templateUID", template.get().uid())
                .put("memoryMiB", template.get().getSpec().memoryMiB());
        boolean isGiven = false;
        try {
            isGiven = api.patchStatusIfUnchanged(sandbox, status);
        } finally {
            if (!isGiven) {
                claims.takeBack(pool.get(), sandbox);
            }
        }
        cluster.fireLater(pool.get());
        return isGiven ? Optional.empty() : Optional.of(POOL_AGAIN);
    }

    private static ObjectNode assigned(Sandbox sandbox, String node, String reservation) {
        return Api.object()
                .put("phase", sandbox.phase().equals(Phase.SUSPENDED) ? Phase.SUSPENDED : Phase.SCHEDULED)
                .put("nodeName", node)
                .put("reservation", reservation)
                .putNull("message");
    }

    private record Needs(Where where, int memoryMib, String spread, Optional<String> templateUid) {}

    private Optional<Duration> reserve(Sandbox sandbox) {
        Optional<Needs> needs = needs(sandbox);
        if (needs.isEmpty()) {
            if (sandbox.node().isEmpty()) { // What was reserved before is for others meanwhile.
                reservations.delete(Names.sandboxReservation(sandbox.uid()));
            }
            return Optional.of(AGAIN);
        }
        What what = new What(
                "sandbox",
                Names.sandboxReservation(sandbox.uid()),
                sandbox,
                1,
                needs.get().memoryMib(),
                needs.get().spread());
        Optional<Pod> pod = reservations.ensure(what, needs.get().where());
        Optional<String> node = pod.flatMap(Reservations::node);
        if (node.isEmpty()) {
            pod.flatMap(Reservations::problem).ifPresent(why -> say(sandbox, "Unschedulable", why));
            // The Pod's next change comes here, but not its source's.
            return sandbox.getSpec().sandboxRef() == null ? Optional.empty() : Optional.of(AGAIN);
        }
        if (!node.equals(sandbox.node())) {
            ObjectNode status = assigned(sandbox, node.get(), Sandbox.BY_POD)
                    .put("memoryMiB", needs.get().memoryMib());
            needs.get().templateUid().ifPresent(uid -> status.put("templateUID", uid));
            api.patchStatusIfUnchanged(sandbox, status);
        }
        return Optional.empty();
    }

    /** Where it may go and what it takes; empty when that cannot be said, which the status tells then. */
    private Optional<Needs> needs(Sandbox sandbox) {
        String namespace = sandbox.getMetadata().getNamespace();
        Sandbox.Spec spec = sandbox.getSpec();
        Integer had = sandbox.now().memoryMiB();
        if (sandbox.phase().equals(Phase.SUSPENDED) && had != null) {
            Where where = Where.anywhere();
            Optional<String> node = sandbox.node();
            if (node.isPresent()) {
                // Its files are there; with a copy in the registry it may go elsewhere when there is no room.
                where = sandbox.now().snapshot() == null ? where.only(node.get()) : where.rather(node.get());
            }
            return Optional.of(new Needs(where, had, "resumed", Optional.empty()));
        }
        if (spec.templateRef() != null) {
            String name = spec.templateRef().name();
            Optional<SnapshotTemplate> template = cluster.template(namespace, name);
            if (template.isEmpty()) {
                say(sandbox, "TemplateNotFound", "there is no SnapshotTemplate " + name);
                return Optional.empty();
            }
            Optional<String> none = TemplateReconciler.whyNoNode(template.get(), cluster.nodes());
            if (none.isPresent()) {
                say(sandbox, "NoNode", "no node can run SnapshotTemplate " + name + ": " + none.get());
                return Optional.empty();
            }
            return Optional.of(new Needs(
                    Where.ofTemplate(template.get()),
                    template.get().getSpec().memoryMiB(),
                    template.get().uid(),
                    Optional.of(template.get().uid())));
        }
        if (spec.sandboxRef() != null) {
            String name = spec.sandboxRef().name();
            Optional<Sandbox> source = cluster.sandbox(namespace, name);
            Integer memory = source.map(each -> each.now().memoryMiB()).orElse(null);
            if (source.isEmpty() || memory == null || !source.get().phase().equals(Phase.RUNNING)) {
                say(
                        sandbox,
                        "SourceNotRunning",
                        "Sandbox " + name
                                + (source.isEmpty()
                                        ? " is not there"
                                        : " is " + source.get().phase()));
                return Optional.empty();
            }
            return Optional.of(new Needs(
                    Where.anywhere().only(source.get().node().orElseThrow()),
                    memory,
                    source.get().uid(),
                    Optional.empty()));
        }
        return Optional.of(new Needs(
                Where.anywhere(), Objects.requireNonNullElse(spec.memoryMiB(), 0), "snapshots", Optional.empty()));
    }

    // --- what is told ---

    private Optional<Duration> waiting(Sandbox sandbox, String reason, String message) {
        say(sandbox, reason, message);
        return Optional.of(AGAIN);
    }

    /** Why it does not run yet. */
    private void say(Sandbox sandbox, String reason, String message) {
        if (Api.saysReady(sandbox.now().conditions(), false, reason, message)) {
            return;
        }
        ObjectNode status = Api.object().put("message", message);
        if (sandbox.now().phase() == null) {
            status.put("phase", Phase.PENDING);
        }
        condition(sandbox, status, false, reason, message);
        if (api.patchStatusIfUnchanged(sandbox, status) && !reason.equals("Suspended") && !reason.equals("NoneReady")) {
            api.event(sandbox, true, reason, message);
        }
    }

    private static void condition(Sandbox sandbox, ObjectNode status, boolean isTrue, String reason, String message) {
        Api.setReady(status, sandbox, sandbox.now().conditions(), isTrue, reason, message);
    }

    static String list(List<String> texts) {
        return texts.stream().sorted().collect(Collectors.joining("; "));
    }
}
