package io.forkd.kubernetes.node;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.forkd.kubernetes.node.Daemon.Refused;
import io.forkd.kubernetes.resource.Api;
import io.forkd.kubernetes.resource.Names;
import io.forkd.kubernetes.resource.Phase;
import io.forkd.kubernetes.resource.Sandbox;
import io.forkd.kubernetes.resource.SnapshotTemplate;
import java.io.IOException;
import java.time.Duration;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.Consumer;

/**
 * Makes, suspends, resumes and ends what is assigned to this node. A daemon's sandbox is called after the uid of its resource:
 * so after a kill at any moment it is found again, and never made twice. Once it was told to run it is not made again.
 */
final class Sandboxes {
    private static final Duration SOON = Duration.ofMillis(200);
    private static final Duration CONFLICT = Duration.ofMillis(20);
    private static final String PLAIN = "http://";

    private final Api api;
    private final Daemon daemon;
    private final CommandLine forkd;
    private final Transfers transfers;
    private final Known known;
    private final Templates templates;
    private final Pools pools;
    private final Releases releases;
    private final Consumer<SnapshotTemplate> fetch;

    /** Uids of those that this process told to run, which the cache may not show yet. */
    private final Set<String> told = ConcurrentHashMap.newKeySet();

    /** Uids of those that were asked for once. */
    private final Set<String> tried = ConcurrentHashMap.newKeySet();

    Sandboxes(
            Api api,
            Daemon daemon,
            CommandLine forkd,
            Transfers transfers,
            Known known,
            Templates templates,
            Pools pools,
            Releases releases,
            Consumer<SnapshotTemplate> fetch) {
        this.api = api;
        this.daemon = daemon;
        this.forkd = forkd;
        this.transfers = transfers;
        this.known = known;
        this.templates = templates;
        this.pools = pools;
        this.releases = releases;
        this.fetch = fetch;
    }

    private static String path(String uid) {
        return "/v1/sandboxes/" + Names.local(uid);
    }

    /** Nothing of it is left on this node then, but a reservation: it may be one of a sandbox that is about to come. */
    void remove(String uid) throws IOException {
        daemon.delete(path(uid));
        daemon.delete("/v1/snapshots/" + Names.suspended(uid));
        told.remove(uid);
        tried.remove(uid);
        pools.left(uid);
    }

    private void drop(String uid) throws IOException {
        remove(uid);
        releases.endOf(uid);
    }

    /** The daemon does not list it: the next look asks for it. */
    void doubt(String uid) {
        told.remove(uid);
    }

    Optional<Duration> look(Sandbox sandbox) throws Exception {
        if (sandbox.getMetadata().getDeletionTimestamp() != null) {
            drop(sandbox.uid());
            api.removeFinalizer(sandbox);
            return Optional.empty();
        }
        if (sandbox.isOver()) {
            drop(sandbox.uid());
            return Optional.empty();
        }
        if (sandbox.isInPool() && sandbox.phase().equals(Phase.SCHEDULED) && tried.add(sandbox.uid())) {
            return make(sandbox); // The daemon says when there is one of that name.
        }
        if (told.contains(sandbox.uid())
                && sandbox.phase().equals(Phase.RUNNING)
                && !sandbox.getSpec().isSuspended()
                && isCovered(sandbox)) {
            return Optional.empty(); // What it was told to be it is, until somebody doubts it.
        }
        Optional<JsonNode> there = daemon.find(path(sandbox.uid()));
        if (sandbox.getSpec().isSuspended()) {
            return suspend(sandbox, there, false);
        }
        if (there.isPresent()) {
            return isPaused(there.get()) ? resume(sandbox, there.get()) : runs(sandbox, there.get());
        }
        if (sandbox.phase().equals(Phase.RUNNING) || told.contains(sandbox.uid())) {
            return ended(sandbox);
        }
        return make(sandbox);
    }

    private static boolean isPaused(JsonNode there) {
        return there.path("state").asText().equals("paused");
    }

    // --- it is to run ---

    private boolean isCovered(Sandbox sandbox) {
        return sandbox.isInPool()
                ? known.uncovered(Objects.requireNonNullElse(sandbox.now().poolUID(), "")).stream()
                        .noneMatch(each -> each.uid().equals(sandbox.uid()))
                : !known.reservationsOf(sandbox.uid()).isEmpty();
    }

