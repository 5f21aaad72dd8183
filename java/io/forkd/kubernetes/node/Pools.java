package io.forkd.kubernetes.node;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.fabric8.kubernetes.api.model.Pod;
import io.forkd.kubernetes.node.Daemon.Refused;
import io.forkd.kubernetes.resource.Api;
import io.forkd.kubernetes.resource.Names;
import io.forkd.kubernetes.resource.Sandbox;
import io.forkd.kubernetes.resource.SnapshotTemplate;
import io.forkd.kubernetes.resource.WarmPool;
import java.io.IOException;
import java.time.Duration;
import java.util.Comparator;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.Consumer;

/**
 * A pool of the daemon for each WarmPool that has reservations here. What is ready, what was taken and one that may just be
 * made are never more than the reservations have places: a daemon's pool makes another as soon as one is taken, so of one
 * pool the next is taken when its size is right again.
 */
final class Pools {
    /** A daemon's own bound. */
    private static final int MOST = 100;

    private static final Duration SETTLING = Duration.ofMillis(250);
    private static final Duration AGAIN = Duration.ofSeconds(10);

    private final NodeOptions options;
    private final Api api;
    private final Daemon daemon;
    private final Known known;
    private final Releases releases;
    private final Templates templates;
    private final Consumer<SnapshotTemplate> fetch;

    /** Has a pool looked at. */
    private final Consumer<String> again;

    private static final class Local {
        /** What was last asked of the daemon; -1 when that is not known. */
        private int size = -1;

        private final Set<String> taken = new HashSet<>();
    }

    private final Map<String, Local> locals = new ConcurrentHashMap<>();

    Pools(
            NodeOptions options,
            Api api,
            Daemon daemon,
            Known known,
            Releases releases,
            Templates templates,
            Consumer<SnapshotTemplate> fetch,
            Consumer<String> again) {
        this.options = options;
        this.api = api;
        this.daemon = daemon;
        this.known = known;
        this.releases = releases;
        this.templates = templates;
        this.fetch = fetch;
        this.again = again;
    }

    private Local local(String uid) {
        return locals.computeIfAbsent(uid, absent -> new Local());
    }

    /** Uids of those that have places: until nothing of them is left here, whatever the cache shows. */
    private Set<String> takers(String uid, Local local) {
        known.claimed(uid).forEach(each -> local.taken.add(each.uid()));
        // One that was suspended has a reservation of its own when it is resumed.
        local.taken.removeIf(taker -> known.sandbox(taker)
                .filter(each -> !each.isInPool() && !each.isOver())
                .isPresent());
        return new HashSet<>(local.taken);
    }

    /** Nothing of a sandbox is left on this node: its place is another's. */
    void left(String sandboxUid) {
        locals.forEach((uid, local) -> {
            boolean had;
            synchronized (local) {
                had = local.taken.remove(sandboxUid);
            }
            if (had) {
                again.accept(uid);
            }
        });
    }

    /** Whether there is one for a sandbox, now that those are counted that are just being ended. */
    boolean hasPlace(Sandbox sandbox, String uid) {
        Local local = local(uid);
        synchronized (local) {
            Set<String> takers = takers(uid, local);
            takers.add(sandbox.uid());
            return takers.size() <= known.places(uid);
        }
    }

    /**
     * A sandbox of the pool, for whom there is a place.
     *
     * @return empty when there is none, or the pool is not there
     */
    Optional<JsonNode> take(Sandbox sandbox, String uid, ObjectNode body) throws IOException {
        Local local = local(uid);
        synchronized (local) {
            Set<String> takers = takers(uid, local);
            takers.add(sandbox.uid());
            int places = known.places(uid);
            if (takers.size() > places) {
                return Optional.empty();
            }
            if (local.size < 0 || takers.size() - 1 + local.size >= places) {
                // As the one that is made in place of this one needs a place, too.
                resize(uid, local, Math.max(0, places - takers.size()));
            }
            if (local.size <= 0) {
                return Optional.empty();
            }
            JsonNode made = daemon.post("/v1/pools/" + Names.local(uid) + "/take", body);
            local.taken.add(sandbox.uid());
            return Optional.of(made);
        }
    }

