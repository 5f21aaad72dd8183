package io.forkd.kubernetes.node;

import com.fasterxml.jackson.databind.JsonNode;
import io.fabric8.kubernetes.api.model.Pod;
import io.fabric8.kubernetes.client.KubernetesClient;
import io.forkd.http.HttpFailure;
import io.forkd.http.HttpServer;
import io.forkd.http.Metrics;
import io.forkd.http.Routes;
import io.forkd.kubernetes.resource.Api;
import io.forkd.kubernetes.resource.Names;
import io.forkd.kubernetes.resource.Phase;
import io.forkd.kubernetes.resource.Sandbox;
import io.forkd.kubernetes.resource.SandboxFork;
import io.forkd.kubernetes.resource.SnapshotTemplate;
import java.io.IOException;
import java.time.Duration;
import java.util.HashSet;
import java.util.Optional;
import java.util.Set;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * One for each node. What it knows is in resources and on the daemon: it may be killed at any moment, and the next one finds
 * what it made, and ends what nobody wants.
 */
public final class Agent {
    private static final Logger LOG = LoggerFactory.getLogger(Agent.class);
    private static final Duration EVENTS_AGAIN = Duration.ofSeconds(1);
    private static final Duration POOL_LATER = Duration.ofMillis(100);
    private static final String PREFIX = "k8s-";

    /** What is looked at. */
    private enum Kind {
        SANDBOX,
        FORK,
        POOL,
        TEMPLATE,
        /** All that the daemon has. */
        DAEMON
    }

    private record Key(Kind kind, String uid) {}

    private static final Key ALL = new Key(Kind.DAEMON, "");

    private final NodeOptions options;
    private final Known known;
    private final Daemon daemon;
    private final NodeReport report;
    private final Templates templates;
    private final Pools pools;
    private final Sandboxes sandboxes;
    private final Forks forks;
    private final Work<Key> work;
    private final Metrics.Timing times;

    private Agent(KubernetesClient client, NodeOptions options, Metrics metrics) {
        this.options = options;
        times = metrics.timing("forkd_node_look_seconds", "One look at a resource.", "kind", "result");
        Api api = new Api(client, "forkd-node");
        CommandLine forkd = new CommandLine(options.forkd());
        known = new Known(client, options);
        daemon = new Daemon(options.socket());
        report = new NodeReport(options, api);
        Releases releases = new Releases(api, known);
        Transfers transfers = new Transfers(options.threads());
        templates = new Templates(options, api, daemon, forkd, transfers, report);
        work = new Work<>(options.threads(), this::look);
        pools = new Pools(
                options,
                api,
                daemon,
                known,
                releases,
                templates,
                this::fetch,
                uid -> work.add(new Key(Kind.POOL, uid)));
        sandboxes = new Sandboxes(api, daemon, forkd, transfers, known, templates, pools, releases, this::fetch);
        forks = new Forks(api, daemon, known, releases);
    }

    private void fetch(SnapshotTemplate template) {
        templates.need(template);
        work.add(new Key(Kind.TEMPLATE, template.uid()));
    }

    /** Runs until the process ends. */
    public static void run(KubernetesClient client, NodeOptions options) {
        Metrics metrics = new Metrics();
        options.http()
                .ifPresent(http -> HttpServer.start(
                        http,
                        new Routes().get("/metrics", call -> metrics.response()),
                        metrics,
                        failure -> new HttpFailure(500, failure.sentence())));
        new Agent(client, options, metrics).start();
    }

    private void start() {
        known.start();
        Known.tell(known.templates, each -> work.add(new Key(Kind.TEMPLATE, each.uid())));
        Known.tell(known.pools, each -> work.add(new Key(Kind.POOL, each.uid())));
        Known.tell(known.sandboxes, this::sandboxChanged);
        Known.tell(known.forks, each -> work.add(new Key(Kind.FORK, each.uid())));
        Known.tell(known.reservations, this::reservationChanged);
        work.add(ALL);
        Thread events = new Thread(this::listen, "forkd-events");
        events.setDaemon(true);
        events.start();
        LOG.info("forkd's agent of node {} is ready", options.node());
    }

    private void sandboxChanged(Sandbox sandbox) {
        work.add(new Key(Kind.SANDBOX, sandbox.uid()));
        String pool = sandbox.now().poolUID();
        if (pool != null) {
            work.addAfter(new Key(Kind.POOL, pool), POOL_LATER); // Who claims it waits for it.
        }
    }

    private void reservationChanged(Pod pod) {
        String uid = pod.getMetadata().getLabels().getOrDefault(Names.OWNER_UID, "");
        switch (pod.getMetadata().getLabels().getOrDefault(Names.KIND, "")) {
            case "sandbox" -> work.add(new Key(Kind.SANDBOX, uid));
            case "fork" -> work.add(new Key(Kind.FORK, uid));
            default -> {
                work.add(new Key(Kind.POOL, uid));
                known.uncovered(uid).forEach(each -> work.add(new Key(Kind.SANDBOX, each.uid())));
            }
        }
    }

