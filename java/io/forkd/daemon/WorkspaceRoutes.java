package io.forkd.daemon;

import static io.forkd.http.Handler.forUsers;

import io.forkd.ForkdException;
import io.forkd.Limit;
import io.forkd.daemon.Workspace.Status;
import io.forkd.http.Body;
import io.forkd.http.HttpCall;
import io.forkd.http.HttpFailure;
import io.forkd.http.Response;
import io.forkd.http.Routes;
import io.forkd.sandbox.Found;
import io.forkd.sandbox.Found.Known;
import io.forkd.snapshot.SnapshotTag;
import java.util.Optional;
import java.util.OptionalLong;
import tools.jackson.databind.node.ObjectNode;

/** {@code /v1/workspaces}. */
final class WorkspaceRoutes {
    private final Workspaces workspaces;

    WorkspaceRoutes(Workspaces workspaces) {
        this.workspaces = workspaces;
    }

    void addTo(Routes routes) {
        routes.get(
                "/v1/workspaces",
                forUsers(call -> Response.json(200, Wire.array(workspaces.list(call.caller()), this::info))));
        routes.postJson("/v1/workspaces", forUsers(this::create));
        routes.get(
                "/v1/workspaces/:name",
                forUsers(call -> Response.json(200, info(workspaces.find(call.caller(), name(call))))));
        routes.delete("/v1/workspaces/:name", forUsers(call -> {
            workspaces.delete(call.caller(), name(call));
            return Response.empty(204);
        }));
        routes.postJson("/v1/workspaces/:name/suspend", forUsers(call -> {
            // It makes no difference here: a whole branch pauses its sandbox no longer, and depends on nothing.
            call.body().flag("diff", false);
            return Response.json(
                    200, info(workspaces.suspend(call.caller(), name(call), Calls.of(call, Optional.empty()))));
        }));
        routes.post(
                "/v1/workspaces/:name/resume",
                forUsers(call -> Response.json(
                        200, info(workspaces.resume(call.caller(), name(call), Calls.of(call, Optional.empty()))))));
    }

    private static SnapshotTag name(HttpCall call) {
        String name = call.parameter("name");
        try {
            return new SnapshotTag(name);
        } catch (ForkdException e) {
            throw new HttpFailure(404, "workspace " + name + " not found");
        }
    }

    private Response create(HttpCall http) {
        Body body = http.body();
        String name = body.text("name");
        String tag = body.text("snapshot_tag");
        boolean ownNetworks = body.flag("per_child_netns", false);
        OptionalLong memory = SandboxRoutes.limit(body, Limit.MEMORY);
        return Response.json(
                201,
                info(workspaces.create(
                        http.caller(),
                        Failures.tag(name),
                        Failures.tag(tag),
                        ownNetworks,
                        memory,
                        Calls.of(http, Optional.empty()))));
    }

    private ObjectNode info(Workspace workspace) {
        ObjectNode node = workspace.toJson();
        node.remove("owner");
        node.remove("per_child_netns");
        node.remove("memory_limit_mib");
        Optional<Found> live = workspace.is(Status.RUNNING) ? workspaces.live(workspace) : Optional.empty();
        if (live.isEmpty()) {
            node.remove("live_sandbox_id");
        }
        if (workspace.is(Status.RUNNING) && live.isEmpty()) {
            node.put("status", "stale");
        }
        if (live.isPresent() && live.get() instanceof Known known) {
            Wire.lastBranchMemory(known.sandbox()).ifPresent(path -> node.put("last_branch_memory_path", path));
        }
        return node;
    }
}
