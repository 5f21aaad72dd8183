package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import java.io.IOException;
import java.io.InputStream;
import java.io.PrintStream;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;

/**
 * This command once more, in a session of its own, so that it goes on when this one has ended and its terminal is closed.
 * What it writes until it says that it is ready is what this one writes.
 */
final class Background {
    /** In the environment of one in the background: it says that it is ready by closing its streams. */
    private static final String MARK = "FORKD_BACKGROUND";

    private static final long SLICE_MILLIS = 100;

    private final Shell shell;
    private final List<String> more;

    /** @param more arguments that the other one has beside ours */
    Background(Shell shell, List<String> more) {
        this.shell = shell;
        this.more = more;
    }

    /** Returns when it is ready, or has ended; then that is how it ended. */
    int untilReady() {
        List<String> command = new ArrayList<>(List.of("setsid"));
        try {
            command.addAll(BoundedHeap.ownCommand());
            command.addAll(more);
            ProcessBuilder builder = new ProcessBuilder(command);
            builder.environment().putAll(shell.environment());
            builder.environment().put(MARK, "1");
            Process process = builder.start();
            AtomicBoolean ours = new AtomicBoolean(true); // which an exit cancels as well
            shell.call().onCancel(() -> {
                if (ours.get()) {
                    process.destroy();
                }
            });
            process.getOutputStream().close();
            Thread errors = relay(process.getErrorStream(), shell.err());
            Thread results = relay(process.getInputStream(), shell.out());
            errors.join();
            results.join();
            // What has closed its streams goes on, or is about to end.
            if (process.waitFor(SLICE_MILLIS, TimeUnit.MILLISECONDS)) {
                return process.exitValue();
            }
            shell.call().check();
            ours.set(false);
            return 0;
        } catch (IOException e) {
            throw new ForkdException(
                    Kind.FAILED,
                    "cannot go on in the background: " + ForkdException.reason(e),
                    "Install setsid (util-linux), or wait for the end (--wait).");
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new ForkdException(Kind.FAILED, "interrupted");
        }
    }

    private static Thread relay(InputStream from, PrintStream to) {
        Thread thread = new Thread(
                () -> {
                    try {
                        from.transferTo(to);
                        to.flush();
                    } catch (IOException e) {
                        // It has ended.
                    }
                },
                "forkd-background");
        thread.setDaemon(true);
        thread.start();
        return thread;
    }

    /** Lets the one go that waits for this one, if it is in the background; nobody hears of it any more. */
    static void ready(Shell shell) {
        if (System.getenv(MARK) != null) {
            shell.out().close();
            shell.err().close();
        }
    }
}