    /** It does; what is left is to say so, once. */
    private Optional<Duration> runs(Sandbox sandbox, JsonNode there) throws Exception {
        if (sandbox.phase().equals(Phase.RUNNING)) {
            return isCovered(sandbox) ? Optional.empty() : uncovered(sandbox, there);
        }
        if (sandbox.isInPool() && sandbox.getSpec().ttlSeconds() != null) {
            ObjectNode time = Api.object(); // Who took it may have been killed before this.
            time(sandbox, time);
            daemon.put(path(sandbox.uid()) + "/timeout", time);
        }
        ObjectNode status = Api.object()
                .put("phase", Phase.RUNNING)
                .put("sandboxID", there.path("id").asText())
                .putNull("snapshot")
                .putNull("message");
        if (!tell(sandbox, status, true, "Running", "")) {
            return Optional.of(CONFLICT);
        }
        told.add(sandbox.uid());
        return Optional.empty();
    }

    /** Somebody removed its reservation, as a drain of the node does: its memory is going to be another's. */
    private Optional<Duration> uncovered(Sandbox sandbox, JsonNode there) throws Exception {
        if (sandbox.getSpec().suspendTo() != null) {
            return suspend(sandbox, Optional.of(there), true);
        }
        String why = "its reservation was removed";
        ObjectNode status = Api.object().put("phase", Phase.LOST).put("message", why);
        if (!tell(sandbox, status, false, "ReservationRemoved", why)) {
            return Optional.of(CONFLICT);
        }
        api.event(sandbox, true, "ReservationRemoved", why);
        drop(sandbox.uid());
        return Optional.empty();
    }

    private Optional<Duration> ended(Sandbox sandbox) throws IOException {
        String why = "it ended";
        try {
            daemon.get(
                    "/v1/sandboxes/" + Objects.requireNonNullElse(sandbox.now().sandboxID(), "-"));
        } catch (Refused e) {
            why = Objects.requireNonNullElse(e.getMessage(), why); // Which tells of a limit, for a day.
        }
        ObjectNode status = Api.object().put("phase", Phase.ENDED).put("message", why);
        if (!tell(sandbox, status, false, "Ended", why)) {
            return Optional.of(CONFLICT);
        }
        drop(sandbox.uid());
        return Optional.empty();
    }

    private Optional<Duration> resume(Sandbox sandbox, JsonNode there) throws Exception {
        if (!isCovered(sandbox)) {
            // It was wanted again before it was told that it is suspended, and what it had reserved is given up.
            return sandbox.phase().equals(Phase.RUNNING) && !tell(sandbox, suspended(there), false, "Suspended", "")
                    ? Optional.of(CONFLICT)
                    : Optional.empty(); // The reservation comes here when it is bound.
        }
        daemon.post(path(sandbox.uid()) + "/resume", Api.object());
        return runs(sandbox, daemon.get(path(sandbox.uid())));
    }

    private Optional<Duration> make(Sandbox sandbox) throws Exception {
        boolean wasSuspended = sandbox.phase().equals(Phase.SUSPENDED);
        if (wasSuspended && sandbox.now().snapshot() == null) {
            return fail(sandbox, Phase.LOST, "what it was suspended to is not on this node");
        }
        try {
            Optional<JsonNode> made = wasSuspended
                    ? fromRegistry(sandbox, Objects.requireNonNull(sandbox.now().snapshot()), true)
                    : sandbox.isInPool() ? fromPool(sandbox) : alone(sandbox);
            return made.isPresent() ? runs(sandbox, made.get()) : Optional.of(SOON);
        } catch (Refused e) {
            if (e.status() == 409) {
                return Optional.of(SOON); // It was made meanwhile, or something is being done with what it is made of.
            }
            if (e.status() == 404) {
                Optional.ofNullable(sandbox.now().templateUID()).ifPresent(templates::forget);
                return Optional.of(SOON);
            }
            if (e.isFinal()) {
                return fail(sandbox, Phase.FAILED, Objects.requireNonNullElse(e.getMessage(), "it was refused"));
            }
            retrying(sandbox, Objects.requireNonNullElse(e.getMessage(), "it was refused"));
            throw e;
        } catch (IOException e) {
            retrying(sandbox, Objects.requireNonNullElse(e.getMessage(), "it failed"));
            throw e;
        }
    }

