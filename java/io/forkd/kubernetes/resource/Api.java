package io.forkd.kubernetes.resource;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.fabric8.kubernetes.api.model.Condition;
import io.fabric8.kubernetes.api.model.EventBuilder;
import io.fabric8.kubernetes.api.model.HasMetadata;
import io.fabric8.kubernetes.client.KubernetesClient;
import io.fabric8.kubernetes.client.KubernetesClientException;
import io.fabric8.kubernetes.client.dsl.base.PatchContext;
import io.fabric8.kubernetes.client.dsl.base.PatchType;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.List;
import java.util.Objects;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Writes to the API server: merge patches, so that each writer says what it knows and leaves the rest. */
public final class Api {
    public static final int NOT_FOUND = 404;
    public static final int CONFLICT = 409;
    public static final int INVALID = 422;

    private static final int MOST_MESSAGE = 4096;
    private static final String READY = "Ready";
    private static final Logger LOG = LoggerFactory.getLogger(Api.class);
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final PatchContext MERGE = PatchContext.of(PatchType.JSON_MERGE);

    private final KubernetesClient client;
    private final String component;

    /** @param component whose events it tells */
    public Api(KubernetesClient client, String component) {
        this.client = client;
        this.component = component;
    }

    public KubernetesClient client() {
        return client;
    }

    public static ObjectNode object() {
        return JSON.createObjectNode();
    }

    public static ArrayNode array(List<String> texts) {
        ArrayNode array = JSON.createArrayNode();
        texts.forEach(array::add);
        return array;
    }

    /** Merges into the status, whatever it is now. What is gone is left. */
    public void patchStatus(HasMetadata object, ObjectNode status) {
        patch(object, status, false);
    }

    /**
     * Merges into the status of what is as the object says.
     *
     * @return whether it was
     */
    public boolean patchStatusIfUnchanged(HasMetadata object, ObjectNode status) {
        try {
            patch(object, status, true);
            return true;
        } catch (KubernetesClientException e) {
            if (e.getCode() == CONFLICT) {
                return false;
            }
            throw e;
        }
    }

    private void patch(HasMetadata object, ObjectNode status, boolean unchanged) {
        ObjectNode patch = object();
        // Another object of this name is another's business: the server compares the uid.
        ObjectNode metadata =
                patch.putObject("metadata").put("uid", object.getMetadata().getUid());
        if (unchanged) {
            metadata.put("resourceVersion", object.getMetadata().getResourceVersion());
        }
        patch.set("status", status);
        try {
            client.resource(object).subresource("status").patch(MERGE, patch.toString());
        } catch (KubernetesClientException e) {
            if (e.getCode() != NOT_FOUND && (e.getCode() != CONFLICT || unchanged)) {
                throw e;
            }
        }
    }

    /** Merges into an object. */
    public void patch(HasMetadata object, ObjectNode patch) {
        client.resource(object).patch(MERGE, patch.toString());
    }

    /** Lets go of what is to be deleted. */
    public void removeFinalizer(HasMetadata object) {
        List<String> left = object.getMetadata().getFinalizers().stream()
                .filter(each -> !each.equals(Names.FINALIZER))
                .toList();
        if (left.size() < object.getMetadata().getFinalizers().size()) {
            setFinalizers(object, left);
        }
    }

    /** What is gone, or another one by now, is left. What changed meanwhile will be looked at again. */
    public void setFinalizers(HasMetadata object, List<String> finalizers) {
        ObjectNode patch = object();
        patch.putObject("metadata").put("uid", object.getMetadata().getUid()).set("finalizers", array(finalizers));
        try {
            patch(object, patch);
        } catch (KubernetesClientException e) {
            // 422: finalizers are not added to what is to be deleted.
            if (e.getCode() != NOT_FOUND && e.getCode() != CONFLICT && e.getCode() != INVALID) {
                throw e;
            }
        }
    }

    /** Puts the condition Ready into a status, beside the others that an object had; its time is that of the last change. */
    public static void setReady(
            ObjectNode status,
            HasMetadata of,
            @Nullable List<Condition> had,
            boolean isReady,
            String reason,
            String message) {
        ArrayNode conditions = status.putArray("conditions");
        String since = now();
        for (Condition each : had == null ? List.<Condition>of() : had) {
            if (!each.getType().equals(READY)) {
                conditions.add(JSON.<ObjectNode>valueToTree(each));
            } else if (each.getStatus().equals(text(isReady))) {
                since = each.getLastTransitionTime();
            }
        }
        conditions
                .addObject()
                .put("type", READY)
                .put("status", text(isReady))
                .put("reason", reason)
                .put("message", bounded(message))
                .put("lastTransitionTime", since)
                .put("observedGeneration", of.getMetadata().getGeneration());
    }

    /** Whether the condition Ready says that already. */
    public static boolean saysReady(
            @Nullable List<Condition> conditions, boolean isReady, String reason, String message) {
        return conditions != null
                && conditions.stream()
                        .anyMatch(each -> each.getType().equals(READY)
                                && each.getStatus().equals(text(isReady))
                                && each.getReason().equals(reason)
                                && each.getMessage().equals(bounded(message)));
    }

    /** It may tell of each of a thousand nodes, and the API server refuses one that is too long, with all else. */
    private static String bounded(String message) {
        return message.length() <= MOST_MESSAGE ? message : message.substring(0, MOST_MESSAGE) + " ...";
    }

    private static String text(boolean isTrue) {
        return isTrue ? "True" : "False";
    }

    private static String now() {
        return Instant.now().truncatedTo(ChronoUnit.SECONDS).toString();
    }

    /** Tells an event; when that fails nothing else does. */
    public void event(HasMetadata about, boolean warning, String reason, String message) {
        String namespace = Objects.requireNonNullElse(about.getMetadata().getNamespace(), "default");
        try {
            client.v1()
                    .events()
                    .inNamespace(namespace)
                    .resource(new EventBuilder()
                            .withNewMetadata()
                            .withGenerateName(about.getMetadata().getName() + ".")
                            .withNamespace(namespace)
                            .endMetadata()
                            .withNewInvolvedObject()
                            .withApiVersion(about.getApiVersion())
                            .withKind(about.getKind())
                            .withNamespace(about.getMetadata().getNamespace())
                            .withName(about.getMetadata().getName())
                            .withUid(about.getMetadata().getUid())
                            .endInvolvedObject()
                            .withType(warning ? "Warning" : "Normal")
                            .withReason(reason)
                            .withMessage(message)
                            .withFirstTimestamp(now())
                            .withLastTimestamp(now())
                            .withCount(1)
                            .withNewSource()
                            .withComponent(component)
                            .endSource()
                            .build())
                    .create();
        } catch (KubernetesClientException e) {
            LOG.warn("cannot tell an event of {}: {}", about.getMetadata().getName(), e.getMessage());
        }
    }
}
