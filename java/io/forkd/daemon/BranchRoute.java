package io.forkd.daemon;

import static io.forkd.http.Handler.forUsers;

import io.forkd.ForkdException;
import io.forkd.engine.BranchRequest;
import io.forkd.engine.BranchResult;
import io.forkd.engine.Call;
import io.forkd.engine.Engine;
import io.forkd.http.Body;
import io.forkd.http.Caller;
import io.forkd.http.HttpCall;
import io.forkd.http.HttpFailure;
import io.forkd.http.Response;
import io.forkd.http.Routes;
import io.forkd.sandbox.Sandbox;
import io.forkd.snapshot.Provenance.Difference;
import io.forkd.snapshot.Snapshot;
import io.forkd.snapshot.SnapshotStore.Entry;
import io.forkd.snapshot.SnapshotTag;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.SecureRandom;
import java.time.Duration;
import java.time.Instant;
import java.util.HexFormat;
import java.util.List;
import java.util.Optional;

/** {@code /v1/sandboxes/:id/branch}. Its checks have an order, which clients depend on. */
final class BranchRoute {
    private static final SecureRandom RANDOM = new SecureRandom();
    private static final String MEASURED = "measured-";

    private final Engine engine;
    private final SnapshotInfos infos;
    private final Branching branching;
    private final Quota quota;

    BranchRoute(Engine engine, SnapshotInfos infos, Branching branching, Quota quota) {
        this.engine = engine;
        this.infos = infos;
        this.branching = branching;
        this.quota = quota;
        removeMeasured();
    }

    /** How the published monitor makes a branch. Ours has one way, and what these differ in is what is kept of it. */
    private enum Mode {
        FULL,
        DIFF,
        LIVE
    }

    void addTo(Routes routes) {
        routes.postJson("/v1/sandboxes/:id/branch", forUsers(this::branch));
    }

    private Response branch(HttpCall http) {
        String id = SandboxLookup.id(engine, http.caller(), http.parameter("id"));
        Body body = http.body();
        Optional<String> named = body.optionalText("tag");
        Optional<String> mode = body.optionalChoice("mode", List.of("full", "diff", "live"));
        boolean diff = body.flag("diff", false);
        boolean live = body.flag("live", false);
        boolean measure = body.flag("measure_diff", false);
        boolean wait = body.flag("wait", true);
        Optional<String> parent = body.optionalText("parent_tag");
        SnapshotTag tag =
                named.map(given -> Failures.newTag(http.caller(), given)).orElseGet(() -> defaultTag(id));
        try (Branching.Slot slot = branching.take(http.caller(), tag)) {
            Mode chosen = mode(mode, diff, live, measure);
            if (!wait && chosen != Mode.LIVE) {
                throw new HttpFailure(400, "wait:false is for the mode live");
            }
            Path directory = engine.store().directory(tag);
            // One that failed may be replaced, by whom it belongs to.
            if (Files.exists(directory.resolve(Snapshot.VMSTATE))
                    || (Files.exists(directory) && !Owners.has(engine, http.caller(), tag))) {
                throw new HttpFailure(409, "snapshot " + tag + " exists");
            }
            Sandbox sandbox = SandboxLookup.usable(engine, http.caller(), id).sandbox();
            String source = sandbox.snapshot().tag();
            if (parent.isPresent() && !parent.get().equals(source)) {
                throw new HttpFailure(
                        400, "parent_tag is " + parent.get() + ", and sandbox " + id + " is of " + source);
            }
            if (parent.isPresent() && chosen != Mode.DIFF) {
                throw new HttpFailure(400, "parent_tag is for the mode diff");
            }
            Call call = Calls.of(http, Optional.empty());
            BranchRequest request = new BranchRequest(id, Optional.of(tag), chosen == Mode.DIFF, false, wait);
            long start = System.nanoTime();
            BranchResult made = quota.snapshot(http.caller(), tag, call, () -> {
                Optional<Difference> measured =
                        measure ? Optional.of(measure(http.caller(), id, slot, call)) : Optional.empty();
                BranchResult branch =
                        SandboxLookup.whileRunning(engine, http.caller(), id, () -> slot.branch(request, call));
                (chosen == Mode.DIFF ? Optional.of(difference(branch, start)) : measured)
                        .ifPresent(difference -> infos.note(branch, difference));
                return branch;
            });
            return wait ? Response.json(201, infos.info(made)) : Response.json(202, infos.writing(made));
        }
    }

    private static Mode mode(Optional<String> mode, boolean diff, boolean live, boolean measure) {
        if (mode.isPresent() && (diff || live)) {
            throw new HttpFailure(400, "mode stands in place of diff and live: give one of them");
        }
        boolean isDiff = diff || mode.equals(Optional.of("diff"));
        boolean isLive = live || mode.equals(Optional.of("live"));
        if ((measure ? 1 : 0) + (isDiff ? 1 : 0) + (isLive ? 1 : 0) > 1) {
            throw new HttpFailure(400, "measure_diff, diff and live exclude each other");
        }
        return isDiff ? Mode.DIFF : isLive ? Mode.LIVE : Mode.FULL;
    }

    /** What a branch that keeps differences only would have been, which is made and removed. */
    private Difference measure(Caller caller, String id, Branching.Slot slot, Call call) {
        SnapshotTag tag = new SnapshotTag(MEASURED + random() + random() + random() + random());
        BranchRequest request = new BranchRequest(id, Optional.of(tag), true, false, true).uncounted();
        long start = System.nanoTime();
        BranchResult made = SandboxLookup.whileRunning(engine, caller, id, () -> slot.branch(request, call));
        Difference difference = difference(made, start);
        Failures.internal(() -> {
            engine.snapshots().remove(tag, false);
            return true;
        });
        return difference;
    }

    private Difference difference(BranchResult layer, long start) {
        return infos.difference(engine.store().read(layer.tag()), Duration.ofNanos(System.nanoTime() - start));
    }

    /** What a daemon that was killed had made to measure it. */
    private void removeMeasured() {
        engine.store().list().stream()
                .map(Entry::tag)
                .filter(tag -> tag.matches(MEASURED + "[0-9a-f]{16}"))
                .forEach(tag -> {
                    try {
                        engine.snapshots().remove(new SnapshotTag(tag), false);
                    } catch (ForkdException e) {
                        // Whoever lists snapshots sees it.
                    }
                });
    }

    private static SnapshotTag defaultTag(String id) {
        // What is no id is not found, later than what is wrong otherwise.
        return Failures.tag("branch-" + (Sandbox.isId(id) ? id : "none") + "-"
                + Instant.now().getEpochSecond() + "-" + random());
    }

    private static String random() {
        byte[] random = new byte[2];
        RANDOM.nextBytes(random);
        return HexFormat.of().formatHex(random);
    }
}
