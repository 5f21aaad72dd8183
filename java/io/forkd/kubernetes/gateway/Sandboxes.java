package io.forkd.kubernetes.gateway;

import io.fabric8.kubernetes.api.model.ObjectMetaBuilder;
import io.fabric8.kubernetes.client.KubernetesClientException;
import io.forkd.http.HttpCall;
import io.forkd.http.HttpFailure;
import io.forkd.kubernetes.gateway.Directory.Located;
import io.forkd.kubernetes.resource.Api;
import io.forkd.kubernetes.resource.Names;
import io.forkd.kubernetes.resource.Phase;
import io.forkd.kubernetes.resource.Ref;
import io.forkd.kubernetes.resource.Sandbox;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.Set;

/** Makes, suspends and ends resources for callers, each in a namespace, and waits for what comes of it. */
final class Sandboxes {
    /** Names the namespace that an administrator works with. */
    private static final String NAMESPACE = "Forkd-Namespace";

    /** What the API server says of a request, not of itself. */
    private static final Set<Integer> CALLERS = Set.of(403, Api.NOT_FOUND, Api.CONFLICT, Api.INVALID);

    private final Api api;
    private final Directory directory;
    private final GatewayOptions options;

    Sandboxes(Api api, Directory directory, GatewayOptions options) {
        this.api = api;
        this.directory = directory;
        this.options = options;
    }

    /** A user has the namespace of its name. */
    String namespace(HttpCall call) {
        return call.caller().owner().or(() -> call.header(NAMESPACE)).orElse(options.namespace());
    }

    /**
     * The caller's sandbox on its node.
     *
     * @throws HttpFailure 404 when there is none, 409 when it has no node
     */
    Located located(HttpCall call, String id) {
        Optional<Located> found = directory
                .locate(id)
                .or(() -> directory
                        .sandbox(namespace(call), id)
                        .map(each -> Objects.requireNonNullElse(each.now().sandboxID(), ""))
                        .flatMap(directory::locate))
                .filter(each -> each.namespace().equals(namespace(call)));
        return found.orElseThrow(() -> {
            Optional<Sandbox> resource = resource(call, id);
            return resource.isPresent() ? over(id, resource.get()) : notFound(id);
        });
    }

    /** Its resource; empty for a fork's child, and what is not there. */
    Optional<Sandbox> resource(HttpCall call, String id) {
        return directory
                .byId(id)
                .or(() -> directory.sandbox(namespace(call), id))
                .filter(each -> each.getMetadata().getNamespace().equals(namespace(call)));
    }

    static HttpFailure notFound(String id) {
        return new HttpFailure(404, "sandbox " + id + " not found");
    }

    private static HttpFailure over(String id, Sandbox sandbox) {
        String why = Optional.ofNullable(sandbox.now().message())
                .map(text -> ": " + text)
                .orElse("");
        return sandbox.isOver()
                ? new HttpFailure(404, "sandbox " + id + " is " + sandbox.phase() + why)
                : new HttpFailure(409, "sandbox " + id + " is " + sandbox.phase() + why);
    }

    /** Makes one of a WarmPool or SnapshotTemplate of that name, and waits until it runs. */
    Sandbox make(HttpCall call, String source, Optional<String> name, OptionalLong ttl, Map<String, String> annotations)
            throws InterruptedException {
        String namespace = namespace(call);
        boolean isPool = directory.isPool(namespace, source);
        if (!isPool && !directory.isTemplate(namespace, source)) {
            throw new HttpFailure(
                    404, "there is no WarmPool and no SnapshotTemplate " + source + " in namespace " + namespace);
        }
        Ref ref = new Ref(source);
        Sandbox wanted = new Sandbox();
        wanted.setMetadata(new ObjectMetaBuilder()
                .withNamespace(namespace)
                .withName(name.orElse(null))
                .withGenerateName(name.isPresent() ? null : source + "-")
                .withAnnotations(annotations)
                // So that nobody has to add it before the sandbox is placed.
                .withFinalizers(Names.FINALIZER)
                .build());
        wanted.setSpec(new Sandbox.Spec(
                isPool ? null : ref,
                isPool ? ref : null,
                null,
                null,
                null,
                "Running",
                null,
                ttl.isPresent() ? ttl.getAsLong() : null,
                null,
                null,
                null));
        Sandbox made;
        try {
            made = api.client().resource(wanted).create();
        } catch (KubernetesClientException e) {
            throw refused(e);
        }
        call.onCancel(() -> delete(made));
        Optional<Sandbox> seen =
                directory.await(made, each -> each.phase().equals(Phase.RUNNING) || each.isOver(), options.patience());
        if (seen.filter(each -> !each.isOver()).isEmpty()) {
            String why = seen.or(() ->
                            directory.sandbox(namespace, made.getMetadata().getName()))
                    .map(each -> each.now().message())
                    .orElse("it took too long");
            delete(made);
            throw new HttpFailure(503, "the sandbox does not run: " + why);
        }
        return seen.get();
    }

    private static HttpFailure refused(KubernetesClientException e) {
        String why =
                e.getStatus() == null ? "the API server refuses" : e.getStatus().getMessage();
        return new HttpFailure(CALLERS.contains(e.getCode()) ? e.getCode() : 503, why);
    }

    /** Returns when it is so. */
    void operate(HttpCall call, Sandbox sandbox, boolean suspend) throws InterruptedException {
        var patch = Api.object();
        patch.putObject("spec").put("operatingMode", suspend ? "Suspended" : "Running");
        try {
            api.patch(sandbox, patch);
        } catch (KubernetesClientException e) {
            throw refused(e);
        }
        String phase = suspend ? Phase.SUSPENDED : Phase.RUNNING;
        Sandbox now = directory
                .await(sandbox, each -> each.phase().equals(phase) || each.isOver(), options.patience())
                .orElseThrow(() -> new HttpFailure(503, "the sandbox is not " + phase + " yet"));
        if (now.isOver()) {
            throw over(sandbox.getMetadata().getName(), now);
        }
    }

    void delete(Sandbox sandbox) {
        try {
            api.client().resource(sandbox).delete();
        } catch (KubernetesClientException e) {
            if (e.getCode() != Api.NOT_FOUND) {
                throw refused(e);
            }
        }
    }
}
