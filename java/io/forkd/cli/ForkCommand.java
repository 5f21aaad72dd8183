package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.agent.AgentAddress;
import io.forkd.agent.AgentClient;
import io.forkd.agent.AgentClient.Evaluation;
import io.forkd.engine.Fork;
import io.forkd.engine.ForkRequest;
import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

@Command(
        name = "fork",
        description = "Forks children of a snapshot and lets them run: for --settle-secs, or until COMMAND or --eval is"
                + " done in each. They end with this command.",
        sortOptions = false)
final class ForkCommand implements Callable<Integer> {
    /**
     * How many children work at a time: enough to keep the processors busy when most of them wait, and few enough that
     * each has its answer ready before its time limit.
     */
    private static final int MAX_PARALLEL = 8 * Runtime.getRuntime().availableProcessors();

    private static final Duration COMMAND_TIMEOUT = Duration.ofSeconds(60);

    private final Shell shell;

    @Mixin
    ForkOptions options = new ForkOptions();

    @Option(
            names = {"-n", "--n"},
            required = true,
            paramLabel = "N",
            description = "How many children, 1 to 10000. They are called <tag>-1 to <tag>-N.")
    int count;

    @Option(
            names = "--settle-secs",
            paramLabel = "S",
            description = "How long the children run. Default: 2, or 0 with --eval or a COMMAND.")
    Optional<Long> settleSecs = Optional.empty();

    @Option(
            names = "--per-child-netns",
            description = "Child i has its network in the namespace forkd-child-i, which must exist.")
    boolean perChildNetns;

    @Option(
            names = "--all-or-nothing",
            description = "When a child does not come up, end all. Otherwise the others are used, and the exit status"
                    + " is 1.")
    boolean allOrNothing;

    @Option(
            names = "--no-keep",
            description = "Use a fork server of its own, and end it with this command. Otherwise one that runs is used,"
                    + " and a new one stays for FORKD_SERVER_IDLE_SECS (60), with FORKD_SERVER_PARKED (0) children"
                    + " forked in advance.")
    boolean noKeep;

    @Option(names = "--eval", paramLabel = "CODE", description = "Evaluate this in the warm interpreter of each child.")
    Optional<String> eval = Optional.empty();

    @Option(names = "--keep-workdir", description = "Keep the children's consoles in /tmp/forkd-fork-<tag>.")
    boolean keepWorkdir;

    @Parameters(
            arity = "0..*",
            paramLabel = "COMMAND",
            description = "After --: a command to run in each child. As --eval, in up to 8 per processor at a time.")
    List<String> command = List.of();

    ForkCommand(Shell shell) {
        this.shell = shell;
    }

    /** What came of --eval or COMMAND in a child. */
    private record Outcome(Fork.Child child, boolean success, String text) {}

    @Override
    public Integer call() {
        check();
        boolean work = eval.isPresent() || !command.isEmpty();
        ForkRequest request = new ForkRequest(
                options.tag,
                count,
                perChildNetns,
                options.memoryLimit(),
                options.volumeConflict,
                !noKeep,
                true,
                keepWorkdir);
        ExecutorService workers = Executors.newFixedThreadPool(Math.min(count, MAX_PARALLEL), ForkCommand::worker);
        try (Fork fork = shell.engine().fork(request, shell)) {
            List<Future<Outcome>> outcomes = new ArrayList<>();
            fork.awaitReady(
                    child -> {
                        report(child, fork.elapsed());
                        if (work) {
                            outcomes.add(workers.submit(() -> work(child)));
                        }
                    },
                    allOrNothing ? Fork::failAll : this::report);
            reportTimes(fork);
            boolean success = true;
            for (Future<Outcome> outcome : outcomes) {
                success &= report(outcome);
            }
            fork.settle(Duration.ofSeconds(settleSecs.orElse(work ? 0L : 2L)));
            int alive = fork.alive();
            reportEnd(alive);
            return success && alive == count ? 0 : 1;
        } finally {
            workers.shutdownNow();
        }
    }

