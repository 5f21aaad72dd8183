package io.forkd.bench;

import java.util.Locale;

/** What can be measured. */
public enum Benchmark {
    /** N children at once. */
    FORK,
    /** One child, from nothing: the fork server's start and the child's. */
    RESTORE,
    /** What N idle children take. */
    IDLE,
    /** An expression in the warm interpreter, against a fresh one, in the same child. */
    EVAL;

    public String label() {
        return name().toLowerCase(Locale.ROOT);
    }
}
