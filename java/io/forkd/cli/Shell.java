package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.Json;
import io.forkd.engine.Call;
import io.forkd.engine.Engine;
import java.io.BufferedOutputStream;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.ByteBuffer;
import java.nio.channels.Channels;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.InvalidPathException;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.function.IntSupplier;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/**
 * What a command works with: the streams, the environment and the engine.
 *
 * @param out results; flushed by whoever completes one
 * @param err progress, warnings and errors
 * @param shown whether {@code out} is a terminal
 * @param terminal whether {@code err} is read by a person now
 */
record Shell(
        PrintStream out,
        PrintStream err,
        boolean shown,
        boolean terminal,
        Map<String, String> environment,
        Call call,
        Engine engine) {

    static Shell ofProcess() {
        return of(
                new PrintStream(
                        // A channel's, which an interrupt reaches when nobody reads what is written.
                        new BufferedOutputStream(
                                Channels.newOutputStream(new FileOutputStream(FileDescriptor.out).getChannel()),
                                1 << 16),
                        false,
                        StandardCharsets.UTF_8),
                stderr(),
                isTerminal(1),
                isTerminal(2),
                Locales.environment());
    }

    static PrintStream stderr() {
        return new PrintStream(new FileOutputStream(FileDescriptor.err), true, StandardCharsets.UTF_8);
    }

    /** Where nobody looks on, but perhaps at {@code err}. */
    static Shell of(PrintStream out, PrintStream err, boolean terminal, Map<String, String> environment) {
        return of(out, err, false, terminal, environment);
    }

    static Shell of(
            PrintStream out, PrintStream err, boolean shown, boolean terminal, Map<String, String> environment) {
        Call call = new Call(new Screen(err, terminal), Optional.empty());
        return new Shell(out, err, shown, terminal, environment, call, Engine.of(environment));
    }

    /** The same, with another value of a variable that the engine looks at. */
    Shell withEnvironment(String name, String value) {
        Map<String, String> changed = new HashMap<>(environment);
        changed.put(name, value);
        return new Shell(out, err, shown, terminal, changed, call, Engine.of(changed));
    }

    /** Whether a descriptor of this process is a terminal. */
    static boolean isTerminal(int number) {
        String target = descriptor(number);
        return target.startsWith("/dev/pts/") || target.startsWith("/dev/tty") || target.equals("/dev/console");
    }

    /** What a descriptor of this process is; empty when that cannot be told. */
    private static String descriptor(int number) {
        try {
            return Files.readSymbolicLink(Path.of("/proc/self/fd/" + number)).toString();
        } catch (IOException | UnsupportedOperationException e) {
            return "";
        }
    }

    /** Nobody takes what we write. A program in C would have been ended by a signal, or would look at errno. */
    static final class OutputLost extends RuntimeException {
        private static final long serialVersionUID = 1;

        private static final int SIGPIPE = 128 + 13;

        /** Ends the command as that signal would, or says that a disk is full. */
        int report(Shell shell) {
            if (descriptor(1).startsWith("pipe:") || descriptor(1).startsWith("socket:")) {
                return SIGPIPE;
            }
            shell.note("Error: the output cannot be written to " + descriptor(1));
            return Kind.FAILED.exitStatus();
        }
    }

    /**
     * Writes whole lines, or what a program wrote, at once.
     *
     * @throws OutputLost when nobody takes it
     */
    void write(PrintStream to, byte[] bytes) {
        write(to, ByteBuffer.wrap(bytes));
    }

    /** The same of the bytes that a buffer has. */
    void write(PrintStream to, ByteBuffer bytes) {
        to.write(bytes.array(), bytes.arrayOffset() + bytes.position(), bytes.remaining());
        if (to.checkError()) { // flushes
            throw new OutputLost();
        }
    }

    /** Something is on stdin that a command which does not read it would lose in silence. */
    private static boolean hasInput() {
        String target = descriptor(0);
        try {
            return (target.startsWith("pipe:") || target.startsWith("socket:") || Files.isRegularFile(Path.of(target)))
                    && System.in.available() > 0;
        } catch (IOException | InvalidPathException e) {
            return false;
        }
    }

    /** Says when a command which does not read stdin loses what is there: before it, or of what came later after it. */
    int warningOfInput(boolean passedOn, IntSupplier command) {
        boolean warned = warnOfInput(passedOn);
        int status = command.getAsInt();
        if (!warned) {
            warnOfInput(passedOn);
        }
        return status;
    }

    private boolean warnOfInput(boolean passedOn) {
        boolean lost = !passedOn && hasInput();
        if (lost) {
            warn("the command does not get what is on stdin (-i of exec and run passes it on)");
        }
        return lost;
    }

    /** A line of the result. What guests and clients gave names to is in it: for a terminal it is only text. */
    void print(String line) {
        out.println(shown ? Screen.shown(line) : line);
    }

    /** A line of the result for programs. */
    void print(ObjectNode json) {
        print(Json.text(json));
        out.flush();
    }

    static ObjectNode json() {
        return JsonNodeFactory.instance.objectNode();
    }

    static ObjectNode error(ForkdException e) {
        return json().put("code", e.kind().name().toLowerCase(Locale.ROOT))
                .put("message", Remedies.sentence(e))
                .put("remedy", Remedies.remedy(e));
    }

    /** A line for the person at the terminal or for the log. */
    void note(String line) {
        screen().note(line);
    }

    /** What went wrong: a sentence and the remedy for people, one line of JSON for programs. */
    void fail(ForkdException e, boolean json) {
        clear();
        print(e, json, err);
    }

    static void print(ForkdException e, boolean json, PrintStream to) {
        if (json) {
            to.println(Json.text(json().set("error", error(e))));
            return;
        }
        to.println("Error: " + Screen.shown(Remedies.sentence(e)));
        String remedy = Remedies.remedy(e);
        if (!remedy.isEmpty()) {
            to.println(Screen.shown(remedy));
        }
    }

    void step(String what) {
        screen().step(what);
    }

    void warn(String what) {
        screen().warn(what);
    }

    /** Takes the last step off the screen. */
    void clear() {
        screen().clear();
    }

    private Screen screen() {
        return new Screen(err, terminal);
    }
}
