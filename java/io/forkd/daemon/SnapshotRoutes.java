package io.forkd.daemon;

import static io.forkd.http.Handler.forUsers;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.Limits;
import io.forkd.engine.Call;
import io.forkd.engine.Engine;
import io.forkd.engine.SnapshotRequest;
import io.forkd.engine.Snapshots.Removal;
import io.forkd.engine.VolumeConflict;
import io.forkd.http.Body;
import io.forkd.http.HttpCall;
import io.forkd.http.HttpFailure;
import io.forkd.http.Metrics;
import io.forkd.http.Response;
import io.forkd.http.Routes;
import io.forkd.kernel.GuestKernel;
import io.forkd.snapshot.Snapshot;
import io.forkd.snapshot.Snapshot.State;
import io.forkd.snapshot.SnapshotTag;
import java.nio.file.Files;
import java.nio.file.InvalidPathException;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.stream.Stream;

/** {@code /v1/snapshots}: taken, listed, told of, made flat and removed. */
final class SnapshotRoutes {
    private static final long MOST_BOOT_SECONDS = 60;
    private static final int MEMORY_MIB = 512;
    private static final int VCPUS = 2;

    private final Engine engine;
    private final SnapshotInfos infos;
    private final Branching branching;
    private final Quota quota;

    SnapshotRoutes(Engine engine, SnapshotInfos infos, Branching branching, Quota quota, Metrics metrics) {
        this.engine = engine;
        this.infos = infos;
        this.branching = branching;
        this.quota = quota;
        metrics.gauge("forkd_snapshots_total", "Snapshots, usable or not.", infos::count);
    }

    void addTo(Routes routes) {
        routes.get("/v1/snapshots", forUsers(call -> Response.json(200, infos.list(call.caller()))));
        // It reads files of this host by their names, so it is not for users.
        routes.postJson("/v1/snapshots", this::create);
        routes.delete("/v1/snapshots/:tag", forUsers(this::delete));
        routes.get("/v1/snapshots/:tag/info", forUsers(this::info));
        routes.postJson("/v1/snapshots/:tag/compact", forUsers(this::compact));
    }

    private Response create(HttpCall http) {
        Body body = http.body();
        String name = body.text("tag");
        String kernelText = body.text("kernel");
        String rootfsText = body.text("rootfs");
        boolean readWrite = body.flag("rw", false);
        Optional<String> tap = body.optionalText("tap");
        long seconds = body.optionalNumber("boot_wait_secs", 0, Long.MAX_VALUE).orElse(10);
        Limits limits = SandboxRoutes.limits(body);
        SnapshotTag tag = Failures.tag(name);
        Path kernel = existing("kernel", kernelText);
        Path rootfs = existing("rootfs", rootfsText);
        if (seconds > MOST_BOOT_SECONDS) {
            throw new HttpFailure(400, "boot_wait_secs is at most " + MOST_BOOT_SECONDS);
        }
        if (Files.exists(engine.store().directory(tag).resolve(Snapshot.VMSTATE))) {
            throw new HttpFailure(400, "snapshot " + tag + " exists");
        }
        SnapshotRequest request = new SnapshotRequest(
                tag,
                GuestKernel.find(Optional.of(kernel), Optional.empty(), engine.dataDirectory()),
                rootfs,
                readWrite || rootfsText.toLowerCase(Locale.ROOT).endsWith(".ext4"),
                tap,
                MEMORY_MIB,
                VCPUS,
                limits,
                List.of(),
                VolumeConflict.FAIL,
                Optional.empty(),
                Duration.ofSeconds(Math.max(1, seconds)),
                false,
                false);
        try (Branching.Slot slot = branching.takeBuild(tag)) {
            Failures.internal(() -> engine.snapshot(request, Calls.of(http, Optional.empty())));
            return Response.json(201, infos.info(tag));
        }
    }

