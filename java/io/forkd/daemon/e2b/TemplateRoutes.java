package io.forkd.daemon.e2b;

import io.forkd.daemon.Calls;
import io.forkd.daemon.Failures;
import io.forkd.daemon.Owners;
import io.forkd.daemon.e2b.BuildLog.Level;
import io.forkd.daemon.e2b.Templates.Found;
import io.forkd.engine.Call;
import io.forkd.engine.Engine;
import io.forkd.http.Body;
import io.forkd.http.Caller;
import io.forkd.http.Handler;
import io.forkd.http.HttpCall;
import io.forkd.http.HttpFailure;
import io.forkd.http.Response;
import io.forkd.http.Routes;
import io.forkd.rootfs.RootfsOptions;
import io.forkd.snapshot.Snapshot;
import io.forkd.snapshot.SnapshotTag;
import java.nio.file.Files;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.stream.Stream;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/** The templates of E2B's control plane, their builds and tags; and snapshots, which are templates as well. */
final class TemplateRoutes {
    private static final JsonNodeFactory NODES = JsonNodeFactory.instance;
    private static final int VCPUS = 2;
    private static final int MOST_VCPUS = 32;
    private static final int MEMORY_MIB = 1024;
    private static final int LEAST_MEMORY_MIB = 64;
    private static final int MOST_MEMORY_MIB = 16 << 20;
    private static final int DISK_MIB = 4096;

    /** What an image is taken to have at most, when it is said how much is to be free beside it. */
    private static final int IMAGE_MIB = 2048;

    private static final int MOST_TAGS = 16;
    private static final int MOST_ENTRIES = 100;

    private final Engine engine;
    private final E2b.Parts parts;
    private final Builds builds;
    private final Uploads uploads;

    TemplateRoutes(E2b.Parts parts, Builds builds, Uploads uploads) {
        this.engine = parts.engine();
        this.parts = parts;
        this.builds = builds;
        this.uploads = uploads;
    }

    void addTo(Routes routes) {
        routes.postJson("/v2/templates", ControlRoutes.of(this::announce));
        routes.postJson("/v3/templates", ControlRoutes.of(this::announce));
        routes.get("/templates", ControlRoutes.of(this::list));
        routes.get("/v2/templates", ControlRoutes.of(this::list));
        routes.get("/templates/:id", ControlRoutes.of(this::get));
        routes.delete("/templates/:id", ControlRoutes.of(this::delete));
        routes.get("/templates/aliases/:alias", ControlRoutes.of(this::alias));
        routes.get("/templates/:id/files/:hash", ControlRoutes.of(this::files));
        // Whoever has the address may.
        routes.putStream("/templates/:id/files/:hash", Handler.forUsers(uploads::receive, TrafficDialect.INSTANCE));
        routes.postJson("/v2/templates/:id/builds/:build", ControlRoutes.of(this::start));
        routes.get("/templates/:id/builds/:build/status", ControlRoutes.of(this::status));
        routes.get("/templates/:id/builds/:build/logs", ControlRoutes.of(this::logs));
        routes.postJson("/templates/tags", ControlRoutes.of(this::assign));
        routes.deleteJson("/templates/tags", ControlRoutes.of(this::unassign));
        routes.get("/templates/:id/tags", ControlRoutes.of(this::tags));
        routes.get("/snapshots", ControlRoutes.of(this::snapshots));
    }

    // --- builds ---

    private Response announce(HttpCall http) {
        Body body = http.body();
        String given = body.optionalText("name")
                .or(() -> body.optionalText("alias"))
                .orElseThrow(() -> new HttpFailure(400, "the field name is missing"));
        TemplateName name = TemplateName.parse(given);
        Set<String> tags = new LinkedHashSet<>();
        List<String> more = body.optionalJson("tags").isPresent() ? body.texts("tags") : List.of();
        if (more.isEmpty() || given.contains(":")) {
            tags.add(name.tag());
        }
        tags.addAll(more);
        if (tags.size() > MOST_TAGS) {
            throw new HttpFailure(400, "a build has " + MOST_TAGS + " tags at most");
        }
        List<TemplateName> names = tags.stream().map(name::tagged).toList();
        names.forEach(each -> Builds.requireMayMake(engine, http.caller(), each));
        long free = body.optionalNumber("minFreeDiskMb", 0, RootfsOptions.MOST_MIB - IMAGE_MIB)
                .orElse(0);
        Build build = builds.announce(new Build.Plan(
                http.caller().owner(),
                names,
                body.optionalJson("cpuCount").isPresent()
                        || body.optionalJson("memoryMB").isPresent(),
                (int) body.optionalNumber("cpuCount", 1, MOST_VCPUS).orElse(VCPUS),
                (int) body.optionalNumber("memoryMB", LEAST_MEMORY_MIB, MOST_MEMORY_MIB)
                        .orElse(MEMORY_MIB),
                (int) Math.max(DISK_MIB, IMAGE_MIB + free)));
        ObjectNode node = NODES.objectNode()
                .put("templateID", name.name())
                .put("buildID", build.id())
                .put("public", false);
        node.putArray("names").add(name.name());
        node.putArray("aliases").add(name.name());
        ArrayNode all = node.putArray("tags");
        tags.forEach(all::add);
        return Response.json(202, node);
    }

