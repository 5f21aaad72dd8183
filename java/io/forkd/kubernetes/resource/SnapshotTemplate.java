package io.forkd.kubernetes.resource;

import com.fasterxml.jackson.annotation.JsonIgnore;
import com.fasterxml.jackson.annotation.JsonIgnoreProperties;
import io.fabric8.kubernetes.api.model.Condition;
import io.fabric8.kubernetes.api.model.Namespaced;
import io.fabric8.kubernetes.client.CustomResource;
import io.fabric8.kubernetes.model.annotation.Group;
import io.fabric8.kubernetes.model.annotation.Version;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/** What sandboxes are forked from. */
@Group(Names.GROUP)
@JsonIgnoreProperties(ignoreUnknown = true)
@Version(Names.VERSION)
public final class SnapshotTemplate extends CustomResource<SnapshotTemplate.Spec, SnapshotTemplate.Status>
        implements Namespaced {
    /** What is wanted; there is a snapshot or an image. */
    @JsonIgnoreProperties(ignoreUnknown = true)
    public record Spec(
            @Nullable String snapshot,
            @Nullable Image image,
            @Nullable Boolean insecureRegistry,
            int memoryMiB,
            @Nullable Integer warmNodes,
            @Nullable Requires requires) {
        @JsonIgnore
        public boolean isInsecure() {
            return Boolean.TRUE.equals(insecureRegistry);
        }
    }

    /** A container image that a guest is made of, as {@code POST /v1/snapshots} has it. */
    @JsonIgnoreProperties(ignoreUnknown = true)
    public record Image(
            String reference,
            @Nullable Integer memoryMiB,
            @Nullable Integer vcpus,
            @Nullable Integer sizeMiB,
            @Nullable List<String> warm) {}

    /** What a node must have. */
    @JsonIgnoreProperties(ignoreUnknown = true)
    public record Requires(
            @Nullable String kvm,
            @Nullable List<String> cpuFeatures,
            @Nullable Map<String, String> nodeSelector) {}

    /** How it is. */
    @JsonIgnoreProperties(ignoreUnknown = true)
    public record Status(
            @Nullable List<String> warmOn,
            @Nullable Map<String, OnNode> nodes,
            @Nullable Integer warm,
            @Nullable List<Condition> conditions) {
        static final Status NONE = new Status(null, null, null, null);
    }

    /** How it is on one node: {@code Pulling}, {@code Stored}, {@code Warm} or {@code Failed}. */
    @JsonIgnoreProperties(ignoreUnknown = true)
    public record OnNode(@Nullable String state, @Nullable String message) {}

    @Override
    protected Spec initSpec() {
        return new Spec(null, null, null, 0, null, null);
    }

    @Override
    protected Status initStatus() {
        return Status.NONE;
    }

    public String uid() {
        return getMetadata().getUid();
    }

    public List<String> warmOn() {
        List<String> names = getStatus() == null ? null : getStatus().warmOn();
        return names == null ? List.of() : names;
    }

    public Map<String, OnNode> nodes() {
        Map<String, OnNode> nodes = getStatus() == null ? null : getStatus().nodes();
        return nodes == null ? Map.of() : nodes;
    }
}