    /** The daemon keeps so many ready. */
    private void resize(String uid, Local local, int size) throws IOException {
        int wanted = Math.min(size, MOST);
        if (wanted == local.size) {
            return;
        }
        local.size = -1;
        Optional<SnapshotTemplate> template = template(uid);
        Optional<Long> guestMib = template.flatMap(each -> templates.guestMib(each.uid()));
        if (wanted > 0 && template.isPresent() && guestMib.isEmpty()) {
            fetch.accept(template.get());
        }
        if (wanted == 0 || template.isEmpty() || guestMib.isEmpty()) {
            daemon.delete("/v1/pools/" + Names.local(uid));
            local.size = 0;
            return;
        }
        ObjectNode body = Api.object()
                .put("snapshot_tag", Names.local(template.get().uid()))
                .put("size", wanted);
        body.putObject("labels").put(Names.KIND, "pool");
        Templates.bound(body, guestMib.get(), template.get().getSpec().memoryMiB());
        daemon.put("/v1/pools/" + Names.local(uid), body);
        local.size = wanted;
    }

    private Optional<SnapshotTemplate> template(String uid) {
        return known.pool(uid)
                .flatMap(pool -> known.template(
                        pool.getMetadata().getNamespace(),
                        pool.getSpec().templateRef().name()));
    }

    /** Brings the daemon's pool to what reservations and claims leave. */
    Optional<Duration> look(String uid) throws IOException {
        Optional<WarmPool> pool =
                known.pool(uid).filter(each -> each.getMetadata().getDeletionTimestamp() == null);
        Local local = local(uid);
        List<Pod> reservations = known.reservationsOf(uid);
        Optional<JsonNode> there;
        int ready;
        int most;
        synchronized (local) {
            Set<String> takers = takers(uid, local);
            int places = known.places(uid);
            Optional<Pod> spare = reservations.stream()
                    .filter(pod -> pod.getMetadata().getAnnotations().containsKey(Names.RELEASE))
                    .filter(pod -> places - Known.places(pod) >= takers.size())
                    .min(Comparator.comparingInt(Known::places));
            int left = places - spare.map(Known::places).orElse(0) - takers.size();
            most = pool.isPresent() && pool.get().getSpec().replicas() > 0 ? Math.min(MOST, Math.max(0, left - 1)) : 0;
            there = daemon.find("/v1/pools/" + Names.local(uid));
            ready = there.map(each -> each.path("ready").asInt()).orElse(0);
            // A daemon keeps twice as many as it is to have; so it is to have half of what may be left.
            int size = spare.isPresent() && ready > most ? most / 2 : most;
            boolean isAsked = local.size == size;
            if (!isAsked) {
                try {
                    resize(uid, local, size);
                } catch (Refused e) {
                    pool.ifPresent(each ->
                            tell(each, Optional.of(0), Objects.requireNonNullElse(e.getMessage(), "it was refused")));
                    throw e;
                }
            }
            if (there.isEmpty() && isAsked && size > 0) {
                local.size = -1; // Somebody removed it.
            }
            // What was being made when it was asked is there by now; a daemon that was killed may not have ended all.
            if (spare.isPresent() && isAsked && ready <= most && kept(uid) <= most) {
                releases.end(spare.get());
            }
        }
        String problem = there.map(each -> each.path("problem").asText("")).orElse("");
        boolean isSettled = ready == most && problem.isEmpty();
        if (pool.isPresent() && !reservations.isEmpty()) {
            tell(pool.get(), Optional.of(ready), problem);
        } else {
            known.pool(uid).ifPresent(each -> tell(each, Optional.empty(), ""));
            if (reservations.isEmpty()) {
                locals.remove(uid);
                return Optional.empty();
            }
        }
        return Optional.of(isSettled ? AGAIN : SETTLING);
    }

    /** How many sandboxes are ready for it on this node, whether the daemon still has the pool or not. */
    private long kept(String uid) throws IOException {
        long kept = 0;
        for (JsonNode each : daemon.get("/v1/sandboxes")) {
            JsonNode pool = each.path("pool");
            if (pool.path("name").asText().equals(Names.local(uid))
                    && pool.path("state").asText().equals("ready")) {
                kept++;
            }
        }
        return kept;
    }

    private void tell(WarmPool pool, Optional<Integer> ready, String message) {
        WarmPool.OnNode on = pool.nodes().get(options.node());
        if (ready.isEmpty()
                ? on == null
                : on != null
                        && ready.get().equals(on.ready())
                        && message.equals(Objects.requireNonNullElse(on.message(), ""))) {
            return;
        }
        ObjectNode nodes = Api.object();
        if (ready.isPresent()) {
            nodes.putObject(options.node()).put("ready", ready.get()).put("message", message);
        } else {
            nodes.putNull(options.node());
        }
        ObjectNode status = Api.object();
        status.set("nodes", nodes);
        api.patchStatus(pool, status);
    }
}