    private void retrying(Sandbox sandbox, String why) {
        if (!Api.saysReady(sandbox.now().conditions(), false, "Retrying", why)) {
            tell(sandbox, Api.object().put("message", why), false, "Retrying", why);
        }
    }

    private Optional<Duration> fail(Sandbox sandbox, String phase, String why) throws IOException {
        ObjectNode status = Api.object().put("phase", phase).put("message", why);
        if (!tell(sandbox, status, false, phase, why)) {
            return Optional.of(CONFLICT);
        }
        api.event(sandbox, true, phase, why);
        drop(sandbox.uid());
        return Optional.empty();
    }

    /** Name, labels and time, which a sandbox of any origin has. */
    private static ObjectNode named(Sandbox sandbox) {
        ObjectNode body = Api.object().put("name", Names.local(sandbox.uid()));
        body.putObject("labels").put(Names.UID, sandbox.uid()).put(Names.KIND, "sandbox");
        return body;
    }

    private static ObjectNode body(Sandbox sandbox) {
        ObjectNode body = named(sandbox);
        Sandbox.Spec spec = sandbox.getSpec();
        if (spec.limits() != null) {
            spec.limits().properties().forEach(limit -> body.set(limit.getKey(), limit.getValue()));
        }
        if (spec.network() != null) {
            body.put("per_child_netns", true).set("network", NetworkRules.of(spec.network()));
        }
        time(sandbox, body);
        return body;
    }

    private static void time(Sandbox sandbox, ObjectNode body) {
        Long ttl = sandbox.getSpec().ttlSeconds();
        if (ttl != null) {
            body.put("ttl_secs", ttl);
        }
    }

    private Optional<JsonNode> fromPool(Sandbox sandbox) throws IOException {
        String pool = Objects.requireNonNullElse(sandbox.now().poolUID(), "");
        Optional<JsonNode> taken = pools.take(sandbox, pool, named(sandbox));
        if (taken.isPresent()) {
            return taken;
        }
        if (!isCovered(sandbox)) {
            // Another one has the place: let the operator find one elsewhere.
            api.patchStatusIfUnchanged(
                    sandbox,
                    Api.object()
                            .put("phase", Phase.PENDING)
                            .putNull("nodeName")
                            .putNull("reservation")
                            .putNull("poolUID"));
            return Optional.empty();
        }
        return pools.hasPlace(sandbox, pool) ? fromTemplate(sandbox) : Optional.empty();
    }

    private Optional<JsonNode> alone(Sandbox sandbox) throws Exception {
        if (!isCovered(sandbox)) {
            return Optional.empty();
        }
        if (sandbox.getSpec().sandboxRef() != null) {
            Optional<Sandbox> source = known.sandbox(
                    sandbox.getMetadata().getNamespace(),
                    sandbox.getSpec().sandboxRef().name());
            if (source.isEmpty()) {
                fail(sandbox, Phase.FAILED, "its source is not on this node any more");
                return Optional.empty();
            }
            ObjectNode body = named(sandbox).put("n", 1);
            time(sandbox, body);
            return first(daemon.post(path(source.get().uid()) + "/fork", body));
        }
        if (sandbox.getSpec().snapshot() != null) {
            return fromRegistry(sandbox, sandbox.getSpec().snapshot(), false);
        }
        return fromTemplate(sandbox);
    }

    private Optional<JsonNode> fromTemplate(Sandbox sandbox) throws IOException {
        String uid = Objects.requireNonNullElse(sandbox.now().templateUID(), "");
        Optional<SnapshotTemplate> template = known.template(uid);
        if (template.isEmpty()) {
            // The watch of templates may be behind that of sandboxes.
            if (!known.isTemplate(sandbox.getMetadata().getNamespace(), uid)) {
                fail(sandbox, Phase.FAILED, "its SnapshotTemplate is not there any more");
            }
            return Optional.empty();
        }
        Optional<Long> guestMib = templates.guestMib(uid);
        if (guestMib.isEmpty()) {
            fetch.accept(template.get());
            return Optional.empty();
        }
        ObjectNode body = body(sandbox).put("snapshot_tag", Names.local(uid)).put("n", 1);
        Templates.bound(body, guestMib.get(), template.get().getSpec().memoryMiB());
        return first(daemon.post("/v1/sandboxes", body));
    }

