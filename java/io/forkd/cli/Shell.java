package io.forkd.cli;

import io.forkd.Json;
import io.forkd.engine.Cancellation;
import io.forkd.engine.Engine;
import io.forkd.engine.Progress;
import java.io.BufferedOutputStream;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/**
 * What a command works with: the streams, the environment and the engine.
 *
 * @param out results; flushed by whoever completes one
 * @param err progress, warnings and errors
 * @param terminal whether {@code err} is read by a person now
 */
record Shell(
        PrintStream out,
        PrintStream err,
        boolean terminal,
        Map<String, String> environment,
        Cancellation cancellation,
        Engine engine)
        implements Progress {

    private static final String ERASE_LINE = "\r\u001b[K";

    static Shell ofProcess() {
        return of(
                new PrintStream(
                        new BufferedOutputStream(new FileOutputStream(FileDescriptor.out), 1 << 16),
                        false,
                        StandardCharsets.UTF_8),
                new PrintStream(new FileOutputStream(FileDescriptor.err), true, StandardCharsets.UTF_8),
                isTerminal(),
                System.getenv());
    }

    static Shell of(PrintStream out, PrintStream err, boolean terminal, Map<String, String> environment) {
        Cancellation cancellation = new Cancellation();
        return new Shell(out, err, terminal, environment, cancellation, new Engine(environment, cancellation));
    }

    private static boolean isTerminal() {
        try {
            String target = Files.readSymbolicLink(Path.of("/proc/self/fd/2")).toString();
            return target.startsWith("/dev/pts/") || target.startsWith("/dev/tty") || target.equals("/dev/console");
        } catch (IOException | UnsupportedOperationException e) {
            return false;
        }
    }

    /** A line of the result. */
    void print(String line) {
        out.println(line);
    }

    /** A line of the result for programs. */
    void print(ObjectNode json) {
        out.println(Json.text(json));
        out.flush();
    }

    static ObjectNode json() {
        return JsonNodeFactory.instance.objectNode();
    }

    /** A line for the person at the terminal or for the log. */
    void note(String line) {
        clear();
        err.println(line);
    }

    @Override
    public void step(String what) {
        if (terminal) {
            err.print(ERASE_LINE + what + "...");
        }
    }

    @Override
    public void warn(String what) {
        note("forkd: " + what);
    }

    /** Takes the last step off the screen. */
    void clear() {
        if (terminal) {
            err.print(ERASE_LINE);
        }
        err.flush();
    }
}
