package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import java.io.ByteArrayOutputStream;
import java.io.OutputStream;
import java.nio.ByteBuffer;
import java.nio.CharBuffer;
import java.nio.charset.CharsetDecoder;
import java.nio.charset.CodingErrorAction;
import java.nio.charset.StandardCharsets;
import java.util.OptionalLong;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

@Command(
        name = "logs",
        description = "Prints what a sandbox's guest has written to its console since it was forked or resumed: its"
                + " kernel's messages, and what programs write there. The newest is kept.",
        sortOptions = false)
final class LogsCommand implements Callable<Integer> {
    private static final String ALL = "all";

    private final Shell shell;

    @Parameters(index = "0", paramLabel = "ID", description = "The sandbox; forkd ls lists them.")
    String id = "";

    @Option(
            names = {"-f", "--follow"},
            description = "Go on with what is written, until the sandbox has ended or is paused.")
    boolean follow;

    @Option(
            names = {"-n", "--tail"},
            paramLabel = "N",
            defaultValue = ALL,
            description = "Only the last lines. Default: ${DEFAULT-VALUE}.")
    String tail = ALL;

    @Option(names = "--json", description = "Print it as a JSON object; not with --follow.")
    boolean json;

    @Mixin
    RemoteOptions remote = new RemoteOptions();

    LogsCommand(Shell shell) {
        this.shell = shell;
    }

    @Override
    public Integer call() {
        if (json && follow) {
            throw new ForkdException(Kind.USAGE, "--json and --follow exclude each other");
        }
        OptionalLong lines = lines();
        Backend backend = remote.backend(shell);
        if (json) {
            ByteArrayOutputStream all = new ByteArrayOutputStream();
            backend.logs(id, lines, follow, all);
            shell.print(Shell.json().put("log", all.toString(StandardCharsets.UTF_8)));
            return 0;
        }
        try {
            backend.logs(id, lines, follow, new Out(shell));
            return 0;
        } catch (Shell.OutputLost e) {
            return e.report(shell);
        }
    }

    private OptionalLong lines() {
        if (tail.equals(ALL)) {
            return OptionalLong.empty();
        }
        try {
            long lines = Long.parseLong(tail);
            if (lines >= 0) {
                return OptionalLong.of(lines);
            }
        } catch (NumberFormatException e) {
            // As any other that is none.
        }
        throw new ForkdException(Kind.USAGE, "--tail " + tail + " is neither a number of lines nor " + ALL);
    }

    /**
     * Standard output, as it is written; for a terminal only its text, as a guest that is not trusted would otherwise have
     * it do what its sequences say. Of a line's end a terminal's return is left out.
     */
    private static final class Out extends OutputStream {
        private static final int LONGEST_CHARACTER = 4;

        private final Shell shell;
        private final CharsetDecoder decoder = StandardCharsets.UTF_8
                .newDecoder()
                .onMalformedInput(CodingErrorAction.REPLACE)
                .onUnmappableCharacter(CodingErrorAction.REPLACE);

        /** The beginning of a character, and a return that may be that of a line's end. */
        private final ByteBuffer begun = ByteBuffer.allocate(LONGEST_CHARACTER).flip();

        private String held = "";

        Out(Shell shell) {
            super();
            this.shell = shell;
        }

        @Override
        public void write(int value) {
            write(new byte[] {(byte) value}, 0, 1);
        }

        @Override
        public void write(byte[] bytes, int from, int count) {
            if (shell.shown()) {
                show(ByteBuffer.wrap(bytes, from, count));
            } else {
                shell.write(shell.out(), ByteBuffer.wrap(bytes, from, count));
            }
        }

        private void show(ByteBuffer bytes) {
            ByteBuffer all = ByteBuffer.allocate(begun.remaining() + bytes.remaining())
                    .put(begun)
                    .put(bytes)
                    .flip();
            CharBuffer text = CharBuffer.allocate(all.remaining() + 1);
            decoder.decode(all, text, false);
            begun.clear().put(all).flip();
            String read = held + text.flip();
            held = read.endsWith("\r") ? "\r" : "";
            String whole = read.substring(0, read.length() - held.length());
            shell.write(shell.out(), Screen.shown(whole.replace("\r\n", "\n")).getBytes(StandardCharsets.UTF_8));
        }
    }
}
