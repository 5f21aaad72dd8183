package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.agent.TerminalSize;
import java.io.IOException;
import java.nio.charset.StandardCharsets;

/**
 * The terminal that stdin is, in raw mode until this is closed: each key is for the guest's terminal, Ctrl-C among them.
 * By stty(1), which every system has.
 */
final class Terminal implements AutoCloseable {
    private static final TerminalSize USUAL = new TerminalSize(24, 80);

    private final String saved;

    private Terminal(String saved) {
        this.saved = saved;
    }

    static Terminal raw() {
        Terminal terminal = new Terminal(stty("-g"));
        stty("raw", "-echo");
        return terminal;
    }

    /** How large it is; what is usual when it does not know. */
    static TerminalSize size() {
        String[] words = stty("size").split(" ", -1);
        try {
            return new TerminalSize(Integer.parseInt(words[0]), Integer.parseInt(words[1]));
        } catch (NumberFormatException | ArrayIndexOutOfBoundsException | ForkdException e) {
            return USUAL;
        }
    }

    private static String stty(String... arguments) {
        String[] command = new String[arguments.length + 1];
        command[0] = "stty";
        System.arraycopy(arguments, 0, command, 1, arguments.length);
        try {
            Process process = new ProcessBuilder(command)
                    .redirectInput(ProcessBuilder.Redirect.INHERIT)
                    .redirectErrorStream(true)
                    .start();
            String said = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8).strip();
            if (process.waitFor() == 0) {
                return said;
            }
            throw new ForkdException(Kind.FAILED, "the terminal cannot be set: " + said);
        } catch (IOException e) {
            throw ForkdException.of("run stty", e);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new ForkdException(Kind.FAILED, "interrupted");
        }
    }

    @Override
    public void close() {
        boolean interrupted = Thread.interrupted(); // or nothing could be waited for
        try {
            stty(saved);
        } catch (ForkdException e) {
            // It is gone.
        } finally {
            if (interrupted) {
                Thread.currentThread().interrupt();
            }
        }
    }
}
