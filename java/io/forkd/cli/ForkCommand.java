package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.agent.AgentAddress;
import io.forkd.agent.AgentClient;
import io.forkd.agent.AgentClient.Evaluation;
import io.forkd.agent.CommandFailed;
import io.forkd.agent.GuestAddress;
import io.forkd.agent.GuestCommand;
import io.forkd.agent.GuestStreams;
import io.forkd.agent.PortForward;
import io.forkd.engine.Fork;
import io.forkd.engine.ForkRequest;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletionService;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorCompletionService;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.atomic.AtomicInteger;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;
import tools.jackson.databind.node.ObjectNode;

@Command(
        name = "fork",
        description =
                "Forks children of a snapshot and lets them run: for --settle-secs, or until COMMAND or --eval is"
                        + " done in each. They end with this command. forkd fork ID forks sandboxes of one that runs: forkd fork ID --help.",
        sortOptions = false)
final class ForkCommand implements Callable<Integer> {
    /**
     * How many children work at a time: enough to keep the processors busy when most of them wait, and few enough that
     * each has its answer ready before its time limit, and that what all of them write at once has room in the heap.
     */
    private static final int MAX_PARALLEL =
            Math.min(128, 8 * Runtime.getRuntime().availableProcessors());

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

    @Mixin
    NetworkOptions network = new NetworkOptions();

    @Mixin
    PublishOptions publish = new PublishOptions();

    @Option(
            names = "--all-or-nothing",
            description = "When a child does not come up, end all. Otherwise the others are used, and the exit status"
                    + " is 1.")
    boolean allOrNothing;

    @Option(
            names = "--no-keep",
            description = "Use a fork server of its own, and end it with this command. Otherwise one that runs is used,"
                    + " and a new one stays for FORKD_SERVER_IDLE_SECS (60), with FORKD_SERVER_PARKED (4) children"
                    + " forked in advance.")
    boolean noKeep;

    @Option(names = "--eval", paramLabel = "CODE", description = "Evaluate this in the warm interpreter of each child.")
    Optional<String> eval = Optional.empty();

    @Option(
            names = "--timeout-secs",
            paramLabel = "S",
            defaultValue = "60",
            description = "How long --eval or COMMAND may take in each child; 0: no limit. Default: ${DEFAULT-VALUE}.")
    long timeoutSecs;

    @Option(names = "--keep-workdir", description = "Keep the children's consoles in /tmp/forkd-fork-<tag>.")
    boolean keepWorkdir;

    @Parameters(
            arity = "0..*",
            paramLabel = "COMMAND",
            description = "After --: a command to run in each child, in up to 8 per processor and 128 at a time, as"
                    + " --eval. What they write comes as they write it, each line with the name of its child.")
    List<String> command = List.of();

    private final List<PortForward> forwards = new ArrayList<>();
    private List<PublishedPort> ports = List.of();

    ForkCommand(Shell shell) {
        this.shell = shell;
    }

    @Override
    public Integer call() {
        check();
        return command.isEmpty() ? fork() : shell.warningOfInput(false, this::fork);
    }

    private int fork() {
        Optional<Duration> limit = TimeLimit.of(timeoutSecs);
        boolean work = eval.isPresent() || !command.isEmpty();
        ForkRequest request = new ForkRequest(
                options.tag,
                count,
                network.request(shell),
                options.limits.limits(),
                options.volumeConflict,
                !noKeep,
                true,
                keepWorkdir);
        ExecutorService workers = Executors.newFixedThreadPool(Math.min(count, MAX_PARALLEL), ForkCommand::worker);
        CompletionService<Boolean> results = new ExecutorCompletionService<>(workers);
        AtomicInteger working = new AtomicInteger();
        try (Fork fork = shell.engine().fork(request, shell.call())) {
            fork.awaitReady(
                    child -> {
                        report(child, fork.elapsed());
                        publish(child);
                        if (work) {
                            results.submit(() -> work(child, limit));
                            working.incrementAndGet();
                        }
                    },
                    allOrNothing ? Fork::failAll : this::report);
            reportTimes(fork);
            boolean success = shell.call().interruptibly(() -> await(results, working.get()));
            if (!success) {
                TargetOptions.noRoom(fork.room(), "a child").ifPresent(shell::warn);
            }
            fork.settle(Duration.ofSeconds(settleSecs.orElse(work ? 0L : 2L)));
            int alive = fork.alive();
            if (alive < count) {
                fork.whyEnded().ifPresent(shell::warn);
            }
            reportEnd(alive);
            return success && alive == count ? 0 : 1;
        } catch (Shell.OutputLost e) {
            return e.report(shell);
        } finally {
            workers.shutdownNow();
            forwards.forEach(PortForward::close);
        }
    }

