package io.forkd.daemon;

import io.forkd.ForkdException;
import io.forkd.engine.Call;
import io.forkd.engine.Engine;
import io.forkd.http.Caller;
import io.forkd.http.Caller.Quotas;
import io.forkd.http.HttpFailure;
import io.forkd.sandbox.Found;
import io.forkd.sandbox.Sandbox;
import io.forkd.snapshot.Manifest;
import io.forkd.snapshot.SnapshotStore.Entry;
import io.forkd.snapshot.SnapshotTag;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.function.Supplier;

/**
 * How much a user may have. What it has is counted in the folders; what calls under way are making is added to that, and
 * one that is too many only together with those waits for what becomes of them. So no two pass together that may not, and
 * none is refused for what does not come to be.
 */
public final class Quota {
    private static final int LOOK_AGAIN_MS = 100;

    /** What somebody has, or is about to. */
    private record Use(Optional<String> owner, long sandboxes, long memoryMib, long snapshots) {
        Use and(Use more) {
            return new Use(owner, sandboxes + more.sandboxes, memoryMib + more.memoryMib, snapshots + more.snapshots);
        }

        boolean fits(Quotas quotas) {
            return sandboxes <= quotas.sandboxes().orElse(Long.MAX_VALUE)
                    && memoryMib <= quotas.memoryMib().orElse(Long.MAX_VALUE)
                    && snapshots <= quotas.snapshots().orElse(Long.MAX_VALUE);
        }
    }

    private final Engine engine;

    /** Guarded by this. */
    private final List<Use> underWay = new ArrayList<>();

    Quota(Engine engine) {
        this.engine = engine;
    }

    /**
     * Makes sandboxes.
     *
     * @throws HttpFailure 403 when they would be too many for the caller, or their memory too much
     */
    public <T> T sandboxes(Caller caller, SnapshotTag of, int count, Call call, Supplier<T> job) {
        if (!isBounded(caller)) {
            return job.get();
        }
        return sandboxes(caller, engine.store().read(of).manifest(), count, call, job);
    }

    /** As {@link #sandboxes(Caller, SnapshotTag, int, Call, Supplier)}, of what has that manifest. */
    public <T> T sandboxes(Caller caller, Manifest of, int count, Call call, Supplier<T> job) {
        if (!isBounded(caller)) {
            return job.get();
        }
        long each = mib(of);
        return within(caller, new Use(caller.owner(), count, count * each, 0), () -> sandboxesOf(caller), call, job);
    }

    /**
     * Makes a snapshot of that tag, or replaces it.
     *
     * @throws HttpFailure 403 when it would be one too many for the caller
     */
    public <T> T snapshot(Caller caller, SnapshotTag tag, Call call, Supplier<T> job) {
        if (!isBounded(caller)) {
            return job.get();
        }
        return within(caller, new Use(caller.owner(), 0, 0, 1), () -> snapshotsOf(caller, tag), call, job);
    }

    /**
     * Boots a guest with that much memory, which is a sandbox as long as it is there, and makes a snapshot of it.
     *
     * @throws HttpFailure 403 when one of these would be too much for the caller
     */
    public <T> T booted(Caller caller, SnapshotTag tag, long memoryMib, Call call, Supplier<T> job) {
        if (!isBounded(caller)) {
            return job.get();
        }
        return within(
                caller,
                new Use(caller.owner(), 1, memoryMib, 1),
                () -> sandboxesOf(caller).and(snapshotsOf(caller, tag)),
                call,
                job);
    }

    private static boolean isBounded(Caller caller) {
        return caller.owner().isPresent() && !caller.quotas().equals(Quotas.NONE);
    }

    private <T> T within(Caller caller, Use more, Supplier<Use> there, Call call, Supplier<T> job) {
        admit(caller, more, there, call);
        try {
            return job.get();
        } finally {
            synchronized (this) {
                underWay.remove(more);
                notifyAll();
            }
        }
    }

    private synchronized void admit(Caller caller, Use more, Supplier<Use> there, Call call) {
        while (true) {
            call.check();
            Use now = there.get();
            Use then = now.and(more);
            if (!then.fits(caller.quotas())) {
                throw refused(caller, now, more);
            }
            for (Use other : underWay) {
                if (other.owner().equals(more.owner())) {
                    then = then.and(other);
                }
            }
            if (then.fits(caller.quotas())) {
                underWay.add(more);
                return;
            }
            try {
                wait(LOOK_AGAIN_MS);
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
                throw new HttpFailure(503, "the daemon is stopping");
            }
        }
    }

    private static HttpFailure refused(Caller caller, Use now, Use more) {
        Quotas quotas = caller.quotas();
        List<String> why = new ArrayList<>();
        add(why, quotas.sandboxes(), now.sandboxes, more.sandboxes, "sandboxes");
        add(why, quotas.memoryMib(), now.memoryMib, more.memoryMib, "MiB of memory in sandboxes");
        add(why, quotas.snapshots(), now.snapshots, more.snapshots, "snapshots");
        return new HttpFailure(403, "the quota of " + caller.name() + " is reached: " + String.join("; ", why));
    }

    private static void add(List<String> why, OptionalLong most, long there, long more, String what) {
        if (most.isPresent() && there + more > most.getAsLong()) {
            why.add(most.getAsLong() + " " + what + " are allowed, there are " + there + ", and this would be " + more
                    + " more");
        }
    }

    private Use sandboxesOf(Caller caller) {
        long count = 0;
        long memory = 0;
        for (Found found : engine.sandboxes().list()) {
            try {
                Manifest manifest = Manifest.read(Sandbox.manifest(found.directory()));
                if (manifest.owner().equals(caller.owner())) {
                    count++;
                    memory += mib(manifest);
                }
            } catch (ForkdException e) {
                // It has ended, or is no user's.
            }
        }
        return new Use(caller.owner(), count, memory, 0);
    }

    private Use snapshotsOf(Caller caller, SnapshotTag but) {
        long count = 0;
        for (Entry entry : engine.store().list()) {
            try {
                SnapshotTag tag = new SnapshotTag(entry.tag());
                if (!tag.equals(but) && Owners.owner(engine, tag).equals(caller.owner())) {
                    count++;
                }
            } catch (ForkdException e) {
                // It is no snapshot.
            }
        }
        return new Use(caller.owner(), 0, 0, count);
    }

    private static long mib(Manifest manifest) {
        return (manifest.memoryBytes() + (1 << 20) - 1) >> 20;
    }
}
