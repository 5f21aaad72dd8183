package io.forkd.kubernetes.operator;

import com.fasterxml.jackson.databind.node.ObjectNode;
import io.fabric8.kubernetes.api.model.HasMetadata;
import io.fabric8.kubernetes.api.model.Node;
import io.fabric8.kubernetes.api.model.Pod;
import io.fabric8.kubernetes.client.KubernetesClient;
import io.fabric8.kubernetes.client.informers.ResourceEventHandler;
import io.fabric8.kubernetes.client.informers.SharedIndexInformer;
import io.forkd.kubernetes.resource.Api;
import io.forkd.kubernetes.resource.Names;
import io.forkd.kubernetes.resource.Placed;
import io.forkd.kubernetes.resource.Sandbox;
import io.forkd.kubernetes.resource.SandboxFork;
import io.forkd.kubernetes.resource.SnapshotTemplate;
import io.forkd.kubernetes.resource.WarmPool;
import io.javaoperatorsdk.operator.processing.event.ResourceID;
import io.javaoperatorsdk.operator.processing.event.source.IndexerResourceCache;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import java.util.function.Function;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/** What the operator knows of the cluster: what informers hold, and since when a node does not answer. */
final class Cluster {
    /** Index of sandboxes and forks by their node. */
    private static final String BY_NODE = "node";

    /** Index of sandboxes by the uid of the pool whose place they have. */
    private static final String BY_POOL = "pool";

    private static final String BY_OWNER = "owner";
    private static final int LATER_MILLIS = 100;

    private final String namespace;
    private final Duration grace;
    private final SharedIndexInformer<Pod> reservations;
    private final SharedIndexInformer<Node> nodes;

    /** In nanoseconds of this process: the clocks of nodes are their own. */
    private final Map<String, Long> silentSince = new ConcurrentHashMap<>();

    private final ScheduledExecutorService clock = Executors.newSingleThreadScheduledExecutor(job -> {
        Thread thread = new Thread(job, "forkd-node-grace");
        thread.setDaemon(true);
        return thread;
    });

    final Trigger<Sandbox> sandboxTrigger = new Trigger<>("sandboxes");
    final Trigger<SandboxFork> forkTrigger = new Trigger<>("forks");
    final Trigger<WarmPool> poolTrigger = new Trigger<>("pools");
    final Trigger<SnapshotTemplate> templateTrigger = new Trigger<>("templates");

    private @Nullable IndexerResourceCache<Sandbox> sandboxes;
    private @Nullable IndexerResourceCache<SandboxFork> forks;
    private @Nullable IndexerResourceCache<WarmPool> pools;
    private @Nullable IndexerResourceCache<SnapshotTemplate> templates;

    /**
     * Starts to watch, and returns when all is known.
     *
     * @param namespace where reservations are
     * @param grace how long a node may not be ready before what ran there counts as lost
     */
    Cluster(KubernetesClient client, String namespace, Duration grace) {
        this.namespace = namespace;
        this.grace = grace;
        reservations =
                client.pods().inNamespace(namespace).withLabel(Names.KIND).runnableInformer(0);
        reservations.addIndexers(Map.of(BY_OWNER, pod -> List.of(ownerUid(pod))));
        reservations.addEventHandler(new Handler<>(this::reservationChanged));
        nodes = client.nodes().runnableInformer(0);
        nodes.addEventHandler(new Handler<>(this::nodeChanged));
        reservations.run();
        nodes.run();
    }

    private record Handler<T>(java.util.function.Consumer<T> changed) implements ResourceEventHandler<T> {
        @Override
        public void onAdd(T object) {
            changed.accept(object);
        }

        @Override
        public void onUpdate(T before, T object) {
            changed.accept(object);
        }

        @Override
        public void onDelete(T object, boolean unknown) {
            changed.accept(object);
        }
    }

    // --- reservations ---

