package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.agent.AgentClient;
import io.forkd.engine.DiffRequest;
import io.forkd.snapshot.SnapshotTag;
import java.io.PrintStream;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

@Command(
        name = "snapshot-diff",
        description =
                "Makes a snapshot of what a command changes in a child of another: memory and disks are written as"
                        + " layers over that one, which is needed from then on.",
        sortOptions = false)
final class SnapshotDiffCommand implements Callable<Integer> {
    private final Shell shell;

    @Option(
            names = "--from",
            required = true,
            paramLabel = "TAG",
            converter = TagConverter.class,
            description = "The snapshot to begin with.")
    SnapshotTag from = new SnapshotTag("_");

    @Option(
            names = "--tag",
            required = true,
            paramLabel = "TAG",
            converter = NewTagConverter.class,
            description = "Name of the new one.")
    SnapshotTag tag = new SnapshotTag("_");

    @Option(
            names = "--exec",
            required = true,
            paramLabel = "COMMAND",
            description = "What to run in the guest. It is split at blanks, except in single or double quotes; there is"
                    + " no shell unless it is named: sh -c '...'.")
    String exec = "";

    @Option(
            names = "--exec-timeout-secs",
            paramLabel = "S",
            defaultValue = "600",
            description = "How long it may take. Default: ${DEFAULT-VALUE}.")
    long execTimeoutSecs;

    @Option(names = "--force", description = "Replace a snapshot of that name.")
    boolean force;

    @Option(names = "--json", description = "Print the result as JSON.")
    boolean json;

    @Mixin
    RemoteOptions remote = new RemoteOptions();

    private boolean midLine;

    SnapshotDiffCommand(Shell shell) {
        this.shell = shell;
    }

    @Override
    public Integer call() {
        MachineOptions.requireRange("--exec-timeout-secs", execTimeoutSecs, 1, 86_400 * 365);
        if (tag.equals(from)) {
            throw new ForkdException(Kind.USAGE, "--from and --tag are the same");
        }
        long start = System.nanoTime();
        BranchView result;
        try {
            result = remote.backend(shell)
                    .diff(new DiffRequest(
                            from, tag, words(exec), Duration.ofSeconds(execTimeoutSecs), output(), force));
        } catch (Shell.OutputLost e) {
            return e.report(shell);
        } finally {
            endLine();
        }
        shell.clear();
        Duration total = Duration.ofNanos(System.nanoTime() - start);
        if (json) {
            shell.print(result.json(total));
        } else {
            result.print(shell, total);
        }
        return 0;
    }

    /** What the command writes, to where it would write; with JSON on stdout, all of it to stderr. */
    private AgentClient.Output output() {
        return new AgentClient.Output() {
            @Override
            public void stdout(byte[] bytes) {
                write(json ? shell.err() : shell.out(), bytes);
            }

            @Override
            public void stderr(byte[] bytes) {
                write(shell.err(), bytes);
            }

            private void write(PrintStream to, byte[] bytes) {
                shell.clear();
                shell.write(to, bytes);
                midLine = bytes.length > 0 ? bytes[bytes.length - 1] != '\n' : midLine;
            }
        };
    }

    /** What follows on stderr, an error in JSON for example, has a line of its own. */
    private void endLine() {
        if (json && midLine) {
            shell.err().println();
        }
    }

    /** Splits at blanks; quotes keep them, and there are no escapes. */
    static List<String> words(String text) {
        List<String> words = new ArrayList<>();
        StringBuilder word = new StringBuilder();
        boolean begun = false;
        Optional<Character> quote = Optional.empty();
        for (int i = 0; i < text.length(); i++) {
            char c = text.charAt(i);
            if (quote.isPresent()) {
                if (c == quote.get()) {
                    quote = Optional.empty();
                } else {
                    word.append(c);
                }
            } else if (c == '\'' || c == '"') {
                quote = Optional.of(c);
                begun = true;
            } else if (!Character.isWhitespace(c)) {
                word.append(c);
                begun = true;
            } else if (begun) {
                words.add(word.toString());
                word.setLength(0);
                begun = false;
            }
        }
        if (quote.isPresent()) {
            throw new ForkdException(Kind.USAGE, "a quote " + quote.get() + " in --exec is not closed");
        }
        if (begun) {
            words.add(word.toString());
        }
        if (words.isEmpty()) {
            throw new ForkdException(Kind.USAGE, "--exec has no command");
        }
        return words;
    }
}
