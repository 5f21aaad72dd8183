package io.forkd.daemon.e2b;

import io.forkd.ForkdException;
import io.forkd.Json;
import io.forkd.Limits;
import io.forkd.daemon.Branching;
import io.forkd.daemon.Failures;
import io.forkd.daemon.Owners;
import io.forkd.daemon.Pulls;
import io.forkd.daemon.Telling;
import io.forkd.daemon.e2b.BuildLog.Level;
import io.forkd.engine.BuildRequest;
import io.forkd.engine.Call;
import io.forkd.engine.Engine;
import io.forkd.engine.ImageRequest;
import io.forkd.engine.NetworkRequest;
import io.forkd.engine.SnapshotRequest;
import io.forkd.engine.VolumeConflict;
import io.forkd.http.Caller;
import io.forkd.http.HttpFailure;
import io.forkd.image.ImageReference;
import io.forkd.image.Platform;
import io.forkd.kernel.GuestKernel;
import io.forkd.network.NetworkPolicy;
import io.forkd.rootfs.RootfsCache;
import io.forkd.rootfs.RootfsOptions;
import io.forkd.snapshot.Manifest;
import io.forkd.snapshot.Snapshot;
import io.forkd.snapshot.SnapshotTag;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.HashSet;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/**
 * Templates that are built, each by a thread of its own. What is under way is this daemon's, and goes with it, however that
 * ends; a template is there when it is complete, and until then what was there before. Any thread may use this.
 */
final class Builds implements AutoCloseable {
    private static final Logger LOG = LoggerFactory.getLogger("forkd.daemon");

    /** Of those that are known, over or not: each has a log. */
    private static final int MOST = 128;

    private static final int MOST_OF_ONE = 32;

    /** Of those that wait or are under way. */
    private static final int MOST_STARTED_OF_ONE = 8;

    private static final Duration LONGEST = Duration.ofHours(1);
    private static final Duration LONGEST_WAIT = Duration.ofMinutes(10);
    private static final Duration BOOT = Duration.ofMinutes(3);
    private static final long LOOK_MS = 500;

    /** As long as a build may take to unwind, when somebody waits for that. */
    private static final long UNWIND_MS = 60_000;

    private final E2b.Parts parts;
    private final Engine engine;
    private final Uploads uploads;

    /** The oldest first; guarded by this, as all below. */
    private final List<Build> all = new ArrayList<>();

    private final Set<Thread> threads = new HashSet<>();
    private boolean closed;

    Builds(E2b.Parts parts, Uploads uploads) {
        this.parts = parts;
        this.engine = parts.engine();
        this.uploads = uploads;
    }

    // --- which there are ---

    /** Announces one. */
    synchronized Build announce(Build.Plan plan) {
        makeRoom(plan.owner());
        Build build = new Build(plan);
        all.add(build);
        return build;
    }

    /** What is over, or was never started, goes; the oldest first. */
    private void makeRoom(Optional<String> owner) {
        long own =
                all.stream().filter(each -> each.plan().owner().equals(owner)).count();
        boolean tooMany = own >= MOST_OF_ONE;
        for (Iterator<Build> each = all.iterator(); (tooMany || all.size() >= MOST) && each.hasNext(); ) {
            Build oldest = each.next();
            boolean goes = oldest.isOver() || !oldest.isStarted();
            if (goes && (!tooMany || oldest.plan().owner().equals(owner))) {
                each.remove();
                tooMany = false;
            }
        }
        if (tooMany || all.size() >= MOST) {
            throw new HttpFailure(429, "too many builds are under way; wait until one is over");
        }
    }

    /** That of a template; empty when the caller knows of none. */
    synchronized Optional<Build> find(Caller caller, String template, String id) {
        return of(caller).stream()
                .filter(each -> each.id().equals(id) && each.plan().template().equals(template))
                .findFirst();
    }

    /** Those of a template, the newest first. */
    synchronized List<Build> of(Caller caller, String template) {
        List<Build> those = new ArrayList<>(of(caller));
        those.removeIf(each -> !each.plan().template().equals(template));
        Collections.reverse(those);
        return those;
    }

    private List<Build> of(Caller caller) {
        return all.stream()
                .filter(each -> caller.owner().isEmpty() || each.plan().owner().equals(caller.owner()))
                .toList();
    }

    /** Ends those of these templates, and waits until nothing is under way of them. Whether there were any. */
    boolean cancel(Caller caller, Set<SnapshotTag> tags, String why) {
        List<Build> those;
        synchronized (this) {
            those = of(caller).stream()
                    .filter(each -> !each.isOver() && has(each, tags))
                    .toList();
        }
        those.forEach(each -> each.cancel(why));
        those.forEach(each -> await(each, UNWIND_MS));
        return !those.isEmpty();
    }

    private static boolean has(Build build, Set<SnapshotTag> tags) {
        return build.plan().names().stream().map(TemplateName::snapshot).anyMatch(tags::contains);
    }

