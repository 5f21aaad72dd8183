package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.agent.CommandFailed;
import io.forkd.agent.GuestException;
import io.forkd.agent.GuestProcess;
import io.forkd.agent.GuestProcess.Exit;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.Optional;

/** A program in a guest, connected with the streams of this process until it ends or its user leaves. */
final class Session implements GuestProcess.Output {
    private static final int SIGHUP = 1;
    private static final byte CTRL_P = 16;
    private static final byte CTRL_Q = 17;

    private final Shell shell;
    private final GuestProcess process;
    private final boolean input;
    private final boolean raw;
    private volatile boolean left;

    /** @param input whether it gets what is on stdin */
    Session(Shell shell, GuestProcess process, boolean input) {
        this.shell = shell;
        this.process = process;
        this.input = input && process.takesInput();
        this.raw = process.hasTerminal() && Shell.isTerminal(0);
    }

    /** Until the program ends; its exit status. One that is left by its user has 0, and goes on. */
    int run() {
        try (AutoCloseable terminal = raw && input ? Terminal.raw() : () -> {}) {
            if (raw) {
                resize();
                Signals.on("WINCH", this::resize);
            }
            if (input) {
                Thread pump = new Thread(this::pump, "stdin");
                pump.setDaemon(true); // nobody can end a read of stdin
                pump.start();
            }
            Exit exit = shell.call().interruptibly(() -> process.await(this));
            if (exit.timedOut()) {
                throw new CommandFailed("the command took longer than it may, and was ended", CommandFailed.TIMED_OUT);
            }
            return ExecCommand.shellStatus(exit.code());
        } catch (GuestException.Lost e) {
            if (left) {
                return 0;
            }
            throw e;
        } catch (ForkdException | Shell.OutputLost e) {
            throw e;
        } catch (Exception e) { // of AutoCloseable; neither throws one
            throw new IllegalStateException(e);
        } finally {
            if (left) {
                shell.note("[left process " + process.pid() + ", which goes on]");
            }
        }
    }

    /** Hangs up, as a terminal that goes away: for one that is to end with us. */
    void hangUp() {
        end(process, SIGHUP);
    }

    /** Sends that to all of its session, also for who is interrupted. */
    static void end(GuestProcess process, int signal) {
        boolean interrupted = Thread.interrupted(); // or nobody could be told
        try {
            process.signal(signal, true);
        } catch (ForkdException e) {
            // It has ended.
        } finally {
            if (interrupted) {
                Thread.currentThread().interrupt();
            }
        }
    }

    boolean hasLeft() {
        return left;
    }

    private void resize() {
        try {
            process.resize(Terminal.size());
        } catch (ForkdException e) {
            // It has ended, or the terminal is gone.
        }
    }

    private void pump() {
        try {
            if (!raw) {
                process.feed(System.in);
                return;
            }
            byte[] keys = new byte[4096];
            boolean held = false;
            for (int count = System.in.read(keys); count >= 0; count = System.in.read(keys)) {
                Optional<Boolean> next = type(keys, count, held);
                if (next.isEmpty()) {
                    left = true;
                    process.close();
                    return;
                }
                held = next.get();
            }
            hangUp();
        } catch (IOException | ForkdException e) {
            // Its reader finds out.
        }
    }

    /** Sends keys; whether the last was Ctrl-P, which is held back; empty when Ctrl-Q followed one. */
    private Optional<Boolean> type(byte[] keys, int count, boolean before) {
        ByteBuffer typed = ByteBuffer.allocate(count + 1);
        boolean held = before;
        for (int i = 0; i < count; i++) {
            if (held && keys[i] == CTRL_Q) {
                process.write(typed.flip());
                return Optional.empty();
            }
            if (held) {
                typed.put(CTRL_P);
            }
            held = keys[i] == CTRL_P;
            if (!held) {
                typed.put(keys[i]);
            }
        }
        process.write(typed.flip());
        return Optional.of(held);
    }

    @Override
    public void stdout(ByteBuffer bytes) {
        shell.write(shell.out(), bytes);
    }

    @Override
    public void stderr(ByteBuffer bytes) {
        shell.write(shell.err(), bytes);
    }

    /** With what helps, when a guest knows no streams. */
    static ForkdException explained(GuestException.Absent e) {
        return new ForkdException(
                Kind.UNSUPPORTED,
                e.sentence(),
                "Its agent is older than -t, -d, attach, cp and port-forward: take its snapshot again.");
    }
}