    private static Path existing(String field, String text) {
        try {
            Path path = Path.of(text);
            if (Files.isRegularFile(path)) {
                return path.toAbsolutePath();
            }
        } catch (InvalidPathException e) {
            // No file has such a name.
        }
        throw new HttpFailure(400, "the " + field + " " + text + " does not exist, or is no file");
    }

    private Response delete(HttpCall http) {
        SnapshotTag tag = Failures.tag(http.parameter("tag"));
        boolean cascade = http.queryFlag("cascade");
        boolean force = http.queryFlag("force");
        if (cascade && force) {
            throw new HttpFailure(400, "cascade and force exclude each other");
        }
        requireThere(http, tag);
        if (!Owners.has(engine, http.caller(), tag)) {
            throw new HttpFailure(403, "snapshot " + tag + " is for all, so only administrators remove it");
        }
        // Sandboxes of it keep running: nobody writes to its files, and they have them mapped.
        Removal removal = engine.snapshots().planRemoval(List.of(tag), cascade, true);
        removal.refused().values().forEach(refusal -> {
            throw refusal;
        });
        if (Stream.concat(removal.all().stream(), removal.orphans().stream())
                .anyMatch(each -> !Owners.has(engine, http.caller(), each))) {
            throw new HttpFailure(409, "snapshot " + tag + " is the parent of snapshots that others have");
        }
        if (!removal.orphans().isEmpty() && !force) {
            throw new HttpFailure(
                    409,
                    "snapshot " + tag + " is the parent of " + removal.orphans()
                            + ": cascade=true removes them, too, force=true leaves them without their parent");
        }
        removal.all().forEach(each -> {
            if (!remove(each, removal) && each.equals(tag)) {
                throw Failures.notFound(tag);
            }
        });
        return Response.empty(204);
    }

    /** False when somebody else has removed it. */
    private boolean remove(SnapshotTag tag, Removal plan) {
        try {
            engine.snapshots().remove(tag, plan, !isWriting(tag));
            return true;
        } catch (ForkdException e) {
            if (e.kind() == Kind.NOT_FOUND) {
                return false;
            }
            throw new HttpFailure(e.kind() == Kind.CONFLICT ? 409 : 500, e.sentence());
        }
    }

    private boolean isWriting(SnapshotTag tag) {
        try {
            return engine.store().state(engine.store().read(tag)) == State.WRITING;
        } catch (ForkdException e) {
            return false;
        }
    }

    private void requireThere(HttpCall http, SnapshotTag tag) {
        Failures.requireThere(engine, http.caller(), tag);
    }

    private Response info(HttpCall http) {
        SnapshotTag tag = Failures.tag(http.parameter("tag"));
        requireThere(http, tag);
        try {
            return Response.json(
                    200, infos.detail(http.caller(), engine.snapshots().info(tag, Calls.of(http, Optional.empty()))));
        } catch (ForkdException e) {
            boolean gone = e.kind() == Kind.NOT_FOUND || e.kind() == Kind.CONFLICT;
            throw gone ? Failures.notFound(tag) : new HttpFailure(500, e.sentence());
        }
    }

    private Response compact(HttpCall http) {
        String target = http.body().text("to");
        SnapshotTag from = Failures.tag(http.parameter("tag"));
        SnapshotTag to = Failures.newTag(http.caller(), target);
        if (from.equals(to)) {
            throw new HttpFailure(400, "the snapshot cannot be compacted to itself");
        }
        if (Files.exists(engine.store().directory(to), LinkOption.NOFOLLOW_LINKS)) {
            throw new HttpFailure(409, "snapshot " + to + " exists");
        }
        requireThere(http, from);
        try (Branching.Slot slot = branching.takeBuild(to)) {
            Call call = Calls.of(http, Optional.empty());
            Failures.of(
                    engine,
                    http.caller(),
                    from,
                    () -> quota.snapshot(http.caller(), to, call, () -> {
                        engine.snapshots().compact(from, to, call);
                        return true;
                    }));
            return Response.json(200, infos.info(to));
        }
    }
}