    private Optional<JsonNode> fromRegistry(Sandbox sandbox, String ref, boolean resumes)
            throws IOException, InterruptedException {
        if (!isCovered(sandbox)) {
            return Optional.empty();
        }
        String tag = Names.suspended(sandbox.uid());
        String namespace = sandbox.getMetadata().getNamespace();
        if (!transfers.run(namespace, () -> forkd.pull(withoutScheme(ref), tag, isPlain(ref)))) {
            return Optional.empty();
        }
        ObjectNode body = (resumes ? named(sandbox) : body(sandbox))
                .put("snapshot_tag", tag)
                .put("n", 1);
        if (resumes) {
            time(sandbox, body);
        }
        Templates.bound(
                body,
                Templates.guestMib(daemon.get("/v1/snapshots/" + tag + "/info")),
                Objects.requireNonNullElse(sandbox.now().memoryMiB(), 0));
        return first(daemon.post("/v1/sandboxes", body));
    }

    /** Plain HTTP is for registries that say so in their name: {@code http://host:port/name}. */
    private static boolean isPlain(String ref) {
        return ref.startsWith(PLAIN);
    }

    private static String withoutScheme(String ref) {
        return isPlain(ref) ? ref.substring(PLAIN.length()) : ref;
    }

    private static Optional<JsonNode> first(JsonNode made) {
        return made.isEmpty() ? Optional.empty() : Optional.of(made.get(0));
    }

    // --- it is to be suspended ---

    /** @param moves whether it is to go on elsewhere */
    private Optional<Duration> suspend(Sandbox sandbox, Optional<JsonNode> there, boolean moves) throws Exception {
        if (there.isEmpty()) {
            return notThere(sandbox);
        }
        if (!isPaused(there.get())) {
            daemon.post(path(sandbox.uid()) + "/pause", Api.object());
        } else if (sandbox.phase().equals(Phase.SUSPENDED) && !moves) {
            return Optional.empty();
        }
        ObjectNode status = suspended(there.get());
        String to = sandbox.getSpec().suspendTo();
        if (to != null) {
            String ref = to + ":" + sandbox.uid();
            // What a sandbox was paused to is the folder of a snapshot, of another store.
            Transfers.Transfer push = () -> forkd.push(
                    forkd.data().resolve("paused"), there.get().path("id").asText(), withoutScheme(ref), isPlain(ref));
            if (!transfers.run(sandbox.getMetadata().getNamespace(), push)) {
                return Optional.of(SOON);
            }
            status.put("snapshot", ref);
        }
        releases.endOf(sandbox.uid());
        if (!tell(sandbox, status, false, "Suspended", "")) {
            return Optional.of(CONFLICT);
        }
        told.remove(sandbox.uid());
        return Optional.empty();
    }

    private static ObjectNode suspended(JsonNode there) {
        return Api.object()
                .put("phase", Phase.SUSPENDED)
                .put("sandboxID", there.path("id").asText())
                .put("reservation", Sandbox.BY_POD)
                .putNull("message");
    }

    private Optional<Duration> notThere(Sandbox sandbox) throws IOException {
        return switch (sandbox.phase()) {
            case Phase.RUNNING -> ended(sandbox);
            case Phase.SUSPENDED -> Optional.empty(); // It is in the registry.
            default -> {
                // It was never made, and is not now.
                releases.endOf(sandbox.uid());
                ObjectNode status = Api.object()
                        .put("phase", Phase.PENDING)
                        .putNull("nodeName")
                        .putNull("reservation")
                        .putNull("poolUID");
                yield api.patchStatusIfUnchanged(sandbox, status) ? Optional.empty() : Optional.of(CONFLICT);
            }
        };
    }

    private boolean tell(Sandbox sandbox, ObjectNode status, boolean isReady, String reason, String message) {
        Api.setReady(status, sandbox, sandbox.now().conditions(), isReady, reason, message);
        return api.patchStatusIfUnchanged(sandbox, status);
    }
}