    private void check() {
        options.check(count);
        settleSecs.ifPresent(secs -> MachineOptions.requireRange("--settle-secs", secs, 0, 1_000_000_000));
        if (eval.isPresent() && !command.isEmpty()) {
            throw new ForkdException(Kind.USAGE, "--eval and a command exclude each other");
        }
        if (options.liveFork) {
            shell.warn("--live-fork is not needed: children share the snapshot's memory copy-on-write");
        }
    }

    private static Thread worker(Runnable work) {
        Thread thread = new Thread(work, "child");
        thread.setDaemon(true);
        return thread;
    }

    private Outcome work(Fork.Child child) {
        AgentClient agent = new AgentClient(new AgentAddress.Vsock(child.socket()));
        try {
            if (eval.isPresent()) {
                Evaluation result = agent.eval(eval.get());
                if (result instanceof Evaluation.Value value) {
                    return new Outcome(child, true, value.text());
                }
                return new Outcome(
                        child,
                        false,
                        "Error: " + (result instanceof Evaluation.Failure failure ? failure.error() : ""));
            }
            ByteArrayOutputStream output = new ByteArrayOutputStream();
            int code = agent.exec(command, COMMAND_TIMEOUT, AgentClient.Output.into(output, output));
            String text = output.toString(StandardCharsets.UTF_8).stripTrailing();
            return new Outcome(child, code == 0, code == 0 ? text : (text + "\nexit code " + code).stripLeading());
        } catch (ForkdException e) {
            return new Outcome(child, false, "Error: " + e.sentence());
        }
    }

    private void report(Fork.Child child, Duration elapsed) {
        if (options.json) {
            shell.print(Shell.json()
                    .put("event", "child")
                    .put("name", child.name())
                    .put("pid", child.pid())
                    .put("socket", child.socket().toString())
                    .put("restore_ms", Format.inMillis(child.restore()))
                    .put("elapsed_ms", Format.inMillis(elapsed)));
        } else {
            shell.print(child.name() + "  pid " + child.pid() + "  " + Format.millis(child.restore()) + " ms  "
                    + child.socket());
            shell.out().flush();
        }
    }

    private void report(Fork.Failure failure) {
        if (options.json) {
            shell.print(Shell.json()
                    .put("event", "failed")
                    .put("name", failure.name())
                    .put("reason", failure.reason()));
        } else {
            shell.note("Error: the child " + failure.name() + " did not come up: " + failure.reason());
        }
    }

    private void reportTimes(Fork fork) {
        shell.clear();
        Duration total = fork.elapsed();
        Duration restore = total.minus(fork.serverUp());
        if (options.json) {
            shell.print(Shell.json()
                    .put("event", "ready")
                    .put("server_ms", Format.inMillis(fork.serverUp()))
                    .put("restore_ms", Format.inMillis(restore))
                    .put("total_ms", Format.inMillis(total)));
            return;
        }
        // Scripts look for "total wall-clock:" and take the fourth word.
        shell.print("forkd: fork server up: " + fork.serverUp().toMillis() + " ms");
        shell.print("forkd: " + fork.alive() + " restored: " + restore.toMillis() + " ms");
        shell.print("forkd: total wall-clock: " + total.toMillis() + " ms");
        shell.out().flush();
    }

    private boolean report(Future<Outcome> future) {
        Outcome outcome;
        try {
            outcome = future.get();
        } catch (ExecutionException e) {
            throw new IllegalStateException(e.getCause());
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new ForkdException(Kind.FAILED, "interrupted");
        }
        if (options.json) {
            shell.print(Shell.json()
                    .put("event", "result")
                    .put("name", outcome.child().name())
                    .put("success", outcome.success())
                    .put("result", outcome.text()));
        } else {
            shell.print(outcome.child().name() + ": " + outcome.text());
            shell.out().flush();
        }
        return outcome.success();
    }

    private void reportEnd(int alive) {
        if (options.json) {
            shell.print(Shell.json().put("event", "end").put("alive", alive).put("count", count));
        } else {
            shell.print(alive + " / " + count + " children alive");
        }
    }
}
