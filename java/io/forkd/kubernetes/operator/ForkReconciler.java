package io.forkd.kubernetes.operator;

import com.fasterxml.jackson.databind.node.ObjectNode;
import io.fabric8.kubernetes.api.model.Pod;
import io.forkd.kubernetes.operator.Reservations.What;
import io.forkd.kubernetes.operator.Reservations.Where;
import io.forkd.kubernetes.resource.Api;
import io.forkd.kubernetes.resource.Names;
import io.forkd.kubernetes.resource.Phase;
import io.forkd.kubernetes.resource.Sandbox;
import io.forkd.kubernetes.resource.SandboxFork;
import io.javaoperatorsdk.operator.api.reconciler.Cleaner;
import io.javaoperatorsdk.operator.api.reconciler.Context;
import io.javaoperatorsdk.operator.api.reconciler.DeleteControl;
import io.javaoperatorsdk.operator.api.reconciler.EventSourceContext;
import io.javaoperatorsdk.operator.api.reconciler.Reconciler;
import io.javaoperatorsdk.operator.api.reconciler.UpdateControl;
import io.javaoperatorsdk.operator.processing.event.source.EventSource;
import java.time.Duration;
import java.util.List;
import java.util.Optional;

/** Has room for all children of a fork on the node of its source, by one reservation. */
final class ForkReconciler implements Reconciler<SandboxFork>, Cleaner<SandboxFork> {
    private static final Duration AGAIN = Duration.ofSeconds(2);

    private final Api api;
    private final Cluster cluster;
    private final Reservations reservations;

    ForkReconciler(Api api, Cluster cluster, Reservations reservations) {
        this.api = api;
        this.cluster = cluster;
        this.reservations = reservations;
    }

    @Override
    public List<EventSource<?, SandboxFork>> prepareEventSources(EventSourceContext<SandboxFork> context) {
        cluster.useForks(context.getPrimaryCache());
        return List.of(cluster.forkTrigger);
    }

    @Override
    public UpdateControl<SandboxFork> reconcile(SandboxFork fork, Context<SandboxFork> context) {
        UpdateControl<SandboxFork> control = UpdateControl.noUpdate();
        return place(fork) ? control : control.rescheduleAfter(AGAIN);
    }

    /** Whether there is nothing to come back for. */
    private boolean place(SandboxFork fork) {
        if (fork.isOver()) {
            if (fork.node().filter(cluster::isGone).isPresent()) {
                reservations.delete(Names.forkReservation(fork.uid()));
            }
            return true;
        }
        if (fork.node().isPresent()) {
            String node = fork.node().get();
            if (cluster.isLost(node)) {
                say(
                        fork,
                        Phase.LOST,
                        "Lost",
                        "its node " + node + (cluster.isGone(node) ? " is gone" : " is not ready"));
            }
            return true;
        }
        String name = fork.getSpec().sandboxRef().name();
        Optional<Sandbox> source = cluster.sandbox(fork.getMetadata().getNamespace(), name);
        Integer memory = source.map(each -> each.now().memoryMiB()).orElse(null);
        if (source.isPresent() && source.get().isOver()) {
            reservations.delete(Names.forkReservation(fork.uid()));
            say(
                    fork,
                    Phase.FAILED,
                    "SourceOver",
                    "Sandbox " + name + " is " + source.get().phase());
            return true;
        }
        if (source.isEmpty() || memory == null || !source.get().phase().equals(Phase.RUNNING)) {
            String state =
                    source.isEmpty() ? " is not there" : " is " + source.get().phase();
            reservations.delete(Names.forkReservation(fork.uid())); // What was reserved before is for others meanwhile.
            say(fork, Phase.PENDING, "SourceNotRunning", "Sandbox " + name + state);
            return false;
        }
        What what = new What(
                "fork",
                Names.forkReservation(fork.uid()),
                fork,
                fork.getSpec().replicas(),
                memory,
                source.get().uid());
        String sourceNode = source.get().node().orElseThrow();
        Optional<Pod> pod = reservations.ensure(what, Where.anywhere().only(sourceNode));
        Optional<String> node = pod.flatMap(Reservations::node);
        if (node.isPresent() && !node.get().equals(sourceNode)) {
            reservations.delete(pod.orElseThrow()); // The source has moved.
            return false;
        }
        if (node.isPresent()) {
            api.patchStatusIfUnchanged(
                    fork,
                    Api.object()
                            .put("phase", Phase.SCHEDULED)
                            .put("nodeName", node.get())
                            .put("sourceUID", source.get().uid()));
        } else {
            pod.flatMap(Reservations::problem).ifPresent(why -> say(fork, Phase.PENDING, "Unschedulable", why));
        }
        return node.isPresent(); // As long as it waits for room its source may go.
    }

    private void say(SandboxFork fork, String phase, String reason, String message) {
        if (phase.equals(fork.now().phase()) && Api.saysReady(fork.now().conditions(), false, reason, message)) {
            return;
        }
        ObjectNode status = Api.object().put("phase", phase).put("message", message);
        Api.setReady(status, fork, fork.now().conditions(), false, reason, message);
        if (api.patchStatusIfUnchanged(fork, status)) {
            api.event(fork, true, reason, message);
        }
    }

    @Override
    public DeleteControl cleanup(SandboxFork fork, Context<SandboxFork> context) {
        if (fork.node().isPresent() && !cluster.isGone(fork.node().get())) {
            return DeleteControl.noFinalizerRemoval();
        }
        reservations.delete(Names.forkReservation(fork.uid()));
        return DeleteControl.defaultDelete();
    }
}