    private static String ownerUid(Pod pod) {
        return Objects.requireNonNullElse(pod.getMetadata().getLabels().get(Names.OWNER_UID), "");
    }

    private static String owner(Pod pod) {
        return Objects.requireNonNullElse(pod.getMetadata().getAnnotations(), Map.<String, String>of())
                .getOrDefault(Names.OWNER, "");
    }

    private void reservationChanged(Pod pod) {
        String owner = owner(pod);
        int slash = owner.indexOf('/');
        if (slash < 0) {
            return;
        }
        Trigger<?> trigger = switch (pod.getMetadata().getLabels().getOrDefault(Names.KIND, "")) {
            case "sandbox" -> sandboxTrigger;
            case "fork" -> forkTrigger;
            default -> poolTrigger;
        };
        trigger.fire(owner.substring(0, slash), owner.substring(slash + 1));
    }

    /** Reservations whose owners are not there: nobody else ends them when somebody took a finalizer away. */
    List<Pod> orphans() {
        if (!sandboxTrigger.isRunning() || !forkTrigger.isRunning()) {
            return List.of();
        }
        return reservations.getIndexer().list().stream()
                .filter(pod -> !ownerIsThere(pod))
                .toList();
    }

    private boolean ownerIsThere(Pod pod) {
        String owner = owner(pod);
        ResourceID id = new ResourceID(owner.substring(owner.indexOf('/') + 1), owner.replaceFirst("/.*", ""));
        Optional<? extends HasMetadata> found =
                switch (pod.getMetadata().getLabels().getOrDefault(Names.KIND, "")) {
                    case "sandbox" -> sandboxes == null ? Optional.empty() : sandboxes.get(id);
                    case "fork" -> forks == null ? Optional.empty() : forks.get(id);
                    default -> {
                        // Places that are taken outlive the pool; its agents end them.
                        yield Optional.of(pod);
                    }
                };
        return found.filter(each -> each == pod || each.getMetadata().getUid().equals(ownerUid(pod)))
                .isPresent();
    }

    Optional<Pod> reservation(String name) {
        return Optional.ofNullable(reservations.getIndexer().getByKey(namespace + "/" + name));
    }

    List<Pod> reservationsOf(String ownerUid) {
        return reservations.getIndexer().byIndex(BY_OWNER, ownerUid);
    }

    /** Has a pool looked at when those who wait for it have what they wait for. */
    void fireLater(WarmPool pool) {
        var unused = clock.schedule(() -> poolTrigger.fire(pool), LATER_MILLIS, TimeUnit.MILLISECONDS);
    }

    // --- nodes ---

    private void nodeChanged(Node node) {
        String name = node.getMetadata().getName();
        templates().forEach(templateTrigger::fire);
        if (isReady(node)) {
            silentSince.remove(name);
            if (nodes.getIndexer().getByKey(name) == null) {
                lookAt(name);
            }
        } else if (silentSince.putIfAbsent(name, System.nanoTime()) == null) {
            var unused = clock.schedule(() -> lookAt(name), grace.toMillis() + 1, TimeUnit.MILLISECONDS);
        } else {
            lookAt(name);
        }
    }

    private void lookAt(String node) {
        if (sandboxTrigger.isRunning()) {
            ofNode(sandboxes, node).forEach(sandboxTrigger::fire);
        }
        if (forkTrigger.isRunning()) {
            ofNode(forks, node).forEach(forkTrigger::fire);
        }
        pools().forEach(poolTrigger::fire);
    }

    private static <T extends HasMetadata> List<T> ofNode(@Nullable IndexerResourceCache<T> cache, String node) {
        return cache == null ? List.of() : cache.byIndex(BY_NODE, node);
    }

    private static boolean isReady(Node node) {
        return node.getStatus() != null
                && node.getStatus().getConditions() != null
                && node.getStatus().getConditions().stream()
                        .anyMatch(each -> each.getType().equals("Ready")
                                && each.getStatus().equals("True"));
    }

