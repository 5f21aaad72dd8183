package io.forkd.kubernetes.operator;

import com.fasterxml.jackson.databind.node.ObjectNode;
import io.fabric8.kubernetes.api.model.Node;
import io.forkd.kubernetes.resource.Api;
import io.forkd.kubernetes.resource.SnapshotTemplate;
import io.forkd.kubernetes.resource.SnapshotTemplate.OnNode;
import io.javaoperatorsdk.operator.api.reconciler.Cleaner;
import io.javaoperatorsdk.operator.api.reconciler.Context;
import io.javaoperatorsdk.operator.api.reconciler.DeleteControl;
import io.javaoperatorsdk.operator.api.reconciler.EventSourceContext;
import io.javaoperatorsdk.operator.api.reconciler.Reconciler;
import io.javaoperatorsdk.operator.api.reconciler.UpdateControl;
import io.javaoperatorsdk.operator.processing.event.source.EventSource;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.function.Function;

/** Says on which nodes a template is to be warm. */
final class TemplateReconciler implements Reconciler<SnapshotTemplate>, Cleaner<SnapshotTemplate> {
    private static final Duration AGAIN = Duration.ofSeconds(10);

    private final Api api;
    private final Cluster cluster;

    TemplateReconciler(Api api, Cluster cluster) {
        this.api = api;
        this.cluster = cluster;
    }

    @Override
    public List<EventSource<?, SnapshotTemplate>> prepareEventSources(EventSourceContext<SnapshotTemplate> context) {
        cluster.useTemplates(context.getPrimaryCache());
        return List.of(cluster.templateTrigger);
    }

    /** Why a template runs nowhere, node by node, if that is so. */
    static Optional<String> whyNoNode(SnapshotTemplate template, List<Node> nodes) {
        List<String> problems = new ArrayList<>();
        for (Node node : nodes) {
            String name = node.getMetadata().getName();
            OnNode on = template.nodes().get(name);
            Optional<String> why = Requirements.missing(template, node)
                    .or(() -> Optional.ofNullable(on)
                            .filter(each -> "Failed".equals(each.state()))
                            .map(each -> Objects.requireNonNullElse(each.message(), "failed")));
            if (why.isEmpty()) {
                return Optional.empty();
            }
            problems.add(name + " " + why.get());
        }
        return Optional.of(problems.isEmpty() ? "there is no node" : SandboxReconciler.list(problems));
    }

    @Override
    public UpdateControl<SnapshotTemplate> reconcile(SnapshotTemplate template, Context<SnapshotTemplate> context) {
        List<Node> nodes = cluster.nodes();
        Function<String, Long> load = cluster.warmTemplates();
        List<String> candidates = nodes.stream()
                .filter(Cluster::isUsable)
                .filter(node -> Requirements.missing(template, node).isEmpty())
                .map(node -> node.getMetadata().getName())
                .filter(name -> !"Failed".equals(state(template, name)))
                .toList();
        int wanted = Objects.requireNonNullElse(template.getSpec().warmNodes(), 1);
        List<String> warmOn = new ArrayList<>(template.warmOn().stream()
                .filter(candidates::contains)
                .limit(wanted)
                .toList());
        candidates.stream()
                .filter(name -> !warmOn.contains(name))
                .sorted(Comparator.comparing(load).thenComparing(name -> (template.uid() + name).hashCode()))
                .limit(wanted - warmOn.size())
                .forEach(warmOn::add);

        long warm = warmOn.stream()
                .filter(name -> "Warm".equals(state(template, name)))
                .count();
        Optional<String> none = whyNoNode(template, nodes);
        boolean isReady = warm > 0 && warm >= Math.min(wanted, candidates.size());
        String reason = isReady ? "Warm" : none.isPresent() ? "NoNode" : "Pulling";
        String message = none.map(why -> "no node can run it: " + why)
                .orElse(warm + " of " + wanted + " nodes have it warm"
                        + (candidates.size() < wanted ? "; only " + candidates.size() + " can" : ""));

        ObjectNode status = Api.object();
        if (!warmOn.equals(template.warmOn())) {
            status.set("warmOn", Api.array(warmOn));
        }
        Integer had = template.getStatus() == null ? null : template.getStatus().warm();
        if (!Objects.equals(had, (int) warm)) {
            status.put("warm", (int) warm);
        }
        var conditions =
                template.getStatus() == null ? null : template.getStatus().conditions();
        boolean isNews = !Api.saysReady(conditions, isReady, reason, message);
        if (isNews) {
            Api.setReady(status, template, conditions, isReady, reason, message);
        }
        cluster.forgetGone(status, template.nodes().keySet());
        if (!status.isEmpty()) {
            api.patchStatus(template, status);
        }
        if (isNews && none.isPresent()) {
            api.event(template, true, reason, message);
        }
        return UpdateControl.<SnapshotTemplate>noUpdate().rescheduleAfter(AGAIN);
    }

    private static String state(SnapshotTemplate template, String node) {
        OnNode on = template.nodes().get(node);
        return on == null ? "" : Objects.requireNonNullElse(on.state(), "");
    }

    /** Each agent takes its node out of the status when nothing of it is left there. */
    @Override
    public DeleteControl cleanup(SnapshotTemplate template, Context<SnapshotTemplate> context) {
        if (template.nodes().keySet().stream().allMatch(cluster::isGone)) {
            return DeleteControl.defaultDelete();
        }
        return DeleteControl.noFinalizerRemoval().rescheduleAfter(AGAIN.toMillis());
    }
}
