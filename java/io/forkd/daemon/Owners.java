package io.forkd.daemon;

import io.forkd.ForkdException;
import io.forkd.engine.Engine;
import io.forkd.http.Caller;
import io.forkd.sandbox.Sandbox;
import io.forkd.snapshot.Manifest;
import io.forkd.snapshot.SnapshotTag;
import java.nio.file.Path;
import java.util.Optional;

/**
 * Whose things are. A user knows of its own, and of snapshots that are nobody's, which are for all; everybody else of all.
 * What cannot be read is no user's.
 */
public final class Owners {
    private Owners() {}

    /** Nobody is asked: what has not been told whose it is must not take longer to deny than what is not there. */
    static boolean knows(Caller caller, Path sandbox) {
        return caller.owner().isEmpty() || caller.owner().equals(owner(sandbox));
    }

    public static boolean knows(Engine engine, Caller caller, SnapshotTag tag) {
        if (caller.owner().isEmpty()) {
            return true;
        }
        try {
            engine.store().read(tag, caller.owner());
            return true;
        } catch (ForkdException e) {
            return false;
        }
    }

    /** Whether it may remove and replace it. */
    public static boolean has(Engine engine, Caller caller, SnapshotTag tag) {
        return caller.owner().isEmpty() || caller.owner().equals(owner(engine, tag));
    }

    static Optional<String> owner(Engine engine, SnapshotTag tag) {
        try {
            return engine.store().read(tag).manifest().owner();
        } catch (ForkdException e) {
            return Optional.empty();
        }
    }

    private static Optional<String> owner(Path sandbox) {
        try {
            return Manifest.read(Sandbox.manifest(sandbox)).owner();
        } catch (ForkdException e) {
            return Optional.empty();
        }
    }
}
