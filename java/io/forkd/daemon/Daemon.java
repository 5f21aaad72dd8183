package io.forkd.daemon;

import static io.forkd.http.Handler.forUsers;

import io.forkd.ForkdException;
import io.forkd.daemon.e2b.E2b;
import io.forkd.engine.Engine;
import io.forkd.http.HttpServer;
import io.forkd.http.Limits;
import io.forkd.http.Metrics;
import io.forkd.http.Response;
import io.forkd.http.Routes;
import java.net.InetSocketAddress;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.List;
import java.util.Optional;

/**
 * The service. Everything that it knows is in the folders and in the processes that live, so that it may end at any time:
 * sandboxes go on, and the next one finds them.
 */
public final class Daemon implements AutoCloseable {
    /**
     * Of streams with guests, each of which holds a thread beside those of calls, and two descriptors: shared out as calls
     * are.
     */
    private static final int STREAMS = 2048;

    private final Engine engine;
    private final HttpServer server;
    private final Deque<AutoCloseable> held;

    private Daemon(Engine engine, HttpServer server, Deque<AutoCloseable> held) {
        this.engine = engine;
        this.server = server;
        this.held = held;
    }

    /**
     * Serves from when it returns.
     *
     * @throws ForkdException when the state file is damaged or another daemon's, or it cannot listen
     */
    public static Daemon start(Engine engine, DaemonOptions options) {
        Deque<AutoCloseable> held = new ArrayDeque<>();
        try {
            StateFile state = StateFile.open(options.state());
            held.push(state);
            held.push(engine.follow());
            Metrics metrics = new Metrics();
            metrics.info("forkd_build_info", "The version of forkd.", "version", Engine.VERSION);
            Branching branching = new Branching(engine, options.branchConcurrency(), metrics);
            Quota quota = new Quota(engine);
            PoolQuota pools = new PoolQuota(quota);
            engine.pools().admit(pools);
            Limits limits = options.http().limits();
            GuestCalls guests = new GuestCalls(limits.callsAtOnce());
            GuestCalls open = new GuestCalls(Math.min(STREAMS, limits.connections() / 2));
            Pulls pulls = new Pulls(engine, options);
            Removals removals = new Removals(engine);
            Routes routes = new Routes();
            // First, as its ids may not be taken for others in the hosts of ports.
            held.push(E2b.addTo(
                    routes,
                    new E2b.Parts(engine, new Guests(engine, guests, open), quota, branching, pulls, removals)));
            addV1(
                    routes,
                    engine,
                    branching,
                    quota,
                    pulls,
                    removals,
                    guests,
                    open,
                    new Workspaces(engine, branching, quota, state),
                    options,
                    metrics);
            HttpServer server = HttpServer.start(options.http(), routes, metrics, Failures::answer);
            pools.of(server::caller);
            held.push(engine.pools().keepFull());
            return new Daemon(engine, server, held);
        } catch (RuntimeException e) {
            release(held);
            throw e;
        }
    }

    static void addV1(
            Routes routes,
            Engine engine,
            Branching branching,
            Quota quota,
            Pulls pulls,
            Removals removals,
            GuestCalls guests,
            GuestCalls open,
            Workspaces workspaces,
            DaemonOptions options,
            Metrics metrics) {
        SnapshotInfos infos = new SnapshotInfos(engine);
        routes.get(
                "/version",
                forUsers(call -> Response.json(
                        200, Wire.object().put("version", Engine.VERSION).put("api", "v1"))));
        routes.get("/metrics", call -> metrics.response()); // Of all that there is, so not for users.
        routes.get("/openapi.json", forUsers(call -> OpenApi.response()));
        new SnapshotRoutes(engine, infos, branching, quota, removals, metrics).addTo(routes);
        new BootRoute(engine, infos, branching, quota, pulls).addTo(routes);
        Guests streams = new Guests(engine, guests, open);
        ProcessRoutes processes = new ProcessRoutes(streams);
        Metrics.Timing times =
                metrics.timing("forkd_operation_seconds", "How long operations on sandboxes take.", "operation");
        new SandboxRoutes(engine, quota, guests, streams, processes, metrics, times).addTo(routes);
        new PoolRoutes(engine, times).addTo(routes);
        processes.addTo(routes);
        new ExecSocket(streams).addTo(routes);
        new FileRoutes(streams).addTo(routes);
        new WireRoute(streams).addTo(routes);
        new PortRoutes(streams, options.proxyDomain()).addTo(routes);
        new LogsRoute(engine, open).addTo(routes);
        new BranchRoute(engine, infos, branching, quota).addTo(routes);
        new WorkspaceRoutes(workspaces).addTo(routes);
        new EventsRoute(engine.events()).addTo(routes);
    }

    /** Where it listens over TCP. */
    public Optional<InetSocketAddress> address() {
        return server.tcp();
    }

    /** Reads certificates and tokens again, and reopens the audit log; what does not work is told, and left as it was. */
    public List<ForkdException> reload() {
        return server.reload();
    }

    /** Stops listening, lets calls that are under way end, and leaves every sandbox as it is. */
    @Override
    public void close() {
        engine.events().close(); // Who listens would hold this up.
        server.stop();
        release(held);
    }

    /** The last one first. */
    private static void release(Deque<AutoCloseable> held) {
        while (!held.isEmpty()) {
            AutoCloseable resource = held.pop();
            try {
                resource.close();
            } catch (Exception e) {
                throw new IllegalStateException("cannot release " + resource, e);
            }
        }
    }
}
