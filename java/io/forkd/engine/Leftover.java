package io.forkd.engine;

import io.forkd.ForkdException;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Optional;

/**
 * Something that nobody needs any more, or that is not where it belongs.
 *
 * @param what it is, when its path does not tell
 */
public record Leftover(Path path, String what, Repair repair) {
    /** Looks once more whether it is needed, and removes it, or puts it where it belongs: where that is. */
    public interface Repair {
        Optional<Path> run() throws IOException;
    }

    /** Looks once more whether it is needed, and removes it. */
    public interface Removal {
        void run() throws IOException;
    }

    public static Leftover removed(Path path, String what, Removal removal) {
        return new Leftover(path, what, () -> {
            removal.run();
            return Optional.empty();
        });
    }

    static Leftover removed(Path path, Removal removal) {
        return removed(path, "", removal);
    }

    /** For what is removed in passing: forkd cleanup says why it is still there. */
    void tryToRemove() {
        try {
            setRight();
        } catch (ForkdException e) {
            // The next command tries again.
        }
    }

    /** Where it has been put, unless it was removed. */
    public Optional<Path> setRight() {
        try {
            return repair.run();
        } catch (IOException e) {
            throw ForkdException.of("remove " + path, e);
        }
    }
}
