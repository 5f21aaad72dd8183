package io.forkd.kubernetes.operator;

import io.fabric8.kubernetes.api.model.Node;
import io.forkd.kubernetes.resource.Names;
import io.forkd.kubernetes.resource.SnapshotTemplate;
import io.forkd.kubernetes.resource.SnapshotTemplate.Requires;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;

/** What a template asks of nodes, as labels that they must have. */
final class Requirements {
    private Requirements() {}

    /** Labels and their values. */
    static Map<String, String> labels(SnapshotTemplate template) {
        Map<String, String> labels = new LinkedHashMap<>();
        labels.put(Names.NODE, "true");
        Requires requires = template.getSpec().requires();
        if (requires == null) {
            return labels;
        }
        if (requires.kvm() != null) {
            labels.put(Names.KVM, requires.kvm());
        }
        if (requires.cpuFeatures() != null) {
            requires.cpuFeatures().forEach(feature -> labels.put(Names.CPU_FEATURE + feature, "true"));
        }
        if (requires.nodeSelector() != null) {
            labels.putAll(requires.nodeSelector());
        }
        return labels;
    }

    /** What a node lacks of it, if anything. */
    static Optional<String> missing(SnapshotTemplate template, Node node) {
        Map<String, String> has = Objects.requireNonNullElse(node.getMetadata().getLabels(), Map.of());
        return labels(template).entrySet().stream()
                .filter(label -> !label.getValue().equals(has.get(label.getKey())))
                .findFirst()
                .map(label -> label.getKey().startsWith(Names.CPU_FEATURE)
                        ? "lacks the processor feature " + label.getKey().substring(Names.CPU_FEATURE.length())
                        : label.getKey().equals(Names.KVM)
                                ? "has the KVM " + has.getOrDefault(Names.KVM, "of an unknown kind") + ", not "
                                        + label.getValue()
                                : label.getKey().equals(Names.NODE)
                                        ? "has no agent of forkd's"
                                        : "has no label " + label.getKey() + "=" + label.getValue());
    }
}