    private static void await(Build build, long millis) {
        try {
            if (!build.awaitEnd(millis)) {
                throw new HttpFailure(503, "build " + build.id() + " does not end; try again");
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new HttpFailure(503, "the daemon is stopping");
        }
    }

    // --- what is made ---

    /** What a build is to do, when it has been looked at whether it may. */
    private record Job(
            Caller caller,
            Build build,
            BuildOrder order,
            Optional<Snapshot> from,
            Optional<RootfsCache.Request> image) {}

    /**
     * Starts one that was announced. Others of the same names end, which the caller knows of: the last one that is asked for
     * is the one that counts.
     *
     * @throws HttpFailure when it may not be
     */
    void start(Caller caller, Build build, BuildOrder order) {
        Job job = new Job(
                caller,
                build,
                order,
                order.template().map(name -> Templates.usable(engine, caller, name)),
                order.image().map(reference -> image(caller, build.plan(), reference)));
        build.plan().names().forEach(name -> requireMayMake(caller, name));
        List<Build> before = new ArrayList<>();
        Set<SnapshotTag> tags = new HashSet<>();
        build.plan().names().forEach(name -> tags.add(name.snapshot()));
        Thread thread = new Thread(() -> run(job, before), "forkd-e2b-build");
        thread.setDaemon(true);
        synchronized (this) {
            long started = all.stream()
                    .filter(each ->
                            each.plan().owner().equals(build.plan().owner()) && each.isStarted() && !each.isOver())
                    .count();
            if (closed || started >= MOST_STARTED_OF_ONE) {
                throw new HttpFailure(closed ? 503 : 429, started + " builds are under way, and no more may be");
            }
            all.stream()
                    .filter(each -> each != build && !each.isOver() && each.isStarted() && has(each, tags))
                    .forEach(before::add);
            if (before.stream().anyMatch(each -> !of(caller).contains(each))) {
                throw new HttpFailure(
                        403, "the template '" + build.plan().template() + "' is not yours: it is being built");
            }
            if (!build.start()) {
                throw new HttpFailure(400, "build " + build.id() + " was started before");
            }
            threads.add(thread);
        }
        before.forEach(each -> each.cancel("another build of the template was started"));
        thread.start();
    }

    private void requireMayMake(Caller caller, TemplateName name) {
        requireMayMake(engine, caller, name);
    }

    /** @throws HttpFailure 403 when it is another's */
    static void requireMayMake(Engine engine, Caller caller, TemplateName name) {
        SnapshotTag tag = Failures.newTag(caller, name.snapshot().value());
        if (Files.exists(engine.store().directory(tag)) && !Owners.has(engine, caller, tag)) {
            throw new HttpFailure(403, "the template '" + name + "' is not yours");
        }
    }

    private RootfsCache.Request image(Caller caller, Build.Plan plan, String reference) {
        int mib = Math.min(plan.diskMib(), Pulls.mostMib(caller));
        RootfsCache.Request image =
                parts.pulls().image(caller, reference, Platform.host(), false, new RootfsOptions(mib, List.of()));
        try {
            parts.pulls().requireMayPull(caller, image);
        } catch (ForkdException e) {
            throw new HttpFailure(400, e.sentence());
        }
        return image;
    }

    private void run(Job job, List<Build> before) {
        Build build = job.build();
        try {
            for (Build each : before) {
                await(each, UNWIND_MS);
            }
            make(job);
            build.succeed();
        } catch (HttpFailure e) {
            build.fail(e.text());
        } catch (ForkdException e) {
            build.fail(e.sentence());
        } catch (RuntimeException | Error e) {
            LOG.error("fault in the build {}", build.id(), e);
            build.fail("a fault of the daemon; its log has it under " + build.id());
        } finally {
            synchronized (this) {
                threads.remove(Thread.currentThread());
                notifyAll();
            }
        }
    }

    private void make(Job job) {
        Build build = job.build();
        TemplateName first = build.plan().names().get(0);
        Telling telling = new Telling(line -> tell(build, line));
        Call call = new Call(telling, Optional.of(LONGEST));
        call.setOwner(build.plan().owner());
        build.cancelledBy(call::cancel);
        try (Branching.Slot slot = place(job.caller(), first.snapshot(), call)) {
            build.begin();
            int memory = job.from()
                    .map(from -> (int) (from.manifest().memoryBytes() >> 20))
                    .orElse(build.plan().memoryMib());
            parts.quota().booted(job.caller(), first.snapshot(), memory, call, () -> {
                Defaults defaults =
                        job.from().map(from -> Note.defaults(from.manifest())).orElse(Defaults.NONE);
                BuildRequest request = new BuildRequest(
                        first.snapshot(),
                        new NetworkRequest(true, Optional.of(policy(job.from()))),
                        new BuildSteps(build, job.order(), uploads, defaults));
                return job.from().isPresent() ? derive(job, request, call) : boot(job, request, telling, call);
            });
        }
        for (TemplateName other :
                build.plan().names().subList(1, build.plan().names().size())) {
            assign(job.caller(), engine.store().read(first.snapshot()), other, call);
        }
    }

    private static NetworkPolicy policy(Optional<Snapshot> from) {
        return from.map(Snapshot::manifest).flatMap(Manifest::network).orElse(NetworkPolicy.INTERNET);
    }

    private Boolean derive(Job job, BuildRequest request, Call call) {
        Snapshot from = job.from().orElseThrow();
        Build build = job.build();
        build.tell(Level.INFO, "[base] FROM TEMPLATE " + job.order().template().orElseThrow());
        long memory = from.manifest().memoryBytes() >> 20;
        boolean same = memory == build.plan().memoryMib()
                && from.manifest().machine().vcpus() == build.plan().vcpus();
        if (build.plan().sized() && !same) {
            build.tell(
                    Level.WARN,
                    "It has what that has: " + memory + " MiB of memory and "
                            + from.manifest().machine().vcpus() + " processors");
        }
        engine.build(request, from, call);
        return true;
    }

    private Boolean boot(Job job, BuildRequest request, Telling telling, Call call) {
        Build build = job.build();
        build.tell(Level.INFO, "[base] FROM " + job.order().image().orElseThrow());
        SnapshotRequest parent = new SnapshotRequest(
                request.tag(),
                GuestKernel.find(Optional.empty(), Optional.empty(), engine.dataDirectory()),
                Path.of(""),
                true,
                Optional.empty(),
                build.plan().memoryMib(),
                build.plan().vcpus(),
                Limits.NONE,
                List.of(),
                VolumeConflict.FAIL,
                Optional.empty(),
                BOOT,
                true,
                false);
        ImageRequest image = parts.pulls().request(job.caller(), job.image().orElseThrow(), parent);
        if (job.order().login().isEmpty()) {
            engine.build(request, image, telling.work(call), call);
            return true;
        }
        String registry =
                Pulls.registry(ImageReference.parse(job.order().image().get()));
        try (Uploads.Logins logins =
                uploads.logins(login(registry, job.order().login().get()))) {
            Map<String, String> environment = new HashMap<>(image.environment());
            environment.put("REGISTRY_AUTH_FILE", logins.file().toString());
            engine.build(request, image.with(environment), telling.work(call), call);
            return true;
        }
    }

    private static byte[] login(String registry, BuildOrder.Login login) {
        ObjectNode file = JsonNodeFactory.instance.objectNode();
        file.putObject("auths")
                .putObject(registry)
                .put("username", login.user())
                .put("password", login.password());
        return Json.bytes(file);
    }

    /** Waits for it, as calls of clients do not. */
    private Branching.Slot place(Caller caller, SnapshotTag tag, Call call) {
        long end = System.nanoTime() + LONGEST_WAIT.toNanos();
        while (true) {
            call.check();
            try {
                return parts.branching().takeTemplate(caller, tag);
            } catch (HttpFailure e) {
                if (System.nanoTime() > end) {
                    throw e;
                }
            }
            try {
                Thread.sleep(LOOK_MS);
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
                throw new HttpFailure(503, "the daemon is stopping");
            }
        }
    }

    /** Has a template be there under another name, too, in the place of what has that. */
    void assign(Caller caller, Snapshot from, TemplateName to, Call call) {
        requireMayMake(caller, to);
        try (Branching.Slot slot = place(caller, to.snapshot(), call)) {
            parts.quota().snapshot(caller, to.snapshot(), call, () -> {
                Note note = new Note(
                        to.name(),
                        Note.build(from.tag(), from.manifest()),
                        Note.defaults(from.manifest()),
                        Optional.empty());
                engine.snapshots().compact(from.tag(), to.snapshot(), true, note.fields(), call);
                return true;
            });
        }
    }

    /** Of what the engine tells, what is worth a line. */
    private static void tell(Build build, ObjectNode line) {
        for (String field : List.of("step", "note", "warning")) {
            JsonNode text = line.path(field);
            if (text.isString()) {
                build.tell(
                        field.equals("warning") ? Level.WARN : Level.DEBUG,
                        "[" + build.step() + "] " + text.stringValue());
            }
        }
    }

    /** Ends all, and waits for that. */
    @Override
    public void close() {
        List<Build> left;
        synchronized (this) {
            closed = true;
            left = all.stream().filter(each -> !each.isOver()).toList();
        }
        left.forEach(each -> each.cancel("the daemon was stopped"));
        long end = System.nanoTime() + Duration.ofMillis(UNWIND_MS).toNanos();
        synchronized (this) {
            while (!threads.isEmpty() && System.nanoTime() < end) {
                try {
                    wait(LOOK_MS);
                } catch (InterruptedException e) {
                    Thread.currentThread().interrupt();
                    return;
                }
            }
        }
    }
}
