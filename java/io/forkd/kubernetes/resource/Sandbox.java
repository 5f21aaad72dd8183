package io.forkd.kubernetes.resource;

import com.fasterxml.jackson.annotation.JsonIgnore;
import com.fasterxml.jackson.annotation.JsonIgnoreProperties;
import com.fasterxml.jackson.databind.JsonNode;
import io.fabric8.kubernetes.api.model.Condition;
import io.fabric8.kubernetes.api.model.Namespaced;
import io.fabric8.kubernetes.client.CustomResource;
import io.fabric8.kubernetes.model.annotation.Group;
import io.fabric8.kubernetes.model.annotation.Plural;
import io.fabric8.kubernetes.model.annotation.Version;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** One sandbox. */
@Group(Names.GROUP)
@JsonIgnoreProperties(ignoreUnknown = true)
@Version(Names.VERSION)
@Plural("sandboxes")
public final class Sandbox extends CustomResource<Sandbox.Spec, Sandbox.Status> implements Namespaced, Placed {
    /** What is wanted; of {@code templateRef}, {@code warmPoolRef}, {@code sandboxRef} and {@code snapshot} there is one. */
    @JsonIgnoreProperties(ignoreUnknown = true)
    public record Spec(
            @Nullable Ref templateRef,
            @Nullable Ref warmPoolRef,
            @Nullable Ref sandboxRef,
            @Nullable String snapshot,
            @Nullable Integer memoryMiB,
            @Nullable String operatingMode,
            @Nullable String suspendTo,
            @Nullable Long ttlSeconds,
            @Nullable String shutdownTime,
            @Nullable JsonNode network,
            @Nullable JsonNode limits) {
        @JsonIgnore
        public boolean isSuspended() {
            return "Suspended".equals(operatingMode);
        }
    }

    /** How it is. */
    @JsonIgnoreProperties(ignoreUnknown = true)
    public record Status(
            @Nullable String phase,
            @Nullable String nodeName,
            @Nullable String sandboxID,
            @Nullable String reservation,
            @Nullable String templateUID,
            @Nullable String poolUID,
            @Nullable Integer memoryMiB,
            @Nullable String snapshot,
            @Nullable String message,
            @Nullable List<Condition> conditions)
            implements Placed.State {
        static final Status NONE = new Status(null, null, null, null, null, null, null, null, null, null);
    }

    /** Its memory is reserved by a Pod of its own. */
    public static final String BY_POD = "Pod";

    /** ... by one of its pool's. */
    public static final String BY_POOL = "Pool";

    @Override
    protected Spec initSpec() {
        return new Spec(null, null, null, null, null, null, null, null, null, null, null);
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

    /** Whether its memory is one of its pool's places. */
    @JsonIgnore
    public boolean isInPool() {
        return BY_POOL.equals(now().reservation()) && !isOver() && node().isPresent();
    }
}
