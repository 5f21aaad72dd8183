package io.forkd.cli;

import io.forkd.Remedy;
import io.forkd.engine.Progress;
import java.io.PrintStream;
import java.util.regex.Pattern;

/**
 * Where a person reads how a job goes on.
 *
 * @param terminal whether that is now: then steps are shown, each in place of the one before
 */
record Screen(PrintStream err, boolean terminal) implements Progress {
    private static final String ERASE_LINE = "\r\u001b[K";

    private static final Pattern CONTROLS = Pattern.compile("[\\p{Cc}&&[^\n\t]]");

    /** Without what a terminal would do something with: names of a guest's files are in what is said of them. */
    static String shown(String text) {
        return CONTROLS.matcher(text).replaceAll("?");
    }

    @Override
    public void step(String what) {
        if (terminal) {
            err.print(ERASE_LINE + shown(what) + "...");
        }
    }

    @Override
    public void warn(String what, Remedy remedy) {
        note("forkd: " + Remedies.warning(what, remedy));
    }

    /** A whole line. */
    void note(String line) {
        clear();
        err.println(shown(line));
    }

    /** Takes the last step off the screen. */
    void clear() {
        if (terminal) {
            err.print(ERASE_LINE);
        }
        err.flush();
    }
}
