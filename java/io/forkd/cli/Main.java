package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.engine.Engine;
import java.io.PrintWriter;
import java.math.BigDecimal;
import java.nio.charset.StandardCharsets;
import java.nio.file.InvalidPathException;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import picocli.CommandLine;
import picocli.CommandLine.IExecutionExceptionHandler;
import picocli.CommandLine.IParameterExceptionHandler;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Model.OptionSpec;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.ParseResult;
import picocli.CommandLine.UnmatchedArgumentException;

/** {@code forkd <verb>}. */
public final class Main {
    /** How long an interrupted command may take to end what it started. */
    private static final long UNWIND_SECONDS = 10;

    /** As --help lists them. */
    private static final List<String> VERBS = List.of(
            "from-image",
            "snapshot",
            "fork",
            "spawn",
            "ls",
            "kill",
            "pause",
            "resume",
            "reset",
            "timeout",
            "rename",
            "label",
            "wait",
            "logs",
            "events",
            "top",
            "exec",
            "attach",
            "cp",
            "port-forward",
            "eval",
            "ping",
            "run",
            "images",
            "snapshot-info",
            "snapshot-diff",
            "snapshot-compact",
            "rmi",
            "push",
            "pull",
            "verify",
            "pack",
            "unpack",
            "bench",
            "workspace",
            "network",
            "net",
            "where",
            "cleanup",
            "kernel",
            "parent",
            "cache",
            "daemon",
            "token",
            "e2b",
            "doctor",
            "quickstart",
            "completion",
            "version");

    /** No table of lambdas: each would have to be linked at each start, for one that is used. */
    private static Object verb(String name, Shell shell) {
        return switch (name) {
            case "from-image" -> new FromImageCommand(shell);
            case "snapshot" -> new SnapshotCommand(shell);
            case "fork" -> new ForkCommand(shell);
            case "spawn" -> new SpawnCommand(shell);
            case "ls" -> new LsCommand(shell);
            case "kill" -> new KillCommand(shell);
            case "pause" -> new PauseCommand(shell);
            case "resume" -> new ResumeCommand(shell);
            case "reset" -> new ResetCommand(shell);
            case "timeout" -> new TimeoutCommand(shell);
            case "rename" -> new RenameCommand(shell);
            case "label" -> new LabelCommand(shell);
            case "wait" -> new WaitCommand(shell);
            case "logs" -> new LogsCommand(shell);
            case "events" -> new EventsCommand(shell);
            case "top" -> new TopCommand(shell);
            case "exec" -> new ExecCommand(shell);
            case "attach" -> new AttachCommand(shell);
            case "cp" -> new CopyCommand(shell);
            case "port-forward" -> new PortForwardCommand(shell);
            case "eval" -> new EvalCommand(shell);
            case "ping" -> new PingCommand(shell);
            case "run" -> new RunCommand(shell);
            case "images" -> new ImagesCommand(shell);
            case "snapshot-info" -> new SnapshotInfoCommand(shell);
            case "snapshot-diff" -> new SnapshotDiffCommand(shell);
            case "snapshot-compact" -> new SnapshotCompactCommand(shell);
            case "rmi" -> new RmiCommand(shell);
            case "pack" -> new PackCommand(shell);
            case "unpack" -> new UnpackCommand(shell);
            case "push" -> new PushCommand(shell);
            case "pull" -> new PullCommand(shell);
            case "verify" -> new VerifyCommand(shell);
            case "bench" -> new BenchCommand(shell);
            case "workspace" ->
                new CommandLine(new WorkspaceCommand())
                        .addSubcommand("create", new WorkspaceCommand.Create(shell))
                        .addSubcommand("suspend", new WorkspaceCommand.Suspend(shell))
                        .addSubcommand("resume", new WorkspaceCommand.Resume(shell))
                        .addSubcommand("list", new WorkspaceCommand.ListAll(shell))
                        .addSubcommand("delete", new WorkspaceCommand.Delete(shell));
            case "network" ->
                new CommandLine(new NetworkCommand())
                        .addSubcommand("set", new NetworkCommand.Set(shell))
                        .addSubcommand("show", new NetworkCommand.Show(shell));
            case "net" ->
                new CommandLine(new NetCommand())
                        .addSubcommand("setup", new NetCommand.Setup(shell))
                        .addSubcommand("status", new NetCommand.Status(shell))
                        .addSubcommand("teardown", new NetCommand.Teardown(shell));
            case "where" -> new WhereCommand(shell);
            case "cleanup" -> new CleanupCommand(shell);
            case "kernel" ->
                new CommandLine(new KernelCommand()).addSubcommand("install", new KernelCommand.Install(shell));
            case "parent" ->
                new CommandLine(new ParentCommand()).addSubcommand("build", new ParentCommand.Build(shell));
            case "cache" ->
                new CommandLine(new CacheCommand())
                        .addSubcommand("ls", new CacheCommand.Ls(shell))
                        .addSubcommand("prune", new CacheCommand.Prune(shell));
            case "daemon" -> new DaemonCommand(shell);
            case "token" ->
                new CommandLine(new TokenCommand())
                        .addSubcommand("add", new TokenCommand.Add(shell))
                        .addSubcommand("list", new TokenCommand.ListAll(shell))
                        .addSubcommand("remove", new TokenCommand.Remove(shell));
            case "e2b" -> new CommandLine(new E2bCommand()).addSubcommand("env", new E2bCommand.Env(shell));
            case "doctor" -> new DoctorCommand(shell);
            case "quickstart" -> new QuickstartCommand(shell);
            case "completion" -> new CompletionCommand(shell);
            case "version" -> new VersionCommand(shell);
            default -> throw new IllegalArgumentException(name);
        };
    }

