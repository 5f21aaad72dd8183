package io.forkd.kubernetes.resource;

import com.fasterxml.jackson.annotation.JsonIgnoreProperties;
import io.fabric8.kubernetes.api.model.Condition;
import io.fabric8.kubernetes.api.model.Namespaced;
import io.fabric8.kubernetes.client.CustomResource;
import io.fabric8.kubernetes.model.annotation.Group;
import io.fabric8.kubernetes.model.annotation.Version;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** Children of a sandbox that runs, all of one instant, on its node; one resource for all. */
@Group(Names.GROUP)
@JsonIgnoreProperties(ignoreUnknown = true)
@Version(Names.VERSION)
public final class SandboxFork extends CustomResource<SandboxFork.Spec, SandboxFork.Status>
        implements Namespaced, Placed {
    /** What is wanted. */
    @JsonIgnoreProperties(ignoreUnknown = true)
    public record Spec(
            Ref sandboxRef, int replicas, @Nullable Long ttlSeconds) {}

    /** How it is. */
    @JsonIgnoreProperties(ignoreUnknown = true)
    public record Status(
            @Nullable String phase,
            @Nullable String nodeName,
            @Nullable String sourceUID,
            @Nullable Integer ready,
            @Nullable List<String> sandboxIDs,
            @Nullable String message,
            @Nullable List<Condition> conditions)
            implements Placed.State {
        static final Status NONE = new Status(null, null, null, null, null, null, null);
    }

    @Override
    protected Spec initSpec() {
        return new Spec(new Ref(""), 0, null);
    }

    @Override
    protected Status initStatus() {
        return Status.NONE;
    }

    @Override
    public Status now() {
        Status status = getStatus();
        return status == null ? Status.NONE : status;
    }
}
