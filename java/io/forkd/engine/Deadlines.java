package io.forkd.engine;

import io.forkd.ForkdException;
import io.forkd.sandbox.Sandbox;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;

/** When the time of which sandbox may be over, for a service, which then looks. What the files say is what counts. */
final class Deadlines implements AutoCloseable {
    /** How many are ended or paused at a time; half of them one user's at most, whose may take long, and 6 users'. */
    private static final int WORKERS = 8;

    private static final long SOON_MS = 500;

    /** Of one that could not be paused: the disk may be full. */
    private static final long AGAIN_SECS = 30;

    private final Lifetimes lifetimes;
    private final Sandboxes sandboxes;
    private final Map<String, Instant> due = new ConcurrentHashMap<>();
    private final ExecutorService workers;

    /** Whose they are that are looked at. Guarded by itself. */
    private final List<Optional<String>> underWay = new ArrayList<>();

    Deadlines(Lifetimes lifetimes, Sandboxes sandboxes) {
        this.lifetimes = lifetimes;
        this.sandboxes = sandboxes;
        ThreadPoolExecutor pool =
                new ThreadPoolExecutor(WORKERS, WORKERS, 10, TimeUnit.SECONDS, new LinkedBlockingQueue<>(), job -> {
                    Thread thread = new Thread(job, "deadlines");
                    thread.setDaemon(true);
                    return thread;
                });
        pool.allowCoreThreadTimeOut(true);
        workers = pool;
    }

    /** One that runs. */
    void note(Sandbox sandbox) {
        sandbox.lifetime()
                .end(sandbox.lifetime().isTimed() ? Lifetimes.lastUse(sandbox) : Instant.EPOCH)
                .ifPresentOrElse(end -> due.put(sandbox.id(), end), () -> due.remove(sandbox.id()));
    }

    /** Has those be looked at whose time may have come. */
    void tick() {
        Instant now = Instant.now();
        List<String> over = new ArrayList<>();
        due.forEach((id, end) -> {
            if (!end.isAfter(now) && due.remove(id, end)) {
                over.add(id);
            }
        });
        over.forEach(id -> workers.execute(() -> look(id)));
    }

    private void look(String id) {
        Optional<String> owner = sandboxes.directory(id).flatMap(Sandboxes::owner);
        synchronized (underWay) {
            if (owner.isPresent()
                    && (Collections.frequency(underWay, owner) >= WORKERS / 2
                            || underWay.stream().filter(Optional::isPresent).count() >= WORKERS * 3L / 4)) {
                due.putIfAbsent(id, Instant.now().plusMillis(SOON_MS));
                return;
            }
            underWay.add(owner);
        }
        try {
            if (!lifetimes.expire(id, false)) {
                sandboxes.runs(id).ifPresent(sandbox -> {
                    note(sandbox);
                    // It may be in use, and is looked at no more often than it can be over.
                    due.computeIfPresent(id, (same, end) -> {
                        Instant soon = Instant.now().plusMillis(SOON_MS);
                        return end.isBefore(soon) ? soon : end;
                    });
                });
            }
        } catch (ForkdException e) {
            due.putIfAbsent(id, Instant.now().plusSeconds(AGAIN_SECS));
        } finally {
            synchronized (underWay) {
                underWay.remove(owner);
            }
        }
    }

    Optional<Instant> due(String id) {
        return Optional.ofNullable(due.get(id));
    }

    @Override
    public void close() {
        workers.shutdown();
    }
}
