package io.forkd.daemon;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.agent.GuestException;
import io.forkd.engine.Engine;
import io.forkd.http.Caller;
import io.forkd.http.HttpFailure;
import io.forkd.rootfs.NoRoomException;
import io.forkd.snapshot.SnapshotTag;
import java.nio.file.Files;
import java.util.Optional;
import java.util.function.Supplier;

/** How failures of the engine are answered. */
public final class Failures {
    private Failures() {}

    /** Without another rule. */
    public static HttpFailure answer(ForkdException e) {
        if (e instanceof NoRoomException full) {
            return new HttpFailure(full.isPassing() ? 503 : 403, e.sentence());
        }
        return new HttpFailure(
                switch (e.kind()) {
                    case USAGE -> 400;
                    case NOT_FOUND -> 404;
                    case CONFLICT -> 409;
                    case DAMAGED, FAILED, UNSUPPORTED -> 500;
                },
                e.sentence());
    }

    /** Of what a guest was asked over its streams. */
    public static HttpFailure ofGuest(ForkdException e) {
        if (e instanceof GuestException.Refused refused) {
            return new HttpFailure(status(refused.code()), e.sentence(), Optional.of(refused.code()));
        }
        return new HttpFailure(
                e instanceof GuestException.Broken || e instanceof GuestException.Lost
                        ? 502
                        : e instanceof GuestException.Late
                                ? 504
                                : e instanceof GuestException.Absent ? 501 : e.kind() == Kind.USAGE ? 400 : 500,
                e.sentence());
    }

    private static int status(String errno) {
        return switch (errno) {
            case "ENOENT", "ESRCH", "ESTALE" -> 404;
            case "EEXIST", "ENOTEMPTY", "EBUSY" -> 409;
            case "EACCES", "EPERM", "EROFS" -> 403;
            case "EINVAL", "ENOTDIR", "EISDIR", "ELOOP", "ENAMETOOLONG", "E2BIG", "EXDEV", "ENOTTY", "ENOEXEC" -> 400;
            case "EFBIG" -> 413;
            case "ENOSPC", "EDQUOT" -> 507;
            case "EAGAIN", "ENOMEM", "EMFILE", "ENFILE" -> 503;
            case "ENOSYS" -> 501;
            case "ETIMEDOUT" -> 504;
            default -> 502;
        };
    }

    /** What was there when it was looked at and cannot be used is the server's failure, not a wrong request. */
    public static <T> T internal(Supplier<T> job) {
        try {
            return job.get();
        } catch (ForkdException e) {
            throw internal(e);
        }
    }

    /** As {@link #internal(Supplier)} answers. */
    public static HttpFailure internal(ForkdException e) {
        return new HttpFailure(e.kind() == Kind.CONFLICT ? 409 : 500, e.sentence());
    }

    /** As {@link #internal}, of a job for which that snapshot has to be there: somebody may have removed it meanwhile. */
    public static <T> T of(Engine engine, Caller caller, SnapshotTag tag, Supplier<T> job) {
        return internal(() -> {
            try {
                return job.get();
            } catch (ForkdException e) {
                if (e.kind() == Kind.NOT_FOUND) {
                    requireThere(engine, caller, tag);
                }
                throw e;
            }
        });
    }

    public static void requireThere(Engine engine, Caller caller, SnapshotTag tag) {
        if (!Files.isDirectory(engine.store().directory(tag)) || !Owners.knows(engine, caller, tag)) {
            throw notFound(tag);
        }
    }

    public static HttpFailure notFound(SnapshotTag tag) {
        return new HttpFailure(404, "snapshot " + tag + " not found");
    }

    /** A tag for what that caller makes. Users leave those to workspaces as which these sleep: they would not. */
    public static SnapshotTag newTag(Caller caller, String text) {
        SnapshotTag tag = tag(text);
        if (caller.owner().isPresent() && Workspaces.isStateTag(tag)) {
            throw new HttpFailure(403, "the tag " + tag + " is for a workspace that sleeps: ws-<name>-state");
        }
        return tag;
    }

    /** A tag or name of a workspace, which have one rule. */
    public static SnapshotTag tag(String text) {
        try {
            return new SnapshotTag(text);
        } catch (ForkdException e) {
            throw new HttpFailure(400, e.sentence());
        }
    }
}
