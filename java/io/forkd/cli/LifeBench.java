package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.Limits;
import io.forkd.agent.AgentClient;
import io.forkd.agent.GuestCommand;
import io.forkd.engine.BranchRequest;
import io.forkd.engine.NetworkRequest;
import io.forkd.engine.SpawnRequest;
import io.forkd.engine.VolumeConflict;
import io.forkd.snapshot.SnapshotTag;
import java.io.ByteArrayOutputStream;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.Supplier;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.ObjectNode;

/** A sandbox's life, once: made, asked, branched, its branch forked, and all of it removed. Leaves nothing. */
final class LifeBench {
    private static final Duration COMMAND = Duration.ofSeconds(5);

    private final Backend backend;
    private final SnapshotTag tag;
    private final int count;
    private final boolean ownNetworks;
    private final Map<String, Duration> steps = new LinkedHashMap<>();

    LifeBench(Backend backend, SnapshotTag tag, int count, boolean ownNetworks) {
        this.backend = backend;
        this.tag = tag;
        this.count = count;
        this.ownNetworks = ownNetworks;
    }

    void run() {
        List<String> sandboxes = new ArrayList<>();
        Optional<SnapshotTag> branch = Optional.empty();
        try {
            sandboxes.addAll(timed("spawn 1", () -> spawn(tag, 1)));
            String first = sandboxes.get(0);
            timed("exec", () -> exec(first));
            branch = Optional.of(timed("branch --diff", () -> branch(first)));
            SnapshotTag made = branch.get();
            sandboxes.addAll(timed("spawn " + count + " of the branch", () -> spawn(made, count)));
            timed("kill " + sandboxes.size(), () -> kill(sandboxes));
            sandboxes.clear();
        } finally {
            kill(sandboxes);
            branch.ifPresent(backend::remove);
        }
    }

    private <T> T timed(String step, Supplier<T> job) {
        long start = System.nanoTime();
        T result = job.get();
        steps.put(step, Duration.ofNanos(System.nanoTime() - start));
        return result;
    }

    private List<String> spawn(SnapshotTag of, int number) {
        return backend
                .spawn(new SpawnRequest(of, number, NetworkRequest.own(ownNetworks), Limits.NONE, VolumeConflict.FAIL))
                .stream()
                .map(SandboxView::id)
                .toList();
    }

    private int exec(String id) {
        int code = backend.agent(id)
                .exec(
                        new GuestCommand(List.of("sh", "-c", "echo bench"), Optional.of(COMMAND)),
                        AgentClient.Output.into(new ByteArrayOutputStream(), new ByteArrayOutputStream()));
        if (code != 0) {
            throw new ForkdException(Kind.FAILED, "sh -c 'echo bench' ended with the exit code " + code);
        }
        return code;
    }

    private SnapshotTag branch(String id) {
        String name =
                "bench-" + ProcessHandle.current().pid() + "-" + Instant.now().toEpochMilli();
        return new SnapshotTag(
                backend.branch(new BranchRequest(id, Optional.of(new SnapshotTag(name)), true, false, true))
                        .tag());
    }

    private boolean kill(List<String> ids) {
        backend.kill(ids)
                .forEach(failed -> failed.ifPresent(e -> {
                    throw e;
                }));
        return true;
    }

    private Duration total() {
        return steps.values().stream().reduce(Duration.ZERO, Duration::plus);
    }

    void print(Shell shell) {
        Table table = new Table("STEP", "MS");
        steps.forEach((step, time) -> table.row(step, Format.millis(time)));
        table.row("total", Format.millis(total()));
        table.print(shell);
    }

    ObjectNode json() {
        ObjectNode node =
                Shell.json().put("bench", "life").put("tag", tag.value()).put("children", count);
        ArrayNode all = node.putArray("steps");
        steps.forEach((step, time) -> all.addObject().put("name", step).put("ms", Format.inMillis(time)));
        return node.put("total_ms", Format.inMillis(total()));
    }
}
