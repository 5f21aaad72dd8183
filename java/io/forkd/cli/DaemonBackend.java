package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.Json;
import io.forkd.Limits;
import io.forkd.agent.Agent;
import io.forkd.agent.AgentAddress;
import io.forkd.agent.GuestCommand;
import io.forkd.agent.GuestMetrics;
import io.forkd.agent.GuestStreams;
import io.forkd.cli.DaemonClient.Refused;
import io.forkd.engine.BranchRequest;
import io.forkd.engine.DiffRequest;
import io.forkd.engine.NetworkRequest;
import io.forkd.engine.Parallel;
import io.forkd.engine.SpawnRequest;
import io.forkd.engine.VolumeConflict;
import io.forkd.image.Work;
import io.forkd.network.NetworkPolicy;
import io.forkd.sandbox.Figures;
import io.forkd.sandbox.Lifetime;
import io.forkd.snapshot.SnapshotTag;
import java.io.OutputStream;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.temporal.ChronoUnit;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.concurrent.atomic.AtomicLong;
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

    /** How often one is looked at that is to end. */
    private static final Duration LOOK = Duration.ofMillis(500);

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
        request.limits().put(body);
        request.lifetime().put(body);
        request.naming().put(body);
        return Answer.all(daemon.post(SANDBOXES, body, Optional.of(SPAWN))).stream()
                .map(SandboxView::of)
                .toList();
    }

    @Override
    public List<SandboxView> fork(String id, SpawnRequest like) {
        ObjectNode body = Shell.json().put("n", like.count());
        like.lifetime().put(body);
        like.naming().put(body);
        return Answer.all(daemon.post(sandbox(id) + "/fork", body, Optional.of(SPAWN))).stream()
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
    public GuestStreams streams(String id) {
        return new GuestStreams(new AgentAddress.Dialled(id + " of " + daemon.url(), new AgentAddress.Dial() {
            @Override
            public SocketChannel connect() {
                return daemon.handOver(sandbox(id) + "/guest", GuestStreams.PROTOCOL);
            }

            @Override
            public boolean isThere() {
                try {
                    daemon.get(sandbox(id), LIST);
                    return true;
                } catch (Refused e) {
                    return e.status() != 404;
                }
            }
        }));
    }

    @Override
    public Agent agent(String id) {
        return new DaemonAgent(daemon, id, streams(id));
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
    public void pause(String id) {
        daemon.post(sandbox(id) + "/pause", Shell.json(), Optional.empty());
    }

    @Override
    public void resume(String id) {
        daemon.post(sandbox(id) + "/resume", Shell.json(), Optional.of(SPAWN));
    }

    @Override
    public void reset(String id) {
        daemon.post(sandbox(id) + "/reset", Shell.json(), Optional.of(SPAWN));
    }

    @Override
    public SandboxView rename(String id, Optional<String> name) {
        ObjectNode body = Shell.json();
        name.ifPresentOrElse(text -> body.put("name", text), () -> body.putNull("name"));
        return SandboxView.of(new Answer(daemon.put(sandbox(id) + "/name", body, KILL)));
    }

    @Override
    public SandboxView label(String id, Map<String, Optional<String>> changes) {
        ObjectNode body = Shell.json();
        ObjectNode labels = body.putObject("labels");
        changes.forEach(
                (key, value) -> value.ifPresentOrElse(text -> labels.put(key, text), () -> labels.putNull(key)));
        return SandboxView.of(new Answer(daemon.put(sandbox(id) + "/labels", body, KILL)));
    }

    @Override
    public void await(String id) {
        // By its id, as its name may be another's by then.
        String path = sandbox(new Answer(daemon.get(sandbox(id), LIST)).text("id"));
        while (true) {
            try {
                daemon.get(path, LIST);
            } catch (Refused e) {
                if (e.status() == 404) {
                    return;
                }
                throw e;
            }
            daemon.sleep(LOOK);
        }
    }

    @Override
    public void logs(String id, OptionalLong tail, boolean follow, OutputStream out) {
        daemon.copy(
                sandbox(id) + "/logs?follow=" + follow + (tail.isPresent() ? "&tail=" + tail.getAsLong() : ""), out);
    }

    @Override
    public Optional<Figures> figures(String id) {
        try {
            Answer answer = new Answer(daemon.get(sandbox(id) + "/metrics", LIST));
            return answer.optionalNumber("cpu_usec").isPresent()
                    ? Optional.of(new Figures(
                            answer.number("cpu_usec"),
                            answer.number("own_bytes"),
                            answer.number("resident_bytes"),
                            (int) answer.number("threads")))
                    : Optional.empty();
        } catch (Refused e) {
            if (e.status() == 404) {
                return Optional.empty(); // It has ended since it was listed.
            }
            throw e;
        }
    }

    @Override
    public Optional<GuestMetrics> guestFigures(String id) {
        try {
            Answer answer = new Answer(
                    daemon.get(sandbox(id) + "/metrics?guest=true", LIST).path("guest"));
            return Optional.of(new GuestMetrics(
                    answer.number("cpus"),
                    answer.number("cpu_usec"),
                    answer.number("memory_bytes"),
                    answer.number("memory_used_bytes"),
                    answer.number("memory_cache_bytes"),
                    answer.number("disk_bytes"),
                    answer.number("disk_used_bytes"),
                    answer.number("processes"),
                    answer.number("uptime_ms")));
        } catch (Refused e) {
            return Optional.empty();
        }
    }

    @Override
    public void setLifetime(String id, Lifetime lifetime) {
        daemon.put(sandbox(id) + "/timeout", lifetime.put(Shell.json()), KILL);
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
    public ImageView snapshot(ImageOrder order, Work work) {
        ObjectNode body = Shell.json()
                .put("tag", order.tag().value())
                .put("image", order.reference())
                .put("force", order.force());
        order.image().put(body);
        order.machine().put(body);
        List<Answer> last = new ArrayList<>();
        AtomicLong done = new AtomicLong();
        daemon.lines(SNAPSHOTS + "?progress=true", body, line -> {
            Answer told = new Answer(Json.parse(line.getBytes(StandardCharsets.UTF_8)));
            last.clear();
            last.add(told);
            show(told, work, done);
        });
        Answer made = last.stream()
                .findFirst()
                .orElseThrow(() -> new ForkdException(Kind.FAILED, "the daemon's answer was cut off"));
        made.optionalText("error").ifPresent(error -> {
            throw daemon.refused((int) made.optionalNumber("status").orElse(500), error);
        });
        return ImageView.of(made);
    }

    /** @param done how many bytes of the step were told of */
    private void show(Answer told, Work work, AtomicLong done) {
        OptionalLong total = told.optionalNumber("bytes_total");
        told.optionalText("step").ifPresent(step -> {
            done.set(0);
            total.ifPresentOrElse(bytes -> work.begin(step, bytes), () -> daemon.step(step));
        });
        told.optionalNumber("bytes_done").ifPresent(bytes -> work.advance(bytes - done.getAndSet(bytes)));
        told.optionalText("note").ifPresent(work::say);
        told.optionalText("warning").ifPresent(daemon::warn);
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
                made.optionalNumber("pause_us").isPresent()
                        ? Duration.of(made.number("pause_us"), ChronoUnit.MICROS)
                        : Duration.ofMillis(made.optionalNumber("pause_ms").orElse(0)),
                made.optionalText("way"),
                Optional.empty(),
                made.text("status").equals("ready")
                        ? OptionalLong.of(BranchView.physical(info.files()))
                        : OptionalLong.empty());
    }

    @Override
    public BranchView diff(DiffRequest request) {
        requireNot(request.replace(), "--force");
        String id = spawn(new SpawnRequest(request.from(), 1, NetworkRequest.OF_HOST, Limits.NONE, VolumeConflict.FAIL))
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
