package io.forkd.engine;

/** Hears how a long job goes on; who draws it is somebody else's business. */
public interface Progress {
    /** What is being done now, as in "booting". */
    void step(String what);

    /** Something the user should know, though the job goes on. */
    void warn(String what);
}
