package io.forkd.daemon;

import io.forkd.ForkdException;
import io.forkd.engine.Engine;
import io.forkd.http.Caller;
import io.forkd.sandbox.Found;
import io.forkd.sandbox.Sandbox;
import io.forkd.snapshot.Manifest;
import io.forkd.snapshot.SnapshotTag;
import java.util.Optional;

/**
 * Whose things are. A user knows of its own, and of snapshots that are nobody's, which are for all; everybody else of all.
 * What cannot be read is no user's.
 */
final class Owners {
    private Owners() {}

    static boolean knows(Caller caller, Found sandbox) {
        return caller.owner().isEmpty() || caller.owner().equals(owner(sandbox));
    }

    static boolean knows(Engine engine, Caller caller, SnapshotTag tag) {
        if (caller.owner().isEmpty()) {
            return true;
        }
        try {
            Optional<String> owner = engine.store().read(tag).manifest().owner();
            return owner.isEmpty() || owner.equals(caller.owner());
        } catch (ForkdException e) {
            return false;
        }
    }

    /** Whether it may remove and replace it. */
    static boolean has(Engine engine, Caller caller, SnapshotTag tag) {
        return caller.owner().isEmpty() || caller.owner().equals(owner(engine, tag));
    }

    static Optional<String> owner(Engine engine, SnapshotTag tag) {
        try {
            return engine.store().read(tag).manifest().owner();
        } catch (ForkdException e) {
            return Optional.empty();
        }
    }

    static Optional<String> owner(Found sandbox) {
        try {
            return Manifest.read(Sandbox.manifest(sandbox.directory())).owner();
        } catch (ForkdException e) {
            return Optional.empty();
        }
    }
}
