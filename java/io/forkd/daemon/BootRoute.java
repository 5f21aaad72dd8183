package io.forkd.daemon;

import static io.forkd.http.Handler.forUsers;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.Limits;
import io.forkd.engine.Call;
import io.forkd.engine.Engine;
import io.forkd.engine.ImageSnapshot;
import io.forkd.engine.SnapshotRequest;
import io.forkd.engine.SnapshotResult;
import io.forkd.engine.VolumeConflict;
import io.forkd.http.Body;
import io.forkd.http.Caller;
import io.forkd.http.HttpCall;
import io.forkd.http.HttpFailure;
import io.forkd.http.Response;
import io.forkd.http.Routes;
import io.forkd.image.Platform;
import io.forkd.kernel.GuestKernel;
import io.forkd.rootfs.RootfsCache;
import io.forkd.rootfs.RootfsOptions;
import io.forkd.snapshot.Snapshot;
import io.forkd.snapshot.SnapshotTag;
import io.forkd.snapshot.Volume;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.file.Files;
import java.nio.file.InvalidPathException;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import tools.jackson.databind.node.ObjectNode;

/** {@code POST /v1/snapshots}: a guest is booted, from files of this host or from a container image, and written down. */
final class BootRoute {
    private static final long MOST_BOOT_SECONDS = 86_400;

    /** It keeps the place of another that long. */
    private static final long MOST_BOOT_SECONDS_OF_USERS = 60;

    private static final long BOOT_SECONDS_OF_IMAGES = 60;
    private static final int LEAST_MEMORY_MIB = 64;
    private static final int MOST_MEMORY_MIB = 16 << 20;
    private static final int MEMORY_MIB = 512;
    private static final int MOST_VCPUS = 32;
    private static final int VCPUS = 2;
    private static final int DISK_MIB = 1536;

    /** What names files or devices of this host, or runs programs there. */
    private static final List<String> OF_HOST = List.of("kernel", "initrd", "rootfs", "tap", "volumes", "packages");

    private final Engine engine;
    private final SnapshotInfos infos;
    private final Branching branching;
    private final Quota quota;
    private final Pulls pulls;

    BootRoute(Engine engine, SnapshotInfos infos, Branching branching, Quota quota, Pulls pulls) {
        this.engine = engine;
        this.infos = infos;
        this.branching = branching;
        this.quota = quota;
        this.pulls = pulls;
    }

    void addTo(Routes routes) {
        routes.postJson("/v1/snapshots", forUsers(this::create));
    }

    /** What is made: of an image when there is one, else of the disk that the request has. */
    private record Order(Optional<RootfsCache.Request> image, SnapshotRequest parent) {
        SnapshotTag tag() {
            return parent.tag();
        }
    }

    private Response create(HttpCall http) {
        boolean progress = http.queryFlag("progress")
                || http.header("Accept")
                        .filter(types -> types.contains(Wire.LINES))
                        .isPresent();
        Order order = order(http.caller(), http.body());
        Branching.Slot slot = branching.takeBuild(http.caller(), order.tag());
        try {
            // Within it, so that nobody else has made it when it is replaced.
            requireFree(http.caller(), order);
        } catch (RuntimeException e) {
            slot.close();
            throw e;
        }
        if (progress) {
            return Response.stream(200, Wire.LINES, new Response.Writer() {
                @Override
                public void write(OutputStream out) throws IOException {
                    tell(http, order, out);
                }

                @Override
                public void close() {
                    slot.close();
                }
            });
        }
        try (slot) {
            make(http, order, new Telling(line -> {}));
            return Response.json(201, infos.info(order.tag()));
        }
    }

    private Order order(Caller caller, Body body) {
        String name = body.text("tag");
        Optional<String> reference = body.optionalText("image");
        // Without an image both are required.
        Optional<String> kernel =
                reference.isPresent() ? body.optionalText("kernel") : Optional.of(body.text("kernel"));
        Optional<String> rootfs =
                reference.isPresent() ? body.optionalText("rootfs") : Optional.of(body.text("rootfs"));
        boolean readWrite = body.flag("rw", false);
        Optional<String> tap = body.optionalText("tap");
        long seconds = body.optionalNumber("boot_wait_secs", 0, Long.MAX_VALUE)
                .orElse(reference.isPresent() ? BOOT_SECONDS_OF_IMAGES : 10);
        int memoryMib = (int) body.optionalNumber("memory_mib", LEAST_MEMORY_MIB, MOST_MEMORY_MIB)
                .orElse(MEMORY_MIB);
        int vcpus = (int) body.optionalNumber("vcpus", 1, MOST_VCPUS).orElse(VCPUS);
        Optional<String> warm = body.optionalText("warm");
        Optional<String> initrd = body.optionalText("initrd");
        List<String> volumes = texts(body, "volumes");
        VolumeConflict conflict = body.optionalChoice("volume_conflict", List.of("fail", "private"))
                        .equals(Optional.of("private"))
                ? VolumeConflict.PRIVATE
                : VolumeConflict.FAIL;
        boolean force = body.flag("force", false);
        Limits limits = SandboxRoutes.limits(body);
        Optional<RootfsCache.Request> image = image(caller, reference, body);
        requireOwn(caller, body, image, limits);
        SnapshotTag tag = Failures.newTag(caller, name);
        if (image.isPresent() && rootfs.isPresent()) {
            throw new HttpFailure(400, "image and rootfs do not go together");
        }
        Optional<Path> vmlinux = kernel.map(text -> existing("kernel", text));
        Optional<Path> disk = rootfs.map(text -> existing("rootfs", text));
        Optional<Path> ramDisk = initrd.map(text -> existing("initrd", text));
        long most = caller.owner().isPresent() ? MOST_BOOT_SECONDS_OF_USERS : MOST_BOOT_SECONDS;
        if (seconds > most) {
            throw new HttpFailure(400, "boot_wait_secs is at most " + most);
        }
        return new Order(
                image,
                new SnapshotRequest(
                        tag,
                        Failures.internal(() -> GuestKernel.find(vmlinux, ramDisk, engine.dataDirectory())),
                        disk.orElse(Path.of("")),
                        image.isPresent()
                                || readWrite
                                || rootfs.orElse("").toLowerCase(Locale.ROOT).endsWith(".ext4"),
                        tap,
                        memoryMib,
                        vcpus,
                        limits,
                        volumes(volumes),
                        conflict,
                        warm,
                        Duration.ofSeconds(Math.max(1, seconds)),
                        force,
                        false));
    }