    private Build build(HttpCall http) {
        String template = name(http).name();
        String id = http.parameter("build");
        return builds.find(http.caller(), template, id)
                .orElseThrow(() -> new HttpFailure(
                        404,
                        "build '" + id + "' of template '" + template + "' was not found: builds end with the daemon"));
    }

    private static TemplateName name(HttpCall http) {
        return TemplateName.parse(http.parameter("id"));
    }

    private Response start(HttpCall http) {
        builds.start(http.caller(), build(http), BuildOrder.of(http.body()));
        return Response.empty(202);
    }

    private Response files(HttpCall http) {
        String template = name(http).name();
        String hash = http.parameter("hash");
        if (!Step.FILES.matcher(hash).matches()) {
            throw new HttpFailure(400, "'" + hash + "' is no hash: 64 hexadecimal digits");
        }
        if (http.caller().role() == Caller.Role.READ) {
            throw new HttpFailure(403, "who may look only sends no files");
        }
        Optional<String> owner = http.caller().owner();
        if (builds.of(http.caller(), template).isEmpty()) {
            throw new HttpFailure(404, "no template '" + template + "' is being built");
        }
        return Response.json(
                201,
                NODES.objectNode()
                        .put("present", uploads.has(owner, hash))
                        .put("url", uploads.address(http, template, owner, hash)));
    }

    private static Level level(HttpCall http) {
        String given = http.query("level").orElse("debug");
        return Stream.of(Level.values())
                .filter(each -> each.text().equals(given))
                .findFirst()
                .orElseThrow(() -> new HttpFailure(400, "a level is debug, info, warn or error, and not " + given));
    }

    private static int limit(HttpCall http) {
        return (int) http.queryNumber("limit", 0, MOST_ENTRIES).orElse(MOST_ENTRIES);
    }

    private Response status(HttpCall http) {
        Build build = build(http);
        long offset = http.queryNumber("logsOffset", 0, Integer.MAX_VALUE).orElse(0);
        ObjectNode node = NODES.objectNode();
        build.put(node); // Before the log: what is over tells no more.
        node.putArray("logs");
        ArrayNode entries = node.putArray("logEntries");
        build.log().entries(level(http)).stream()
                .skip(offset)
                .limit(limit(http))
                .forEach(entry -> entries.add(entry.json()));
        return Response.json(200, node);
    }

    private Response logs(HttpCall http) {
        boolean backward = http.query("direction").orElse("forward").equals("backward");
        Instant cursor = Instant.ofEpochMilli(http.queryNumber("cursor", 0, Long.MAX_VALUE)
                .orElse(backward ? Instant.now().toEpochMilli() + 1 : 0));
        List<BuildLog.Entry> all = new ArrayList<>(build(http).log().entries(level(http)));
        if (backward) {
            Collections.reverse(all);
        }
        ObjectNode node = NODES.objectNode();
        ArrayNode entries = node.putArray("logs");
        all.stream()
                .filter(entry ->
                        backward ? !entry.time().isAfter(cursor) : !entry.time().isBefore(cursor))
                .limit(limit(http))
                .forEach(entry -> entries.add(entry.json()));
        return Response.json(200, node);
    }

    // --- templates ---

    private Response list(HttpCall http) {
        Map<String, Found> newest = new LinkedHashMap<>();
        for (Found each : Templates.all(engine, http.caller())) {
            if (each.note().flatMap(Note::sandbox).isEmpty()) {
                newest.putIfAbsent(each.name().name(), each);
            }
        }
        return Pages.answer(http, List.copyOf(newest.values()), Found::key, true, Found::view);
    }

    private List<Found> found(HttpCall http) {
        String name = name(http).name();
        List<Found> found = Templates.named(engine, http.caller(), name);
        if (found.isEmpty()) {
            throw new HttpFailure(404, "template '" + name + "' was not found");
        }
        return found;
    }

    private Response get(HttpCall http) {
        List<Found> found = found(http);
        ObjectNode node = found.get(0).view();
        ArrayNode listed = node.putArray("builds");
        Set<String> known = new HashSet<>();
        for (Build each : builds.of(http.caller(), found.get(0).name().name())) {
            known.add(each.id());
            each.list(listed.addObject());
        }
        found.stream().filter(each -> known.add(each.build())).forEach(each -> listed.add(each.viewOfBuild()));
        return Response.json(200, node.put("buildCount", listed.size()));
    }

