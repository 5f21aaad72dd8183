package io.forkd.engine;

import io.forkd.Remedy;

/** Hears how a long job goes on; who draws it is somebody else's business. */
public interface Progress {
    /** What is being done now, as in "booting". */
    void step(String what);

    /** Something the user should know, though the job goes on. */
    default void warn(String what) {
        warn(what, Remedy.NONE);
    }

    /** The same, where something can be done about it. */
    void warn(String what, Remedy remedy);
}
