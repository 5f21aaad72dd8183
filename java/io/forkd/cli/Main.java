package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.engine.Engine;
import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.function.Function;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.IExecutionExceptionHandler;
import picocli.CommandLine.IParameterExceptionHandler;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.ParseResult;
import picocli.CommandLine.UnmatchedArgumentException;

/** {@code forkd <verb>}. */
public final class Main {
    /** How long an interrupted command may take to end what it started. */
    private static final long UNWIND_SECONDS = 10;

    private static final Map<String, Function<Shell, Object>> VERBS = new LinkedHashMap<>();

    static {
        VERBS.put("from-image", FromImageCommand::new);
        VERBS.put("snapshot", SnapshotCommand::new);
        VERBS.put("fork", ForkCommand::new);
        VERBS.put("spawn", SpawnCommand::new);
        VERBS.put("ls", LsCommand::new);
        VERBS.put("kill", KillCommand::new);
        VERBS.put("exec", ExecCommand::new);
        VERBS.put("eval", EvalCommand::new);
        VERBS.put("ping", PingCommand::new);
        VERBS.put("run", RunCommand::new);
        VERBS.put("images", ImagesCommand::new);
        VERBS.put("snapshot-info", SnapshotInfoCommand::new);
        VERBS.put("snapshot-diff", SnapshotDiffCommand::new);
        VERBS.put("snapshot-compact", SnapshotCompactCommand::new);
        VERBS.put("rmi", RmiCommand::new);
        VERBS.put("bench", BenchCommand::new);
        VERBS.put("where", WhereCommand::new);
        VERBS.put("cleanup", CleanupCommand::new);
        VERBS.put(
                "kernel",
                shell -> new CommandLine(new KernelCommand())
                        .addSubcommand("install", new KernelCommand.Install(shell)));
        VERBS.put(
                "parent",
                shell -> new CommandLine(new ParentCommand()).addSubcommand("build", new ParentCommand.Build(shell)));
        VERBS.put(
                "cache",
                shell -> new CommandLine(new CacheCommand())
                        .addSubcommand("ls", new CacheCommand.Ls(shell))
                        .addSubcommand("prune", new CacheCommand.Prune(shell)));
        VERBS.put("completion", CompletionCommand::new);
        VERBS.put("version", VersionCommand::new);
    }

    @Command(
            name = "forkd",
            description = "Forks microVMs the way you fork processes.",
            synopsisSubcommandLabel = "VERB")
    private static final class Root {}

    private Main() {}

    public static void main(String[] arguments) {
        BoundedHeap.run(arguments).ifPresent(System::exit);
        Shell shell = Shell.ofProcess();
        CountDownLatch ended = new CountDownLatch(1);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> unwind(shell, ended), "unwind"));
        int status = Kind.FAILED.exitStatus();
        try {
            status = run(shell, arguments);
        } finally {
            ended.countDown();
        }
        System.exit(status);
    }

    /** On SIGINT and SIGTERM: lets the command release what it holds, and waits for it. */
    private static void unwind(Shell shell, CountDownLatch ended) {
        shell.cancellation().cancel();
        try {
            if (!ended.await(UNWIND_SECONDS, TimeUnit.SECONDS)) {
                shell.note("forkd: did not end in time; what is left is removed at the next start");
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    /** Runs one command and returns its exit status. */
    static int run(Shell shell, String... arguments) {
        int status = commandLine(shell, arguments).execute(arguments);
        shell.out().flush();
        return status;
    }

    /** All verbs, or the one that is asked for: reading every command's annotations takes time at each start. */
    static CommandLine commandLine(Shell shell, String... arguments) {
        CommandLine root = new CommandLine(new Root());
        root.getCommandSpec().mixinStandardHelpOptions(true).version("forkd " + Engine.VERSION);
        Function<Shell, Object> only = arguments.length == 0 ? null : VERBS.get(arguments[0]);
        if (only != null) {
            root.addSubcommand(arguments[0], only.apply(shell));
        } else {
            VERBS.forEach((name, verb) -> root.addSubcommand(name, verb.apply(shell)));
        }
        Deque<CommandLine> all = new ArrayDeque<>(root.getSubcommands().values());
        while (!all.isEmpty()) {
            CommandLine command = all.pop();
            command.getCommandSpec()
                    .addMixin("help", CommandLine.Model.CommandSpec.forAnnotatedObject(new HelpOption()));
            all.addAll(command.getSubcommands().values());
        }
        return root.setOut(new PrintWriter(shell.out(), true, StandardCharsets.UTF_8))
                .setErr(new PrintWriter(shell.err(), true, StandardCharsets.UTF_8))
                .setUsageHelpAutoWidth(true)
                .setUsageHelpLongOptionsMaxWidth(30)
                .setCaseInsensitiveEnumValuesAllowed(true)
                .setParameterExceptionHandler(new Failures(shell))
                .setExecutionExceptionHandler(new Failures(shell));
    }

    /** Says what went wrong, and gives the exit status. A class, because the archive of classes cannot have lambdas. */
    private record Failures(Shell shell) implements IParameterExceptionHandler, IExecutionExceptionHandler {
        /** One line, a suggestion, and where to read more. */
        @Override
        public int handleParseException(ParameterException e, String[] arguments) {
            CommandLine command = e.getCommandLine();
            if (e.getCause() instanceof ForkdException cause) {
                return report(shell, cause);
            }
            shell.note("Error: " + e.getMessage());
            UnmatchedArgumentException.printSuggestions(e, command.getErr());
            shell.note("See: " + command.getCommandSpec().qualifiedName() + " --help");
            return Kind.USAGE.exitStatus();
        }

        @Override
        public int handleExecutionException(Exception e, CommandLine command, ParseResult parsed) {
            if (e instanceof ForkdException known) {
                return report(shell, known);
            }
            shell.note("Error: forkd itself failed: " + e);
            if (shell.environment().containsKey("FORKD_DEBUG")) {
                e.printStackTrace(shell.err());
            } else {
                shell.note("This should not happen. FORKD_DEBUG=1 shows where; please report it.");
            }
            return Kind.FAILED.exitStatus();
        }
    }

    private static int report(Shell shell, ForkdException e) {
        if (!shell.cancellation().isCancelled()) {
            shell.note("Error: " + e.sentence());
            if (!e.remedy().isEmpty()) {
                shell.note(e.remedy());
            }
        }
        if (shell.environment().containsKey("FORKD_DEBUG")) {
            e.printStackTrace(shell.err());
        }
        return e.kind().exitStatus();
    }
}
