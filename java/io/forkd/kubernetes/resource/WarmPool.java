package io.forkd.kubernetes.resource;

import com.fasterxml.jackson.annotation.JsonIgnoreProperties;
import io.fabric8.kubernetes.api.model.Condition;
import io.fabric8.kubernetes.api.model.Namespaced;
import io.fabric8.kubernetes.client.CustomResource;
import io.fabric8.kubernetes.model.annotation.Group;
import io.fabric8.kubernetes.model.annotation.Version;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/** Sandboxes of a template that are ready to be claimed. */
@Group(Names.GROUP)
@JsonIgnoreProperties(ignoreUnknown = true)
@Version(Names.VERSION)
public final class WarmPool extends CustomResource<WarmPool.Spec, WarmPool.Status> implements Namespaced {
    /** What is wanted. */
    @JsonIgnoreProperties(ignoreUnknown = true)
    public record Spec(
            Ref templateRef, int replicas, @Nullable Integer placesPerReservation) {}

    /** How it is. */
    @JsonIgnoreProperties(ignoreUnknown = true)
    public record Status(
            @Nullable Integer replicas,
            @Nullable Integer ready,
            @Nullable Integer claimed,
            @Nullable Map<String, OnNode> nodes,
            @Nullable List<Condition> conditions) {
        static final Status NONE = new Status(null, null, null, null, null);
    }

    /** What a node has of it. */
    @JsonIgnoreProperties(ignoreUnknown = true)
    public record OnNode(@Nullable Integer ready, @Nullable String message) {}

    @Override
    protected Spec initSpec() {
        return new Spec(new Ref(""), 0, null);
    }

    @Override
    protected Status initStatus() {
        return Status.NONE;
    }

    public String uid() {
        return getMetadata().getUid();
    }

    public Map<String, OnNode> nodes() {
        Map<String, OnNode> nodes = getStatus() == null ? null : getStatus().nodes();
        return nodes == null ? Map.of() : nodes;
    }
}
