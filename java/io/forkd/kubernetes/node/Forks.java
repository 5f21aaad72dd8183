package io.forkd.kubernetes.node;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.forkd.kubernetes.node.Daemon.Refused;
import io.forkd.kubernetes.resource.Api;
import io.forkd.kubernetes.resource.Names;
import io.forkd.kubernetes.resource.Phase;
import io.forkd.kubernetes.resource.SandboxFork;
import java.io.IOException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;

/** Makes the children of forks, and ends them. Those of one fork have its uid as a label. */
final class Forks {
    private static final Duration CONFLICT = Duration.ofMillis(20);
    private static final Duration SOON = Duration.ofMillis(200);

    private final Api api;
    private final Daemon daemon;
    private final Known known;
    private final Releases releases;

    /** Uids of those that this process told to run, which the cache may not show yet. */
    private final Set<String> told = ConcurrentHashMap.newKeySet();

    Forks(Api api, Daemon daemon, Known known, Releases releases) {
        this.api = api;
        this.daemon = daemon;
        this.known = known;
        this.releases = releases;
    }

    private List<String> children(String uid) throws IOException {
        List<String> ids = new ArrayList<>();
        daemon.get("/v1/sandboxes?label=" + Names.UID + "=" + uid)
                .forEach(each -> ids.add(each.path("id").asText()));
        return ids;
    }

    /** Nothing of it is left on this node then, but a reservation: it may be one of a fork that is about to come. */
    void remove(String uid) throws IOException {
        for (String id : children(uid)) {
            daemon.delete("/v1/sandboxes/" + id);
        }
        told.remove(uid);
    }

    private void drop(String uid) throws IOException {
        remove(uid);
        releases.endOf(uid);
    }

    Optional<Duration> look(SandboxFork fork) throws IOException {
        if (fork.getMetadata().getDeletionTimestamp() != null) {
            drop(fork.uid());
            api.removeFinalizer(fork);
            return Optional.empty();
        }
        if (fork.isOver()) {
            drop(fork.uid());
            return Optional.empty();
        }
        List<String> children = children(fork.uid());
        if (known.reservationsOf(fork.uid()).isEmpty()) {
            return fork.phase().equals(Phase.RUNNING)
                    ? fail(fork, Phase.LOST, "its reservation was removed")
                    : Optional.empty();
        }
        if (fork.phase().equals(Phase.RUNNING) || told.contains(fork.uid())) {
            if (children.isEmpty()) {
                return fail(fork, Phase.ENDED, "all of its sandboxes have ended");
            }
            return tell(fork, children);
        }
        int wanted = fork.getSpec().replicas();
        if (!children.isEmpty() && children.size() < wanted) {
            remove(fork.uid()); // Who began it was killed, and all are of one instant.
            return Optional.of(SOON);
        }
        if (children.isEmpty()) {
            ObjectNode body = Api.object().put("n", wanted);
            body.putObject("labels").put(Names.UID, fork.uid()).put(Names.KIND, "fork");
            Long ttl = fork.getSpec().ttlSeconds();
            if (ttl != null) {
                body.put("ttl_secs", ttl);
            }
            String source = Names.local(Objects.requireNonNullElse(fork.now().sourceUID(), "-"));
            try {
                for (JsonNode made : daemon.post("/v1/sandboxes/" + source + "/fork", body)) {
                    children.add(made.path("id").asText());
                }
            } catch (Refused e) {
                if (e.isFinal() || e.status() == 404) {
                    return fail(fork, Phase.FAILED, Objects.requireNonNullElse(e.getMessage(), "it was refused"));
                }
                throw e;
            }
        }
        return tell(fork, children);
    }

    private Optional<Duration> tell(SandboxFork fork, List<String> children) {
        List<String> sorted = children.stream().sorted().toList();
        if (fork.phase().equals(Phase.RUNNING) && sorted.equals(fork.now().sandboxIDs())) {
            return Optional.empty();
        }
        ObjectNode status = Api.object()
                .put("phase", Phase.RUNNING)
                .put("ready", sorted.size())
                .putNull("message");
        status.set("sandboxIDs", Api.array(sorted));
        Api.setReady(status, fork, fork.now().conditions(), true, "Running", "");
        if (!api.patchStatusIfUnchanged(fork, status)) {
            return Optional.of(CONFLICT);
        }
        told.add(fork.uid());
        return Optional.empty();
    }

    private Optional<Duration> fail(SandboxFork fork, String phase, String why) throws IOException {
        ObjectNode status = Api.object().put("phase", phase).put("ready", 0).put("message", why);
        status.set("sandboxIDs", Api.array(List.of()));
        Api.setReady(status, fork, fork.now().conditions(), false, phase, why);
        if (!api.patchStatusIfUnchanged(fork, status)) {
            return Optional.of(CONFLICT);
        }
        api.event(fork, true, phase, why);
        drop(fork.uid());
        return Optional.empty();
    }
}