    private Main() {}

    public static void main(String[] arguments) {
        System.exit(start(arguments));
    }

    /** What a process does, but end. */
    static int start(String... arguments) {
        OptionalInt elsewhere = BoundedHeap.run(arguments);
        if (elsewhere.isPresent()) {
            return elsewhere.getAsInt();
        }
        String[] given = Locales.arguments(arguments);
        Shell shell;
        try {
            shell = Shell.ofProcess();
        } catch (ForkdException | InvalidPathException e) {
            return failEarly(e, given);
        }
        CountDownLatch ended = new CountDownLatch(1);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> unwind(shell, ended), "unwind"));
        try {
            return run(shell, given);
        } finally {
            ended.countDown();
        }
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
        CommandSpec spec = CommandSpec.create().name("forkd");
        spec.usageMessage()
                .description("Forks microVMs the way you fork processes.")
                .synopsisSubcommandLabel("VERB");
        CommandLine root = new CommandLine(spec);
        boolean one = arguments.length > 0 && VERBS.contains(arguments[0]);
        if (!one) { // Only what comes before a verb is for it.
            spec.mixinStandardHelpOptions(true).version("forkd " + Engine.VERSION);
        }
        for (String name : one ? List.of(arguments[0]) : VERBS) {
            boolean ofSandbox = name.equals("fork") && arguments.length > 1 && !arguments[1].startsWith("-");
            root.addSubcommand(name, ofSandbox ? new LiveForkCommand(shell) : verb(name, shell));
        }
        Deque<CommandLine> all = new ArrayDeque<>(root.getSubcommands().values());
        while (!all.isEmpty()) {
            CommandLine command = all.pop();
            command.getCommandSpec()
                    .addOption(OptionSpec.builder("-h", "--help")
                            .usageHelp(true)
                            .description("Show this help.")
                            .build());
            all.addAll(command.getSubcommands().values());
        }
        root.registerConverter(BigDecimal.class, new NumberConverter());
        Failures failures = new Failures(shell, asksForJson(arguments));
        return root.setOut(new PrintWriter(shell.out(), true, StandardCharsets.UTF_8))
                .setErr(new PrintWriter(shell.err(), true, StandardCharsets.UTF_8))
                .setUsageHelpAutoWidth(true)
                .setUsageHelpLongOptionsMaxWidth(30)
                .setCaseInsensitiveEnumValuesAllowed(true)
                // An argument is what it is: one of a guest's command, or a name that somebody else gave, may begin
                // with @.
                .setExpandAtFiles(false)
                .setParameterExceptionHandler(failures)
                .setExecutionExceptionHandler(failures);
    }

    /** Whether the result is for a program, so that errors are, too. What comes after -- is another program's. */
    private static boolean asksForJson(String... arguments) {
        List<String> all = List.of(arguments);
        int end = all.indexOf("--");
        return (end < 0 ? all : all.subList(0, end)).contains("--json");
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
                Spelling.nearest(unmatched.getUnmatched().get(0), VERBS)
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
