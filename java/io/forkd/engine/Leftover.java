package io.forkd.engine;

import io.forkd.ForkdException;
import java.io.IOException;
import java.nio.file.Path;

/**
 * Something that nobody needs any more.
 *
 * @param what it is, when its path does not tell
 */
public record Leftover(Path path, String what, Removal removal) {
    /** Looks once more whether it is needed, and removes it. */
    public interface Removal {
        void run() throws IOException;
    }

    Leftover(Path path, Removal removal) {
        this(path, "", removal);
    }

    /** For what is removed in passing: forkd cleanup says why it is still there. */
    void tryToRemove() {
        try {
            remove();
        } catch (ForkdException e) {
            // The next command tries again.
        }
    }

    public void remove() {
        try {
            removal.run();
        } catch (IOException e) {
            throw ForkdException.of("remove " + path, e);
        }
    }
}
