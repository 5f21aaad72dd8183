package io.forkd.kubernetes.node;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.forkd.kubernetes.resource.Api;
import io.forkd.kubernetes.resource.Names;
import io.forkd.kubernetes.resource.SnapshotTemplate;
import io.forkd.kubernetes.resource.SnapshotTemplate.OnNode;
import java.io.IOException;
import java.time.Duration;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;

/** Has templates on this node: those that the operator wants warm here, and those that a sandbox needs. */
final class Templates {
    private static final String STORED = "Stored";
    private static final String WARM = "Warm";
    private static final String FAILED = "Failed";
    private static final String LIMIT = "memory_limit_mib";

    /** A kept fork server ends when nobody has used it for a while: docs/snapshots.md. */
    private static final Duration WARM_AGAIN = Duration.ofMinutes(5);

    /** When others are fetched. */
    private static final Duration TURN = Duration.ofSeconds(1);

    private final NodeOptions options;
    private final Api api;
    private final Daemon daemon;
    private final CommandLine forkd;
    private final Transfers transfers;
    private final NodeReport report;

    /** What is on the disk, by uid: the memory of a guest in MiB. */
    private final Map<String, Long> ready = new ConcurrentHashMap<>();

    private final Set<String> needed = ConcurrentHashMap.newKeySet();

    Templates(NodeOptions options, Api api, Daemon daemon, CommandLine forkd, Transfers transfers, NodeReport report) {
        this.options = options;
        this.api = api;
        this.daemon = daemon;
        this.forkd = forkd;
        this.transfers = transfers;
        this.report = report;
    }

    /** The memory of its guest in MiB when it is there. */
    Optional<Long> guestMib(String uid) {
        return Optional.ofNullable(ready.get(uid));
    }

    /** From now on it is to be here. */
    void need(SnapshotTemplate template) {
        needed.add(template.uid());
    }

    /** It is not there after all. */
    void forget(String uid) {
        ready.remove(uid);
    }

    /** Whether it is, or is becoming, this node's. */
    boolean isWanted(SnapshotTemplate template) {
        return template.warmOn().contains(options.node()) || needed.contains(template.uid()) || has(template);
    }

    private boolean has(SnapshotTemplate template) {
        return template.nodes().containsKey(options.node());
    }

    Optional<Duration> look(SnapshotTemplate template) throws Exception {
        if (template.getMetadata().getDeletionTimestamp() != null) {
            drop(template.uid());
            if (has(template)) {
                tell(template, Optional.empty(), "");
            }
            return Optional.empty();
        }
        if (!isWanted(template)) {
            return Optional.empty();
        }
        boolean isToBeWarm = template.warmOn().contains(options.node());
        try {
            if (!isHere(template)) {
                if (!isFailed(template)) {
                    tell(template, Optional.of("Pulling"), "");
                }
                if (!transfers.run(template.getMetadata().getNamespace(), () -> fetch(template))) {
                    return Optional.of(TURN);
                }
            }
            if (isToBeWarm) {
                warmUp(template);
            }
        } catch (IOException e) {
            forget(template.uid());
            tell(template, Optional.of(FAILED), Objects.requireNonNullElse(e.getMessage(), "it failed"));
            throw e;
        }
        report.template(template.uid(), Optional.of(isToBeWarm ? Names.WARM : Names.STORED));
        tell(template, Optional.of(isToBeWarm ? WARM : STORED), "");
        return isToBeWarm ? Optional.of(WARM_AGAIN) : Optional.empty();
    }

    private boolean isFailed(SnapshotTemplate template) {
        OnNode on = template.nodes().get(options.node());
        return on != null && FAILED.equals(on.state());
    }

    private boolean isHere(SnapshotTemplate template) throws IOException {
        Optional<JsonNode> info = daemon.find("/v1/snapshots/" + Names.local(template.uid()) + "/info");
        if (info.isEmpty()) {
            return false;
        }
        String status = info.get().path("status").asText();
        if (!status.equals("ready") || info.get().hasNonNull("problem")) {
            daemon.delete("/v1/snapshots/" + Names.local(template.uid())); // Half of it is none.
            return false;
        }
        ready.put(template.uid(), guestMib(info.get()));
        return true;
    }

    /** The memory of a snapshot's guest in MiB. */
    static long guestMib(JsonNode info) {
        return info.path("memory_logical_bytes").asLong() >> 20;
    }

    /** Nobody has more than what is reserved: a guest that has more memory gets a limit, whatever was asked for. */
    static void bound(ObjectNode body, long guestMib, int reservedMib) {
        if (reservedMib < guestMib) {
            body.put(LIMIT, Math.min(body.path(LIMIT).asLong(reservedMib), reservedMib));
        }
    }

    private void fetch(SnapshotTemplate template) throws IOException, InterruptedException {
        String tag = Names.local(template.uid());
        String ref = template.getSpec().snapshot();
        SnapshotTemplate.Image image = template.getSpec().image();
        if (ref != null) {
            forkd.pull(ref, tag, template.getSpec().isInsecure());
        } else if (image != null) {
            ObjectNode body = Api.object().put("tag", tag).put("image", image.reference());
            Optional.ofNullable(image.memoryMiB()).ifPresent(mib -> body.put("memory_mib", mib));
            Optional.ofNullable(image.vcpus()).ifPresent(vcpus -> body.put("vcpus", vcpus));
            Optional.ofNullable(image.sizeMiB()).ifPresent(mib -> body.put("size_mib", mib));
            Optional.ofNullable(image.warm()).ifPresent(warm -> body.set("warm", Api.array(warm)));
            if (template.getSpec().isInsecure()) {
                body.put("insecure_registry", true);
            }
            daemon.post("/v1/snapshots", body);
        }
        if (!isHere(template)) {
            throw new IOException("it was fetched, and is not there");
        }
    }

    /** The first sandbox starts the fork server, which is kept. */
    private void warmUp(SnapshotTemplate template) throws IOException {
        ObjectNode body = Api.object()
                .put("snapshot_tag", Names.local(template.uid()))
                .put("n", 1)
                .put("ttl_secs", 60);
        for (JsonNode made : daemon.post("/v1/sandboxes", body)) {
            daemon.delete("/v1/sandboxes/" + made.path("id").asText());
        }
    }

    /** Nothing of it is left on this node then. */
    void drop(String uid) throws IOException {
        needed.remove(uid);
        ready.remove(uid);
        daemon.delete("/v1/snapshots/" + Names.local(uid));
        report.template(uid, Optional.empty());
    }

    private void tell(SnapshotTemplate template, Optional<String> state, String message) {
        OnNode on = template.nodes().get(options.node());
        if (state.isEmpty()
                ? on == null
                : on != null && state.get().equals(on.state()) && message.equals(on.message())) {
            return;
        }
        ObjectNode nodes = Api.object();
        if (state.isPresent()) {
            nodes.putObject(options.node()).put("state", state.get()).put("message", message);
        } else {
            nodes.putNull(options.node());
        }
        ObjectNode status = Api.object();
        status.set("nodes", nodes);
        api.patchStatus(template, status);
    }
}
