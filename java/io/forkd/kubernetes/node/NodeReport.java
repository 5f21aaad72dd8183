package io.forkd.kubernetes.node;

import com.fasterxml.jackson.databind.node.ObjectNode;
import io.fabric8.kubernetes.api.model.Node;
import io.fabric8.kubernetes.api.model.Quantity;
import io.fabric8.kubernetes.client.dsl.base.PatchContext;
import io.fabric8.kubernetes.client.dsl.base.PatchType;
import io.forkd.kubernetes.resource.Api;
import io.forkd.kubernetes.resource.Names;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.stream.Collectors;

/** What this node has, on its Node: labels, an annotation, and the extended resource that reservations ask for. */
final class NodeReport {
    /** Those that guests are compiled for, or that hosts differ in. */
    private static final List<String> FEATURES = List.of(
            "adx",
            "aes",
            "amx_tile",
            "avx",
            "avx2",
            "avx512_vnni",
            "avx512bw",
            "avx512f",
            "avx512vl",
            "bmi2",
            "erms",
            "fma",
            "gfni",
            "rtm",
            "sha_ni",
            "vaes",
            "vpclmulqdq");

    private static final PatchContext MERGE = PatchContext.of(PatchType.JSON_MERGE);

    private final NodeOptions options;
    private final Api api;

    /** By uid, what is said of a template; empty when nothing is to be. */
    private final Map<String, String> templates = new ConcurrentHashMap<>();

    private boolean isFirst = true;

    NodeReport(NodeOptions options, Api api) {
        this.options = options;
        this.api = api;
    }

    void template(String uid, Optional<String> state) {
        String now = state.orElse("");
        if (!now.equals(templates.put(uid, now))) {
            send();
        }
    }

    /** Says what the Node does not say yet. Labels of templates that nothing is known of go. */
    synchronized void send() {
        Node node = api.client().nodes().withName(options.node()).get();
        if (node == null) {
            return; // The kubelet has not made it yet.
        }
        Map<String, String> had = Objects.requireNonNullElse(node.getMetadata().getLabels(), Map.of());
        Map<String, String> wanted = new TreeMap<>(machine());
        templates.forEach((uid, state) -> {
            if (!state.isEmpty()) {
                wanted.put(Names.TEMPLATE + uid, state);
            }
        });
        ObjectNode labels = Api.object();
        wanted.forEach((key, value) -> {
            if (!value.equals(had.get(key))) {
                labels.put(key, value);
            }
        });
        had.keySet().stream()
                .filter(key -> !wanted.containsKey(key))
                .filter(key -> (key.startsWith(Names.TEMPLATE) && !isFirst) || key.startsWith(Names.CPU_FEATURE))
                .forEach(labels::putNull);
        String address = node.getMetadata().getAnnotations() == null
                ? null
                : node.getMetadata().getAnnotations().get(Names.DAEMON);
        if (!labels.isEmpty() || !options.address().equals(address)) {
            ObjectNode patch = Api.object();
            ObjectNode metadata = patch.putObject("metadata");
            metadata.putObject("annotations").put(Names.DAEMON, options.address());
            metadata.set("labels", labels);
            api.patch(node, patch);
        }
        isFirst = false;
        String mib = Long.toString(options.sandboxMib());
        if (node.getStatus() == null
                || !isThat(node.getStatus().getCapacity(), mib)
                || !isThat(node.getStatus().getAllocatable(), mib)) {
            ObjectNode patch = Api.object();
            ObjectNode status = patch.putObject("status");
            status.putObject("capacity").put(Names.SANDBOX_MIB, mib);
            status.putObject("allocatable").put(Names.SANDBOX_MIB, mib);
            api.client().resource(node).subresource("status").patch(MERGE, patch.toString());
        }
    }

    private boolean isThat(Map<String, Quantity> resources, String mib) {
        Quantity has = resources == null ? null : resources.get(Names.SANDBOX_MIB);
        return has != null && has.getNumericalAmount().longValue() == Long.parseLong(mib);
    }

    private static Map<String, String> machine() {
        Set<String> flags = flags();
        Map<String, String> labels = new TreeMap<>();
        labels.put(Names.NODE, "true");
        labels.put(Names.KVM, flags.contains("vmx") ? "vmx" : flags.contains("svm") ? "svm" : "page-tables");
        FEATURES.stream().filter(flags::contains).forEach(flag -> labels.put(Names.CPU_FEATURE + flag, "true"));
        return labels;
    }

    private static Set<String> flags() {
        try (var lines = Files.lines(Path.of("/proc/cpuinfo"), StandardCharsets.UTF_8)) {
            return lines.filter(line -> line.startsWith("flags"))
                    .findFirst()
                    .map(line -> Arrays.stream(
                                    line.replaceFirst("flags\\s*:", "").strip().split(" +", -1))
                            .collect(Collectors.toSet()))
                    .orElse(Set.of());
        } catch (IOException e) {
            return Set.of();
        }
    }
}
