package io.forkd.cli;

import java.io.IOException;
import java.io.InputStream;
import java.time.Instant;
import java.util.List;
import java.util.Optional;

/** What cp is made of: something that tells of files, and something that makes them. */
final class Copy {
    private Copy() {}

    enum Type {
        FILE,
        DIRECTORY,
        SYMLINK,
        /** Another of these files, made before. */
        HARD_LINK
    }

    /**
     * One file.
     *
     * @param names from the root of what is copied to it; none of the root itself. Nobody vouches for them
     * @param target of a link; of a hard link the path in its archive
     */
    record Item(
            List<String> names,
            Type type,
            long size,
            int mode,
            long uid,
            long gid,
            Instant modified,
            Optional<String> target) {}

    /** Tells of each file, a directory before what is in it. */
    interface Source {
        void copyTo(Sink sink) throws IOException;
    }

    interface Sink extends AutoCloseable {
        /**
         * Makes one.
         *
         * @param content of a file, read at most to its end; empty of all else
         */
        void take(Item item, InputStream content) throws IOException;

        /** All has been taken. */
        @Override
        void close() throws IOException;
    }
}
