package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.Limits;
import io.forkd.agent.Agent;
import io.forkd.agent.GuestCommand;
import io.forkd.cli.DaemonClient.Refused;
import io.forkd.engine.BranchRequest;
import io.forkd.engine.DiffRequest;
import io.forkd.engine.NetworkRequest;
import io.forkd.engine.Parallel;
import io.forkd.engine.SpawnRequest;
import io.forkd.engine.VolumeConflict;
import io.forkd.network.NetworkPolicy;
import io.forkd.snapshot.SnapshotTag;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.stream.Stream;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ObjectNode;

/** A daemon, over REST v1. */
record DaemonBackend(DaemonClient daemon) implements Backend {
    private static final String SANDBOXES = "/v1/sandboxes";
    private static final String SNAPSHOTS = "/v1/snapshots";

    private static final Duration LIST = Duration.ofSeconds(10);
    private static final Duration SPAWN = Duration.ofMinutes(10);
    private static final Duration KILL = Duration.ofSeconds(30);

    /** Until a guest of another make answers; ours are made when they do. */
    private static final Duration READY = Duration.ofSeconds(30);

    private static final Duration LEAST_PAUSE = Duration.ofMillis(100);
    private static final Duration MOST_PAUSE = Duration.ofSeconds(2);

    static String sandbox(String id) {
        return SANDBOXES + "/" + DaemonClient.part(id);
    }

    static String snapshot(SnapshotTag tag) {
        return SNAPSHOTS + "/" + tag;
    }

    @Override
    public List<SandboxView> sandboxes() {
        return Answer.all(daemon.get(SANDBOXES + "?ask=true", LIST)).stream()
                .map(SandboxView::of)
                .toList();
    }

    @Override
    public List<SandboxView> spawn(SpawnRequest request) {
        requireNot(request.volumeConflict() != VolumeConflict.FAIL, "--volume-conflict private");
        ObjectNode body = Shell.json()
                .put("snapshot_tag", request.tag().value())
                .put("n", request.count())
                .put("per_child_netns", request.network().own())
                .put("prewarm", false)
                .put("live_fork", false)
                .put("hugepages", false);
        request.network().policy().ifPresent(policy -> body.set("network", policy.toJson()));
        request.memoryLimitMib().ifPresent(mib -> body.put("memory_limit_mib", mib));
        request.limits().put(body);
        return Answer.all(daemon.post(SANDBOXES, body, Optional.of(SPAWN))).stream()
                .map(SandboxView::of)
                .toList();
    }

    /** What REST v1 has no word for. */
    static void requireNot(boolean asked, String option) {
        if (asked) {
            throw new ForkdException(
                    Kind.USAGE, option + " is not for --daemon-url and FORKD_URL: REST v1 has nothing of the kind");
        }
    }

    @Override
    public Agent agent(String id) {
        return new DaemonAgent(daemon, id);
    }

    @Override
    public List<Optional<ForkdException>> kill(List<String> ids) {
        return Parallel.map(ids, this::kill);
    }

    private Optional<ForkdException> kill(String id) {
        try {
            daemon.delete(sandbox(id), KILL);
            return Optional.empty();
        } catch (ForkdException e) {
            return Optional.of(e);
        }
    }

    @Override
    public NetworkPolicy setNetwork(String id, NetworkPolicy policy) {
        ObjectNode body = Shell.json();
        body.set("network", policy.toJson());
        return policy(daemon.put(sandbox(id) + "/network", body, KILL)).orElseThrow();
    }

    @Override
    public Optional<NetworkPolicy> network(String id) {
        return policy(daemon.get(sandbox(id), LIST));
    }

    private static Optional<NetworkPolicy> policy(JsonNode sandbox) {
        JsonNode policy = sandbox.path("network");
        return policy.isMissingNode() || policy.isNull() ? Optional.empty() : Optional.of(NetworkPolicy.of(policy));
    }

    @Override
    public BranchView branch(BranchRequest request) {
        requireNot(request.replace(), "--force");
        requireNot(request.layer() && !request.untilWritten(), "--diff with --no-wait");
        ObjectNode body = Shell.json();
        request.tag().ifPresent(tag -> body.put("tag", tag.value()));
        if (request.layer()) {
            body.put("diff", true);
        }
        if (!request.untilWritten()) {
            body.put("mode", "live").put("wait", false);
        }
        return branch(request.sandbox(), body);
    }

    private BranchView branch(String id, ObjectNode body) {
        Answer made = new Answer(daemon.post(sandbox(id) + "/branch", body, Optional.empty()));
        made.optionalText("warning").ifPresent(daemon::warn);
        SnapshotView info = info(new SnapshotTag(made.text("tag")));
        return new BranchView(
                info.tag(),
                made.text("dir"),
                info.parent(),
                Duration.ofMillis(made.optionalNumber("pause_ms").orElse(0)),
                Optional.empty(),
                made.text("status").equals("ready")
                        ? OptionalLong.of(BranchView.physical(info.files()))
                        : OptionalLong.empty());
    }

    @Override
    public BranchView diff(DiffRequest request) {
        requireNot(request.replace(), "--force");
        String id = spawn(new SpawnRequest(
                        request.from(),
                        1,
                        NetworkRequest.OF_HOST,
                        OptionalLong.empty(),
                        Limits.NONE,
                        VolumeConflict.FAIL))
                .get(0)
                .id();
        try {
            awaitReady(id);
            int code = agent(id)
                    .exec(new GuestCommand(request.command(), Optional.of(request.timeout())), request.output());
            if (code != 0) {
                throw new ForkdException(
                        Kind.FAILED, "the command ended with the exit code " + code + "; no snapshot was made");
            }
            return branch(
                    id,
                    Shell.json()
                            .put("tag", request.tag().value())
                            .put("mode", "diff")
                            .put("parent_tag", request.from().value()));
        } finally {
            kill(id).filter(e -> e.kind() != Kind.NOT_FOUND).ifPresent(e -> daemon.warn(e.sentence()));
        }
    }

    private void awaitReady(String id) {
        long end = System.nanoTime() + READY.toNanos();
        for (Duration pause = LEAST_PAUSE; ; pause = least(pause.multipliedBy(2), MOST_PAUSE)) {
            try {
                agent(id).ping();
                return;
            } catch (Refused e) {
                if (e.status() < 500 || System.nanoTime() + pause.toNanos() > end) {
                    throw e;
                }
            }
            daemon.sleep(pause);
        }
    }

    private static Duration least(Duration a, Duration b) {
        return a.compareTo(b) < 0 ? a : b;
    }

    @Override
    public SnapshotView info(SnapshotTag tag) {
        return SnapshotView.of(new Answer(daemon.get(snapshot(tag) + "/info", LIST)));
    }

    @Override
    public String compact(SnapshotTag from, SnapshotTag to) {
        return new Answer(
                        daemon.post(snapshot(from) + "/compact", Shell.json().put("to", to.value()), Optional.empty()))
                .text("dir");
    }

    @Override
    public Optional<SnapshotTag> anySnapshot() {
        Stream<Answer> usable =
                Answer.all(daemon.get(SNAPSHOTS, LIST)).stream().filter(snapshot -> snapshot.flag("bootable"));
        return usable.findFirst().map(snapshot -> new SnapshotTag(snapshot.text("tag")));
    }

    @Override
    public void remove(SnapshotTag tag) {
        daemon.delete(snapshot(tag), KILL);
    }
}