    private Response alias(HttpCall http) {
        TemplateName name = TemplateName.parse(http.parameter("alias"));
        List<Found> found = Templates.named(engine, http.caller(), name.name());
        if (!found.isEmpty()) {
            return Response.json(
                    200,
                    NODES.objectNode()
                            .put("templateID", name.name())
                            .put("public", found.get(0).isForAll()));
        }
        if (Files.exists(engine.store().directory(name.snapshot()))) {
            throw new HttpFailure(403, "the template '" + name.name() + "' is not yours");
        }
        throw new HttpFailure(404, "template '" + name.name() + "' was not found");
    }

    /** With what is built of it; one that is used goes on being used by who has it. */
    private Response delete(HttpCall http) {
        String given = http.parameter("id");
        TemplateName name = TemplateName.parse(given);
        Set<SnapshotTag> tags = new LinkedHashSet<>();
        tags.add(name.snapshot());
        if (!given.contains(":")) {
            Templates.named(engine, http.caller(), name.name()).stream()
                    .filter(each ->
                            Owners.has(engine, http.caller(), each.snapshot().tag()))
                    .forEach(each -> tags.add(each.snapshot().tag()));
            builds.of(http.caller(), name.name())
                    .forEach(each -> each.plan().names().forEach(one -> tags.add(one.snapshot())));
        }
        boolean gone = builds.cancel(http.caller(), tags, "the template was deleted");
        for (SnapshotTag tag : tags) {
            try {
                parts.removals().remove(http.caller(), tag, false, false);
                gone = true;
            } catch (HttpFailure e) {
                if (e.status() != 404) {
                    throw e;
                }
            }
        }
        if (!gone) {
            throw new HttpFailure(404, "template '" + given + "' was not found");
        }
        return Response.empty(204);
    }

    // --- tags ---

    private static List<String> tags(Body body) {
        List<String> tags = body.texts("tags");
        if (tags.isEmpty() || tags.size() > MOST_TAGS) {
            throw new HttpFailure(400, "the field tags must have 1 to " + MOST_TAGS + " tags");
        }
        return tags;
    }

    private Response assign(HttpCall http) {
        Body body = http.body();
        String target = body.text("target");
        List<String> tags = tags(body);
        Snapshot from = Templates.usable(engine, http.caller(), target);
        TemplateName name = TemplateName.parse(target);
        List<TemplateName> names = tags.stream().map(name::tagged).toList();
        names.forEach(each -> Builds.requireMayMake(engine, http.caller(), each));
        Call call = Calls.of(http, Optional.empty());
        for (TemplateName each : names) {
            if (!each.equals(name)) {
                Failures.of(engine, http.caller(), from.tag(), () -> {
                    builds.assign(http.caller(), from, each, call);
                    return true;
                });
            }
        }
        ObjectNode node = NODES.objectNode().put("buildID", Note.build(from.tag(), from.manifest()));
        ArrayNode all = node.putArray("tags");
        tags.forEach(all::add);
        return Response.json(201, node);
    }

    private Response unassign(HttpCall http) {
        Body body = http.body();
        TemplateName name = TemplateName.parse(body.text("name"));
        List<SnapshotTag> those = new ArrayList<>();
        for (String tag : tags(body)) {
            SnapshotTag snapshot = name.tagged(tag).snapshot();
            Failures.requireThere(engine, http.caller(), snapshot);
            those.add(snapshot);
        }
        those.forEach(each -> parts.removals().remove(http.caller(), each, false, false));
        return Response.empty(204);
    }

    private Response tags(HttpCall http) {
        ArrayNode all = NODES.arrayNode();
        for (Found each : found(http)) {
            all.addObject()
                    .put("tag", each.name().tag())
                    .put("buildID", each.build())
                    .put("createdAt", each.made().toString());
        }
        return Response.json(200, all);
    }

    // --- snapshots ---

    /** Those that were made of sandboxes by this interface. */
    private Response snapshots(HttpCall http) {
        Optional<String> sandbox = http.query("sandboxID").filter(id -> !id.isEmpty());
        Optional<String> name = http.query("name").filter(text -> !text.isEmpty());
        List<Found> those = Templates.all(engine, http.caller()).stream()
                .filter(each -> each.note().flatMap(Note::sandbox).isPresent())
                .filter(each -> sandbox.isEmpty()
                        || each.note()
                                .flatMap(Note::sandbox)
                                .map(SandboxIds::outward)
                                .equals(sandbox))
                .filter(each -> name.isEmpty()
                        || each.name().name().equals(name.get())
                        || each.name().toString().equals(name.get()))
                .toList();
        return Pages.answer(http, those, Found::key, true, each -> snapshot(each.name(), true));
    }

    /** @param named by who made it */
    static ObjectNode snapshot(TemplateName name, boolean named) {
        ObjectNode node = NODES.objectNode().put("snapshotID", name.toString());
        ArrayNode names = node.putArray("names");
        if (named) {
            names.add(name.name());
        }
        return node;
    }
}
