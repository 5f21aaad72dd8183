package io.forkd.kubernetes.operator;

import io.fabric8.kubernetes.api.model.Affinity;
import io.fabric8.kubernetes.api.model.AffinityBuilder;
import io.fabric8.kubernetes.api.model.HasMetadata;
import io.fabric8.kubernetes.api.model.NodeSelectorRequirement;
import io.fabric8.kubernetes.api.model.NodeSelectorRequirementBuilder;
import io.fabric8.kubernetes.api.model.Pod;
import io.fabric8.kubernetes.api.model.PodBuilder;
import io.fabric8.kubernetes.api.model.PreferredSchedulingTerm;
import io.fabric8.kubernetes.api.model.PreferredSchedulingTermBuilder;
import io.fabric8.kubernetes.api.model.Quantity;
import io.fabric8.kubernetes.client.KubernetesClientException;
import io.forkd.kubernetes.resource.Api;
import io.forkd.kubernetes.resource.Names;
import io.forkd.kubernetes.resource.SnapshotTemplate;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;

/**
 * Pods that do nothing and ask for memory of sandboxes: by them Kubernetes's own scheduler says what goes where. Names are
 * made of uids, so that whoever makes one a second time finds it.
 */
final class Reservations {
    private static final Set<String> ENDED = Set.of("Succeeded", "Failed");

    private final Api api;
    private final Cluster cluster;
    private final String namespace;
    private final String image;
    private final String priorityClass;

    Reservations(Api api, Cluster cluster, OperatorOptions options) {
        this.api = api;
        this.cluster = cluster;
        this.namespace = options.namespace();
        this.image = options.reservationImage();
        this.priorityClass = options.priorityClass();
    }

    /** Where it is to go. */
    record Where(Map<String, String> labels, List<String> notOn, Optional<String> only, List<Preference> preferred) {
        /** Of nodes with a label of that value, or of the node of that name. */
        record Preference(int weight, Optional<String> label, String value) {}

        static Where ofTemplate(SnapshotTemplate template) {
            String label = Names.TEMPLATE + template.uid();
            return new Where(
                    Requirements.labels(template),
                    template.nodes().entrySet().stream()
                            .filter(each -> "Failed".equals(each.getValue().state()))
                            .map(Map.Entry::getKey)
                            .sorted()
                            .toList(),
                    Optional.empty(),
                    List.of(
                            new Preference(100, Optional.of(label), Names.WARM),
                            new Preference(50, Optional.of(label), Names.STORED)));
        }

        static Where anywhere() {
            return new Where(Map.of(Names.NODE, "true"), List.of(), Optional.empty(), List.of());
        }

        Where only(String node) {
            return new Where(labels, notOn, Optional.of(node), preferred);
        }

        Where rather(String node) {
            List<Preference> more = new ArrayList<>(preferred);
            more.add(new Preference(100, Optional.empty(), node));
            return new Where(labels, notOn, only, more);
        }
    }

    /** What is reserved: for so many sandboxes of so much memory each. */
    record What(String kind, String name, HasMetadata owner, int places, int memoryMib, String spread) {}

    /** The reservation that counts, which is made if there is none; empty as long as nobody has seen it. */
    Optional<Pod> ensure(What what, Where where) {
        Optional<Pod> pod = cluster.reservation(what.name());
        if (pod.isPresent() && ENDED.contains(phase(pod.get()))) {
            delete(pod.get()); // As one that was evicted. It is made again when it has gone.
            return Optional.empty();
        }
        if (pod.isEmpty()) {
            create(what, where);
        }
        return pod.filter(each -> each.getMetadata().getDeletionTimestamp() == null);
    }

    static Optional<String> node(Pod pod) {
        return Optional.ofNullable(pod.getSpec().getNodeName()).filter(name -> !name.isEmpty());
    }

    static boolean counts(Pod pod) {
        return !ENDED.contains(phase(pod)) && pod.getMetadata().getDeletionTimestamp() == null;
    }

    static int places(Pod pod) {
        return Integer.parseInt(pod.getMetadata().getAnnotations().getOrDefault(Names.PLACES, "1"));
    }

    static boolean isReleased(Pod pod) {
        return pod.getMetadata().getAnnotations().containsKey(Names.RELEASE);
    }

    /** Why the scheduler has found no node. */
    static Optional<String> problem(Pod pod) {
        return pod.getStatus() == null || pod.getStatus().getConditions() == null
                ? Optional.empty()
                : pod.getStatus().getConditions().stream()
                        .filter(each -> each.getType().equals("PodScheduled")
                                && each.getStatus().equals("False"))
                        .map(each -> Objects.requireNonNullElse(each.getMessage(), "no node has room"))
                        .findFirst();
    }

    private static String phase(Pod pod) {
        return pod.getStatus() == null
                ? ""
                : Objects.requireNonNullElse(pod.getStatus().getPhase(), "");
    }

