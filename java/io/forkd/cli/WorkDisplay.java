package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.image.Work;
import java.time.Duration;
import java.util.Locale;

/** Shows how a long job goes on: on a terminal with bytes, rate and time left, otherwise a line for each step. */
final class WorkDisplay implements Work {
    private static final long REDRAW_NANOS = 100_000_000;

    private final Shell shell;
    private String step = "";
    private long total;
    private long done;
    private long begun;
    private long drawn;

    WorkDisplay(Shell shell) {
        this.shell = shell;
    }

    @Override
    public synchronized void begin(String what, long bytes) {
        step = what;
        total = bytes;
        done = 0;
        begun = System.nanoTime();
        drawn = begun;
        if (shell.terminal()) {
            shell.step(what);
        } else {
            shell.note(what + (bytes > 0 ? " (" + Format.size(bytes) + ")" : ""));
        }
    }

    @Override
    public synchronized void advance(long bytes) {
        done += bytes;
        long now = System.nanoTime();
        boolean complete = total > 0 && done >= total;
        if (shell.terminal() && (complete || now - drawn >= REDRAW_NANOS)) {
            drawn = now;
            // What was pulled is unpacked for a while after that.
            shell.step(step + ": " + (complete ? Format.size(total) : progress(now - begun)));
        }
    }

    private String progress(long nanos) {
        double rate = done * 1e9 / Math.max(1, nanos);
        String line = Format.size(done) + (total > 0 ? " of " + Format.size(total) : "") + ", "
                + Format.size((long) rate) + "/s";
        if (total > done && rate > 0) {
            Duration left = Duration.ofSeconds((long) Math.ceil((total - done) / rate));
            line += String.format(Locale.ROOT, ", %d:%02d left", left.toMinutes(), left.toSecondsPart());
        }
        return line;
    }

    @Override
    public void say(String line) {
        shell.note(line);
    }

    @Override
    public void onEnd(Runnable end) {
        shell.call().onCancel(end);
    }

    @Override
    public void check() {
        if (shell.call().isCancelled()) {
            throw new ForkdException(Kind.FAILED, "interrupted");
        }
    }
}