    private void publish(Fork.Child child) {
        GuestStreams guest = new GuestStreams(child.socket());
        for (PublishedPort port : ports) {
            PortForward forward = new PortForward(guest, port.local(), new GuestAddress.Port(port.guest()));
            forwards.add(forward);
            String host = forward.local().getAddress().getHostAddress();
            if (options.json) {
                shell.print(Shell.json()
                        .put("event", "port")
                        .put("name", child.name())
                        .put("host", host)
                        .put("port", forward.local().getPort())
                        .put("guest_port", port.guest()));
            } else {
                shell.print(child.name() + "  " + host + ":" + forward.local().getPort() + "->" + port.guest());
            }
        }
        shell.out().flush();
    }

    private void check() {
        options.check(count);
        ports = publish.check(count);
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

    /** Does it in a child, whose output is written meanwhile; whether that went well. */
    private boolean work(Fork.Child child, Optional<Duration> limit) {
        AgentClient agent = new AgentClient(new AgentAddress.Vsock(child.socket()));
        NamedLines lines = new NamedLines(shell, child.name(), options.json);
        try {
            if (eval.isPresent()) {
                return agent.eval(eval.get(), limit, evaluation -> report(child, lines, evaluation));
            }
            int code = ExecCommand.shellStatus(agent.exec(new GuestCommand(command, limit), lines));
            lines.end();
            if (options.json) {
                shell.print(result(child, code == 0).put("exit_code", code));
            } else if (code != 0) {
                complain(child, "exit code " + code);
            }
            return code == 0;
        } catch (ForkdException e) {
            lines.end();
            return failed(
                    child,
                    e.sentence()
                            + (e instanceof CommandFailed failed && failed.exitStatus() == CommandFailed.TIMED_OUT
                                    ? " (" + TimeLimit.REMEDY + ")"
                                    : ""));
        }
    }

    private boolean report(Fork.Child child, NamedLines lines, Evaluation evaluation) {
        if (evaluation instanceof Evaluation.Failure failure) {
            return failed(child, failure.error());
        }
        String value = evaluation instanceof Evaluation.Value there ? there.text() : "";
        if (options.json) {
            shell.print(result(child, true).put("result", value));
        } else {
            lines.stdout(value.getBytes(StandardCharsets.UTF_8));
            lines.end();
        }
        return true;
    }

    private boolean failed(Fork.Child child, String error) {
        if (options.json) {
            shell.print(result(child, false).put("error", error));
        } else {
            complain(child, "Error: " + error);
        }
        return false;
    }

    private ObjectNode result(Fork.Child child, boolean success) {
        return Shell.json().put("event", "result").put("name", child.name()).put("success", success);
    }

    private void complain(Fork.Child child, String what) {
        if (!shell.call().isCancelled()) {
            shell.note(child.name() + ": " + what);
        }
    }

    /** Waits for so many results; whether all are good. */
    private static boolean await(CompletionService<Boolean> results, int count) {
        boolean success = true;
        try {
            for (int i = 0; i < count; i++) {
                success &= results.take().get();
            }
            return success;
        } catch (ExecutionException e) {
            if (e.getCause() instanceof Shell.OutputLost lost) {
                throw lost;
            }
            throw new IllegalStateException(e.getCause());
        } catch (InterruptedException e) {
            throw new ForkdException(Kind.FAILED, "interrupted");
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

    private void reportEnd(int alive) {
        if (options.json) {
            shell.print(Shell.json().put("event", "end").put("alive", alive).put("count", count));
        } else {
            shell.print(alive + " / " + count + " children alive");
        }
    }
}