    void delete(String name) {
        cluster.reservation(name).ifPresent(this::delete);
    }

    void delete(Pod pod) {
        try {
            api.client().resource(pod).withGracePeriod(0).delete();
        } catch (KubernetesClientException e) {
            if (e.getCode() != Api.NOT_FOUND) {
                throw e;
            }
        }
    }

    /** The agent deletes it when it covers nothing. */
    void release(Pod pod) {
        var patch = Api.object();
        patch.putObject("metadata").putObject("annotations").put(Names.RELEASE, "true");
        api.patch(pod, patch);
    }

    private void create(What what, Where where) {
        Pod pod = new PodBuilder()
                .withNewMetadata()
                .withName(what.name())
                .withNamespace(namespace)
                .addToLabels(Names.KIND, what.kind())
                .addToLabels(Names.OWNER_UID, what.owner().getMetadata().getUid())
                .addToLabels("forkd.io/spread", what.spread())
                .addToAnnotations(
                        Names.OWNER,
                        what.owner().getMetadata().getNamespace() + "/"
                                + what.owner().getMetadata().getName())
                .addToAnnotations(Names.PLACES, Integer.toString(what.places()))
                .endMetadata()
                .withNewSpec()
                .withPriorityClassName(priorityClass)
                .withTerminationGracePeriodSeconds(0L)
                .withAutomountServiceAccountToken(false)
                .withEnableServiceLinks(false)
                .withAffinity(affinity(where))
                .addNewTopologySpreadConstraint()
                .withMaxSkew(1)
                .withTopologyKey("kubernetes.io/hostname")
                .withWhenUnsatisfiable("ScheduleAnyway")
                .withNewLabelSelector()
                .addToMatchLabels("forkd.io/spread", what.spread())
                .endLabelSelector()
                .endTopologySpreadConstraint()
                .withNewSecurityContext()
                .withRunAsNonRoot(true)
                .withRunAsUser(65535L)
                .withNewSeccompProfile()
                .withType("RuntimeDefault")
                .endSeccompProfile()
                .endSecurityContext()
                .addNewContainer()
                .withName("reservation")
                .withImage(image)
                .withNewSecurityContext()
                .withAllowPrivilegeEscalation(false)
                .withReadOnlyRootFilesystem(true)
                .withNewCapabilities()
                .addToDrop("ALL")
                .endCapabilities()
                .endSecurityContext()
                .withNewResources()
                .addToRequests(Names.SANDBOX_MIB, mib(what))
                .addToLimits(Names.SANDBOX_MIB, mib(what))
                .endResources()
                .endContainer()
                .endSpec()
                .build();
        try {
            api.client().resource(pod).create();
        } catch (KubernetesClientException e) {
            if (e.getCode() != Api.CONFLICT) {
                throw e;
            }
        }
    }

    private static Quantity mib(What what) {
        return new Quantity(Long.toString((long) what.places() * what.memoryMib()));
    }

    private static Affinity affinity(Where where) {
        List<NodeSelectorRequirement> labels = where.labels().entrySet().stream()
                .map(label -> new NodeSelectorRequirementBuilder()
                        .withKey(label.getKey())
                        .withOperator("In")
                        .withValues(label.getValue())
                        .build())
                .toList();
        List<NodeSelectorRequirement> names = new ArrayList<>();
        where.only().ifPresent(node -> names.add(name("In", node)));
        where.notOn().forEach(node -> names.add(name("NotIn", node)));
        List<PreferredSchedulingTerm> preferred = where.preferred().stream()
                .map(each -> {
                    var term = new PreferredSchedulingTermBuilder().withWeight(each.weight());
                    return each.label()
                            .map(label -> term.withNewPreference()
                                    .addNewMatchExpression()
                                    .withKey(label)
                                    .withOperator("In")
                                    .withValues(each.value())
                                    .endMatchExpression()
                                    .endPreference())
                            .orElseGet(() -> term.withNewPreference()
                                    .addToMatchFields(name("In", each.value()))
                                    .endPreference())
                            .build();
                })
                .toList();
        return new AffinityBuilder()
                .withNewNodeAffinity()
                .withNewRequiredDuringSchedulingIgnoredDuringExecution()
                .addNewNodeSelectorTerm()
                .withMatchExpressions(labels)
                .withMatchFields(names)
                .endNodeSelectorTerm()
                .endRequiredDuringSchedulingIgnoredDuringExecution()
                .withPreferredDuringSchedulingIgnoredDuringExecution(preferred)
                .endNodeAffinity()
                .build();
    }

    private static NodeSelectorRequirement name(String operator, String node) {
        return new NodeSelectorRequirementBuilder()
                .withKey("metadata.name")
                .withOperator(operator)
                .withValues(node)
                .build();
    }
}
