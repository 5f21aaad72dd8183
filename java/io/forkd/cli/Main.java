package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.engine.Engine;
import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.InvalidPathException;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.function.Function;
import java.util.stream.Stream;
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
        VERBS.put(
                "workspace",
                shell -> new CommandLine(new WorkspaceCommand())
                        .addSubcommand("create", new WorkspaceCommand.Create(shell))
                        .addSubcommand("suspend", new WorkspaceCommand.Suspend(shell))
                        .addSubcommand("resume", new WorkspaceCommand.Resume(shell))
                        .addSubcommand("list", new WorkspaceCommand.ListAll(shell))
                        .addSubcommand("delete", new WorkspaceCommand.Delete(shell)));
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
        VERBS.put("daemon", DaemonCommand::new);
        VERBS.put("doctor", DoctorCommand::new);
        VERBS.put("quickstart", QuickstartCommand::new);
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
        String[] given = Locales.arguments(arguments);
        Shell shell;
        try {
            shell = Shell.ofProcess();
        } catch (ForkdException | InvalidPathException e) {
            System.exit(failEarly(e, given));
            return;
        }
        CountDownLatch ended = new CountDownLatch(1);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> unwind(shell, ended), "unwind"));
        int status = Kind.FAILED.exitStatus();
        try {
            status = run(shell, given);
        } finally {
            ended.countDown();
        }
        System.exit(status);
    }

    /** Before there is a shell: it could not be found out where forkd's files are. */
    private static int failEarly(RuntimeException e, String... arguments) {
        ForkdException failure = e instanceof ForkdException known ? known : Locales.failure((InvalidPathException) e);
        Shell.print(failure, asksForJson(arguments), Shell.stderr());
        return failure.kind().exitStatus();
    }

    /** On SIGINT and SIGTERM: lets the command release what it holds, and waits for it. */
    private static void unwind(Shell shell, CountDownLatch ended) {
        shell.call().cancel();
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
        boolean lost = shell.out().checkError(); // flushes
        return lost && status == 0 ? new Shell.OutputLost().report(shell) : status;
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
        Failures failures = new Failures(shell, asksForJson(arguments));
        return root.setOut(new PrintWriter(shell.out(), true, StandardCharsets.UTF_8))
                .setErr(new PrintWriter(shell.err(), true, StandardCharsets.UTF_8))
                .setUsageHelpAutoWidth(true)
                .setUsageHelpLongOptionsMaxWidth(30)
                .setCaseInsensitiveEnumValuesAllowed(true)
                .setParameterExceptionHandler(failures)
                .setExecutionExceptionHandler(failures);
    }

    /** Whether the result is for a program, so that errors are, too. What comes after -- is another program's. */
    private static boolean asksForJson(String... arguments) {
        return Stream.of(arguments)
                .takeWhile(argument -> !argument.equals("--"))
                .anyMatch(argument -> argument.equals("--json"));
    }

    /** Says what went wrong, and gives the exit status. A class, because the archive of classes cannot have lambdas. */
    private record Failures(Shell shell, boolean json)
            implements IParameterExceptionHandler, IExecutionExceptionHandler {
        /** One line, a suggestion, and where to read more. */
        @Override
        public int handleParseException(ParameterException e, String[] arguments) {
            CommandLine command = e.getCommandLine();
            if (e.getCause() instanceof ForkdException cause) {
                return report(cause);
            }
            String help = "See: " + command.getCommandSpec().qualifiedName() + " --help";
            String sentence = Optional.ofNullable(e.getMessage()).orElse("the command line is wrong");
            if (json) {
                return report(new ForkdException(Kind.USAGE, sentence, help));
            }
            shell.note("Error: " + sentence);
            if (command.getParent() == null && e instanceof UnmatchedArgumentException unmatched) {
                Spelling.nearest(unmatched.getUnmatched().get(0), VERBS.keySet())
                        .ifPresent(verb -> shell.note("Did you mean: forkd " + verb + "?"));
            } else {
                UnmatchedArgumentException.printSuggestions(e, command.getErr());
            }
            shell.note(help);
            return Kind.USAGE.exitStatus();
        }

        @Override
        public int handleExecutionException(Exception e, CommandLine command, ParseResult parsed) {
            if (e instanceof ForkdException known) {
                return report(known);
            }
            if (e instanceof InvalidPathException path) {
                return report(Locales.failure(path));
            }
            boolean debug = shell.environment().containsKey("FORKD_DEBUG");
            report(new ForkdException(
                    Kind.FAILED,
                    "forkd itself failed: " + e,
                    debug ? "" : "This should not happen. FORKD_DEBUG=1 shows where; please report it."));
            if (debug) {
                e.printStackTrace(shell.err());
            }
            return Kind.FAILED.exitStatus();
        }

        private int report(ForkdException e) {
            if (!shell.call().isCancelled()) {
                shell.fail(e, json);
            }
            if (shell.environment().containsKey("FORKD_DEBUG")) {
                e.printStackTrace(shell.err());
            }
            return e.kind().exitStatus();
        }
    }
}
