package io.forkd.daemon.e2b;

import io.forkd.daemon.e2b.BuildLog.Level;
import java.time.Instant;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.UUID;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import tools.jackson.databind.node.ObjectNode;

/** One build of a template, from when it is announced. Any thread may look at it. */
final class Build {
    /** How far it has come. */
    enum Status {
        WAITING,
        BUILDING,
        READY,
        ERROR;

        String text() {
            return name().toLowerCase(Locale.ROOT);
        }
    }

    static final String BASE = "base";
    static final String FINALIZE = "finalize";

    private static final int MOST_REASON = 4096;

    /**
     * What is to come of it.
     *
     * @param names that it is to have, of one template
     * @param sized whether the client has said how many processors and how much memory
     * @param diskMib that is to be free, at least
     */
    record Plan(
            Optional<String> owner, List<TemplateName> names, boolean sized, int vcpus, int memoryMib, int diskMib) {
        String template() {
            return names.get(0).name();
        }
    }

    private final String id = UUID.randomUUID().toString();
    private final Instant made = Instant.now();
    private final Plan plan;
    private final BuildLog log = new BuildLog();
    private final CountDownLatch over = new CountDownLatch(1);

    /** Guarded by this, as all below. */
    private Status status = Status.WAITING;

    private boolean started;
    private String step = BASE;
    private Optional<String> reason = Optional.empty();
    private Optional<String> cancelled = Optional.empty();
    private Runnable canceller = () -> {};
    private Instant changed = made;

    Build(Plan plan) {
        this.plan = plan;
    }

    String id() {
        return id;
    }

    Plan plan() {
        return plan;
    }

    BuildLog log() {
        return log;
    }

    /** What is told from now on is about that. */
    synchronized void at(String which) {
        step = which;
    }

    void tell(Level level, String message) {
        log.add(level, step(), message);
    }

    synchronized String step() {
        return step;
    }

    synchronized Status status() {
        return status;
    }

    synchronized boolean isOver() {
        return status == Status.READY || status == Status.ERROR;
    }

    /** False when somebody has started it before. */
    synchronized boolean start() {
        if (started || isOver()) {
            return false;
        }
        started = true;
        return true;
    }

    synchronized boolean isStarted() {
        return started;
    }

    synchronized void begin() {
        status = Status.BUILDING;
        changed = Instant.now();
    }

    void succeed() {
        log.end(Level.INFO, FINALIZE, "The template " + plan.template() + " is built");
        end(Status.READY, Optional.empty());
    }

    void fail(String why) {
        String given = whyCancelled().orElse(why);
        // A client asks again and again, and a command may be as long as a body.
        String text = given.length() <= MOST_REASON ? given : given.substring(0, MOST_REASON) + "...";
        log.end(Level.ERROR, step(), text);
        end(Status.ERROR, Optional.of(text));
    }

    private synchronized void end(Status how, Optional<String> why) {
        status = how;
        reason = why;
        changed = Instant.now();
        over.countDown();
    }

    /** Has it end; one that was not started is over at once. */
    void cancel(String why) {
        Runnable now;
        boolean begun;
        synchronized (this) {
            if (isOver() || cancelled.isPresent()) {
                return;
            }
            cancelled = Optional.of(why);
            now = canceller;
            begun = started;
            started = true;
        }
        if (begun) {
            now.run();
        } else {
            fail(why);
        }
    }

    synchronized Optional<String> whyCancelled() {
        return cancelled;
    }

    /** What ends it, from now on. */
    void cancelledBy(Runnable end) {
        boolean late;
        synchronized (this) {
            canceller = end;
            late = cancelled.isPresent();
        }
        if (late) {
            end.run();
        }
    }

    /** Waits so long until it is over. */
    boolean awaitEnd(long millis) throws InterruptedException {
        return over.await(millis, TimeUnit.MILLISECONDS);
    }

    /** As its status has it. */
    synchronized void put(ObjectNode node) {
        node.put("templateID", plan.template()).put("buildID", id).put("status", status.text());
        reason.ifPresent(why -> node.putObject("reason").put("message", why).put("step", step));
    }

    /** As its template lists it. */
    synchronized void list(ObjectNode node) {
        node.put("buildID", id)
                .put("status", status.text())
                .put("createdAt", made.toString())
                .put("updatedAt", changed.toString())
                .put("cpuCount", plan.vcpus())
                .put("memoryMB", plan.memoryMib());
        if (isOver()) {
            node.put("finishedAt", changed.toString());
        }
    }
}
