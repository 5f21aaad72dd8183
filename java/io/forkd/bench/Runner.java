package io.forkd.bench;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.Limits;
import io.forkd.agent.AgentAddress;
import io.forkd.agent.AgentClient;
import io.forkd.agent.AgentClient.Evaluation;
import io.forkd.engine.Call;
import io.forkd.engine.Engine;
import io.forkd.engine.Fork;
import io.forkd.engine.ForkRequest;
import io.forkd.engine.NetworkRequest;
import io.forkd.engine.VolumeConflict;
import io.forkd.snapshot.SnapshotTag;
import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/** Measures a snapshot. Each round begins with a new fork server, and its children end with it. */
public final class Runner {
    private static final Duration IDLE = Duration.ofSeconds(2);
    private static final Duration COMMAND = Duration.ofSeconds(60);
    private static final String MILLIS = "ms";
    private static final String KIB = "KiB";

    private final Engine engine;
    private final Call call;
    private final SnapshotTag tag;
    private final int rounds;

    /** Samples by series, in the order in which the series are shown. */
    private final Map<String, List<Double>> samples = new LinkedHashMap<>();

    private final Map<String, String> units = new LinkedHashMap<>();

    public Runner(Engine engine, Call call, SnapshotTag tag, int rounds) {
        this.engine = engine;
        this.call = call;
        this.tag = tag;
        this.rounds = rounds;
    }

    /** {@code count} children at once: until the first and until the last of them is ready. */
    public Report fork(int count) {
        return forkRounds(Benchmark.FORK, count);
    }

    public Report restore() {
        return forkRounds(Benchmark.RESTORE, 1);
    }

    private Report forkRounds(Benchmark benchmark, int count) {
        for (int round = 0; round <= rounds; round++) {
            List<Duration> ready = new ArrayList<>();
            try (Fork fork = start(count, true)) {
                Duration up = fork.serverUp();
                fork.awaitReady(child -> ready.add(fork.elapsed().minus(up)));
                Duration last = ready.get(count - 1);
                if (round == 0) {
                    continue; // a warm-up
                }
                add("fork server up", MILLIS, millis(up));
                if (benchmark == Benchmark.RESTORE) {
                    add("child ready after that", MILLIS, millis(last));
                    add("from nothing to ready", MILLIS, millis(up.plus(last)));
                } else {
                    add("first child ready", MILLIS, millis(ready.get(0)));
                    add("all children ready", MILLIS, millis(last));
                    add("for each child", MILLIS, millis(last) / count);
                }
            }
        }
        return report(benchmark, count);
    }

    /** Memory and CPU time of {@code count} children that do nothing. */
    public Report idle(int count) {
        for (int round = 0; round < rounds; round++) {
            double available = ProcessFigures.availableKib();
            try (Fork fork = start(count, true)) {
                List<Integer> pids = new ArrayList<>();
                fork.awaitReady(child -> pids.add(child.pid()));
                fork.settle(IDLE);
                add("of the machine's memory, a child", KIB, (available - ProcessFigures.availableKib()) / count);
                List<Double> before =
                        pids.stream().map(ProcessFigures::cpuMillis).toList();
                long from = System.nanoTime();
                fork.settle(IDLE);
                double seconds = (System.nanoTime() - from) / 1e9;
                for (int i = 0; i < count; i++) {
                    int pid = pids.get(i);
                    add("proportional memory (Pss)", KIB, ProcessFigures.pssKib(pid));
                    add("private memory", KIB, ProcessFigures.privateKib(pid));
                    add("CPU time", "ms a second", (ProcessFigures.cpuMillis(pid) - before.get(i)) / seconds);
                }
            }
        }
        return report(Benchmark.IDLE, count);
    }

    /**
     * An expression in the warm interpreter, and in one that {@code python3 -c} starts and that has to run
     * {@code setup} first; in turn, in one child. Then the expression as the first that a child is asked.
     */
    public Report eval(String expression, String setup) {
        try (Fork fork = start(1, true)) {
            AgentClient agent = agent(only(fork));
            List<String> command =
                    List.of("python3", "-c", (setup.isEmpty() ? "" : setup + "\n") + "print(repr(" + expression + "))");
            for (int round = 0; round <= rounds; round++) {
                call.step("round " + round + " of " + rounds);
                double warm = time(() -> evaluate(agent, expression));
                double fresh = time(() -> execute(agent, command));
                if (round > 0) { // the first is a warm-up
                    add("eval, warm interpreter", MILLIS, warm);
                    add("exec python3 -c", MILLIS, fresh);
                    add("exec to eval", "times", fresh / warm);
                }
            }
        }
        firstEvals(expression);
        return report(Benchmark.EVAL, 1);
    }

    /** In fresh children, without and with the working set, in turn. */
    private void firstEvals(String expression) {
        for (int round = 0; round <= rounds; round++) {
            call.step("first eval, round " + round + " of " + rounds);
            for (boolean prepare : new boolean[] {false, true}) {
                try (Fork fork = start(1, prepare)) {
                    Fork.Child child = only(fork);
                    double before = ProcessFigures.guestFaults(child.pid());
                    double time = time(() -> evaluate(agent(child), expression));
                    double faults = ProcessFigures.guestFaults(child.pid()) - before;
                    if (round > 0) { // the first is a warm-up
                        String how = prepare ? ", working set" : ", nothing prepared";
                        add("first eval" + how, MILLIS, time);
                        add("page faults of it" + how, "count", faults);
                    }
                }
            }
        }
    }

    private static Fork.Child only(Fork fork) {
        List<Fork.Child> children = new ArrayList<>();
        fork.awaitReady(children::add);
        return children.get(0);
    }

    private static AgentClient agent(Fork.Child child) {
        return new AgentClient(new AgentAddress.Vsock(child.socket()));
    }

    private static void evaluate(AgentClient agent, String expression) {
        if (agent.eval(expression, Optional.of(COMMAND)) instanceof Evaluation.Failure failure) {
            throw new ForkdException(Kind.FAILED, "the expression failed in the guest: " + failure.error());
        }
    }

    private static void execute(AgentClient agent, List<String> command) {
        ByteArrayOutputStream errors = new ByteArrayOutputStream();
        int code = agent.exec(command, COMMAND, new AgentClient.Output() {
            @Override
            public void stdout(byte[] bytes) {}

            @Override
            public void stderr(byte[] bytes) {
                errors.writeBytes(bytes);
            }
        });
        if (code != 0) {
            throw new ForkdException(
                    Kind.FAILED,
                    "python3 -c failed in the guest with exit code " + code,
                    errors.toString(StandardCharsets.UTF_8).stripTrailing());
        }
    }

    private static double time(Runnable work) {
        long from = System.nanoTime();
        work.run();
        return millis(Duration.ofNanos(System.nanoTime() - from));
    }

    private Fork start(int count, boolean prepare) {
        return engine.fork(
                new ForkRequest(
                        tag, count, NetworkRequest.OF_HOST, Limits.NONE, VolumeConflict.PRIVATE, false, prepare, false),
                call);
    }

    private void add(String series, String unit, double value) {
        samples.computeIfAbsent(series, name -> new ArrayList<>()).add(value);
        units.put(series, unit);
    }

    private Report report(Benchmark benchmark, int count) {
        List<Series> series = samples.entrySet().stream()
                .map(entry -> new Series(entry.getKey(), units.getOrDefault(entry.getKey(), ""), entry.getValue()))
                .toList();
        return Report.of(benchmark, tag, count, rounds, series);
    }

    private static double millis(Duration time) {
        return time.toNanos() / 1e6;
    }
}