    /** What ends by itself is heard of here; what was missed is found by the next look at all. */
    private void listen() {
        while (true) {
            try {
                daemon.listen(event -> {
                    if (event.equals("ended") || event.equals("lost")) {
                        work.add(ALL);
                    }
                });
            } catch (IOException e) {
                LOG.debug("the daemon's events: {}", e.toString());
            }
            try {
                Thread.sleep(EVENTS_AGAIN.toMillis());
            } catch (InterruptedException e) {
                return;
            }
        }
    }

    private Optional<Duration> look(Key key) throws Exception {
        long start = System.nanoTime();
        String result = "failed";
        try {
            Optional<Duration> again = lookAt(key);
            result = "done";
            return again;
        } finally {
            times.observe(System.nanoTime() - start, key.kind().name().toLowerCase(java.util.Locale.ROOT), result);
        }
    }

    private Optional<Duration> lookAt(Key key) throws Exception {
        switch (key.kind()) {
            case SANDBOX -> {
                Optional<Sandbox> sandbox = known.sandbox(key.uid());
                if (sandbox.isEmpty()) {
                    sandboxes.remove(key.uid());
                    return Optional.empty();
                }
                return sandboxes.look(sandbox.get());
            }
            case FORK -> {
                Optional<SandboxFork> fork = known.fork(key.uid());
                if (fork.isEmpty()) {
                    forks.remove(key.uid());
                    return Optional.empty();
                }
                return forks.look(fork.get());
            }
            case POOL -> {
                return pools.look(key.uid());
            }
            case TEMPLATE -> {
                Optional<SnapshotTemplate> template = known.template(key.uid());
                if (template.isEmpty()) {
                    templates.drop(key.uid());
                    return Optional.empty();
                }
                Optional<Duration> again = templates.look(template.get());
                wake(template.get());
                return again;
            }
            case DAEMON -> {
                compare();
                return Optional.of(options.sync());
            }
        }
        throw new IllegalStateException();
    }

    /** What waits for a template. */
    private void wake(SnapshotTemplate template) {
        for (Pod each : known.reservations.getIndexer().list()) {
            reservationChanged(each);
        }
        for (Sandbox each : known.sandboxes.getIndexer().list()) {
            if (template.uid().equals(each.now().templateUID()) && each.phase().equals(Phase.SCHEDULED)) {
                work.add(new Key(Kind.SANDBOX, each.uid()));
            }
        }
    }

    /** What the daemon has that nobody wants, and what is gone from it. */
    private void compare() throws IOException {
        report.send();
        Set<String> names = new HashSet<>();
        Set<String> ids = new HashSet<>();
        for (JsonNode each : daemon.get("/v1/sandboxes")) {
            names.add(each.path("name").asText(""));
            ids.add(each.path("id").asText());
            JsonNode labels = each.path("labels");
            String uid = labels.path(Names.UID).asText("");
            if (uid.isEmpty()) {
                continue;
            }
            boolean isFork = labels.path(Names.KIND).asText().equals("fork");
            if (isFork ? known.fork(uid).isEmpty() : known.sandbox(uid).isEmpty()) {
                work.add(new Key(isFork ? Kind.FORK : Kind.SANDBOX, uid));
            }
        }
        for (Sandbox each : known.sandboxes.getIndexer().list()) {
            if (each.phase().equals(Phase.RUNNING) && !names.contains(Names.local(each.uid()))) {
                sandboxes.doubt(each.uid());
                work.add(new Key(Kind.SANDBOX, each.uid()));
            }
        }
        for (SandboxFork each : known.forks.getIndexer().list()) {
            if (each.now().sandboxIDs() != null && !ids.containsAll(each.now().sandboxIDs())) {
                work.add(new Key(Kind.FORK, each.uid()));
            }
        }
        for (JsonNode each : daemon.get("/v1/pools")) {
            String name = each.path("name").asText();
            if (name.startsWith(PREFIX)
                    && known.pool(name.substring(PREFIX.length())).isEmpty()) {
                work.add(new Key(Kind.POOL, name.substring(PREFIX.length())));
            }
        }
        for (JsonNode each : daemon.get("/v1/snapshots")) {
            String tag = each.path("tag").asText();
            String suspended = Names.suspended("");
            if (tag.startsWith(suspended)) {
                String uid = tag.substring(suspended.length());
                if (known.sandbox(uid).isEmpty()) {
                    work.add(new Key(Kind.SANDBOX, uid));
                }
            } else if (tag.startsWith(PREFIX)
                    && known.template(tag.substring(PREFIX.length())).isEmpty()) {
                work.add(new Key(Kind.TEMPLATE, tag.substring(PREFIX.length())));
            }
        }
        // Reservations whose owner is not there cover nothing; a pool's are looked at by its uid.
        for (Pod pod : known.reservations.getIndexer().list()) {
            String uid = pod.getMetadata().getLabels().getOrDefault(Names.OWNER_UID, "");
            String kind = pod.getMetadata().getLabels().getOrDefault(Names.KIND, "");
            if (kind.equals("pool") && known.pool(uid).isEmpty()) {
                work.add(new Key(Kind.POOL, uid));
            }
        }
    }
}
