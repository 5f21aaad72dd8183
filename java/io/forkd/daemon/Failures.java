package io.forkd.daemon;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.http.HttpFailure;
import io.forkd.snapshot.SnapshotTag;
import java.util.function.Supplier;

/** How failures of the engine are answered. */
final class Failures {
    private Failures() {}

    /** Without another rule. */
    static HttpFailure answer(ForkdException e) {
        return new HttpFailure(
                switch (e.kind()) {
                    case USAGE -> 400;
                    case NOT_FOUND -> 404;
                    case CONFLICT -> 409;
                    case DAMAGED, FAILED, UNSUPPORTED -> 500;
                },
                e.sentence());
    }

    /** What was there when it was looked at and cannot be used is the server's failure, not a wrong request. */
    static <T> T internal(Supplier<T> job) {
        try {
            return job.get();
        } catch (ForkdException e) {
            throw internal(e);
        }
    }

    /** As {@link #internal(Supplier)} answers. */
    static HttpFailure internal(ForkdException e) {
        return new HttpFailure(e.kind() == Kind.CONFLICT ? 409 : 500, e.sentence());
    }

    /** A tag or name of a workspace, which have one rule. */
    static SnapshotTag tag(String text) {
        try {
            return new SnapshotTag(text);
        } catch (ForkdException e) {
            throw new HttpFailure(400, e.sentence());
        }
    }
}