    boolean isGone(String node) {
        return nodes.getIndexer().getByKey(node) == null;
    }

    /** Has a status forget those of these nodes that have gone. */
    void forgetGone(ObjectNode status, Set<String> known) {
        ObjectNode gone = Api.object();
        known.stream().filter(this::isGone).forEach(gone::putNull);
        if (!gone.isEmpty()) {
            status.set("nodes", gone);
        }
    }

    /** It is gone, or was not ready for so long that what runs there counts as lost. */
    boolean isLost(String node) {
        Long since = silentSince.get(node);
        return isGone(node) || (since != null && System.nanoTime() - since >= grace.toNanos());
    }

    /** Nodes with an agent, in no order. */
    List<Node> nodes() {
        return nodes.getIndexer().list();
    }

    static boolean isUsable(Node node) {
        return isReady(node)
                && !Boolean.TRUE.equals(
                        node.getSpec() == null ? null : node.getSpec().getUnschedulable());
    }

    // --- resources ---

    /** Has what has no node looked at, whatever became of its events: of one that has the name of one just deleted some were lost. */
    void fireWaiting() {
        fireWaiting(sandboxes, sandboxTrigger);
        fireWaiting(forks, forkTrigger);
    }

    private static <T extends HasMetadata & Placed> void fireWaiting(
            @Nullable IndexerResourceCache<T> cache, Trigger<T> trigger) {
        if (cache != null && trigger.isRunning()) {
            cache.list().filter(each -> each.node().isEmpty() && !each.isOver()).forEach(trigger::fire);
        }
    }

    void use(IndexerResourceCache<Sandbox> cache) {
        cache.addIndexers(Map.of(
                BY_NODE,
                each -> each.node().map(List::of).orElse(List.of()),
                BY_POOL,
                each -> Optional.ofNullable(each.now().poolUID())
                        .filter(uid -> each.isInPool())
                        .map(List::of)
                        .orElse(List.of())));
        sandboxes = cache;
    }

    void useForks(IndexerResourceCache<SandboxFork> cache) {
        cache.addIndexers(Map.of(BY_NODE, each -> each.node().map(List::of).orElse(List.of())));
        forks = cache;
    }

    void usePools(IndexerResourceCache<WarmPool> cache) {
        pools = cache;
    }

    void useTemplates(IndexerResourceCache<SnapshotTemplate> cache) {
        templates = cache;
    }

    Optional<Sandbox> sandbox(@Nullable String namespace, String name) {
        return sandboxes == null ? Optional.empty() : sandboxes.get(new ResourceID(name, namespace));
    }

    /** Those that have places of the pool. */
    List<Sandbox> claimed(String poolUid) {
        return sandboxes == null ? List.of() : sandboxes.byIndex(BY_POOL, poolUid);
    }

    Optional<WarmPool> pool(@Nullable String namespace, String name) {
        return pools == null ? Optional.empty() : pools.get(new ResourceID(name, namespace));
    }

    private Stream<WarmPool> pools() {
        return pools == null || !poolTrigger.isRunning() ? Stream.empty() : pools.list();
    }

    /** A cache has nothing before its controller has started, when another one leads for example. */
    private Stream<SnapshotTemplate> templates() {
        return templates == null || !templateTrigger.isRunning() ? Stream.empty() : templates.list();
    }

    Optional<SnapshotTemplate> template(@Nullable String namespace, String name) {
        return templates == null ? Optional.empty() : templates.get(new ResourceID(name, namespace));
    }

    /** How many templates are to be warm on a node. */
    Function<String, Long> warmTemplates() {
        Map<String, Long> counts = new ConcurrentHashMap<>();
        templates().forEach(each -> each.warmOn().forEach(node -> counts.merge(node, 1L, Long::sum)));
        return node -> counts.getOrDefault(node, 0L);
    }
}