    /** Its options are of their types whether there is an image or not. */
    private Optional<RootfsCache.Request> image(Caller caller, Optional<String> reference, Body body) {
        int sizeMib = (int) body.optionalNumber("size_mib", RootfsOptions.LEAST_MIB, Pulls.mostMib(caller))
                .orElse(DISK_MIB);
        Optional<String> platform = body.optionalText("platform");
        boolean insecure = body.flag("insecure_registry", false);
        List<String> packages = texts(body, "packages");
        return reference.map(given -> pulls.image(
                caller,
                given,
                platform.map(Platform::parse).orElseGet(Platform::host),
                insecure,
                new RootfsOptions(sizeMib, packages)));
    }

    private static List<String> texts(Body body, String field) {
        return body.optionalJson(field).isPresent() ? body.texts(field) : List.of();
    }

    private static List<Volume> volumes(List<String> given) {
        if (given.size() > Volume.MAX) {
            throw new HttpFailure(400, given.size() + " volumes are too many: the most is " + Volume.MAX);
        }
        List<Volume> volumes = given.stream().map(Volume::parse).toList();
        volumes.forEach(volume -> existing("volume", volume.hostPath().toString()));
        return volumes;
    }

    /** A user reaches this host's files, devices and networks by an image as little as by a sandbox. */
    private void requireOwn(Caller caller, Body body, Optional<RootfsCache.Request> image, Limits limits) {
        if (caller.owner().isEmpty()) {
            image.ifPresent(request -> pulls.requireMayPull(caller, request));
            return;
        }
        for (String field : OF_HOST) {
            if (body.optionalJson(field).isPresent()) {
                throw new HttpFailure(403, "only administrators give the field " + field);
            }
        }
        pulls.requireMayPull(caller, image.orElseThrow());
        Widening.require(caller, Limits.NONE, limits);
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

    private void requireFree(Caller caller, Order order) {
        Path directory = engine.store().directory(order.tag());
        boolean anothers =
                Files.exists(directory, LinkOption.NOFOLLOW_LINKS) && !Owners.has(engine, caller, order.tag());
        if (anothers || (!order.parent().replace() && Files.exists(directory.resolve(Snapshot.VMSTATE)))) {
            throw new HttpFailure(order.image().isPresent() ? 409 : 400, "snapshot " + order.tag() + " exists");
        }
    }

    /** What was made, and how long that took. */
    private record Made(Optional<ImageSnapshot> image, SnapshotResult snapshot) {}

    private Made make(HttpCall http, Order order, Telling telling) {
        Call call = Calls.of(http, Optional.empty(), telling);
        return quota.booted(http.caller(), order.tag(), order.parent().memoryMib(), call, () -> {
            if (order.image().isEmpty()) {
                return new Made(Optional.empty(), booted(order.parent(), call));
            }
            ImageSnapshot made = engine.snapshot(
                    pulls.request(http.caller(), order.image().get(), order.parent()), telling.work(call), call);
            return new Made(Optional.of(made), made.snapshot());
        });
    }

    private SnapshotResult booted(SnapshotRequest request, Call call) {
        try {
            return engine.snapshot(request, call);
        } catch (ForkdException e) {
            throw e.kind() == Kind.USAGE ? Failures.answer(e) : Failures.internal(e);
        }
    }

    /** The last line says how it ended. */
    private void tell(HttpCall http, Order order, OutputStream out) throws IOException {
        ObjectNode last = Wire.object();
        try {
            Made made = make(http, order, new Telling(line -> Wire.line(out, line)));
            last.set("snapshot", infos.info(order.tag()));
            last.put("memory_bytes", made.snapshot().memoryBytes())
                    .put("boot_ms", made.snapshot().boot().toMillis())
                    .put("snapshot_ms", made.snapshot().write().toMillis());
            made.image()
                    .ifPresent(image -> last.put("image", image.rootfs().image().toString())
                            .put("rootfs", image.rootfs().file().toString())
                            .put("cached", image.rootfs().cached())
                            .put("rootfs_ms", image.build().toMillis()));
        } catch (HttpFailure e) {
            last.put("error", e.text()).put("status", e.status());
        } catch (ForkdException e) {
            HttpFailure failure = Failures.answer(e);
            last.put("error", failure.text()).put("status", failure.status());
        }
        Wire.lastLine(out, last);
    }
}
