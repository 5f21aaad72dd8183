package io.forkd.files;

/** Who waits for something that somebody else has. */
public interface Waiter {
    /** Throws when it is not wanted any more. */
    void check();

    /** Hears what is waited for, once that takes a while. */
    void say(String line);
}
