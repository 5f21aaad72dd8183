package io.forkd.kubernetes.node;

import io.fabric8.kubernetes.api.model.Pod;
import io.fabric8.kubernetes.client.KubernetesClient;
import io.fabric8.kubernetes.client.informers.ResourceEventHandler;
import io.fabric8.kubernetes.client.informers.SharedIndexInformer;
import io.forkd.kubernetes.resource.Names;
import io.forkd.kubernetes.resource.Phase;
import io.forkd.kubernetes.resource.Sandbox;
import io.forkd.kubernetes.resource.SandboxFork;
import io.forkd.kubernetes.resource.SnapshotTemplate;
import io.forkd.kubernetes.resource.WarmPool;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.Consumer;

/** What the API server says of this node: sandboxes and forks that are assigned to it, its reservations, and all templates and pools. */
final class Known {
    private static final String BY_UID = "uid";
    private static final String BY_POOL = "pool";
    private static final String BY_OWNER = "owner";
    private static final Set<String> ENDED = Set.of("Succeeded", "Failed");

    private final KubernetesClient client;
    final SharedIndexInformer<Sandbox> sandboxes;
    final SharedIndexInformer<SandboxFork> forks;
    final SharedIndexInformer<WarmPool> pools;
    final SharedIndexInformer<SnapshotTemplate> templates;
    final SharedIndexInformer<Pod> reservations;

    /** Uids of reservations that this agent deleted, which the cache may still have. */
    private final Set<String> released = ConcurrentHashMap.newKeySet();

    Known(KubernetesClient client, NodeOptions options) {
        this.client = client;
        String node = options.node();
        sandboxes = client.resources(Sandbox.class)
                .inAnyNamespace()
                .withField("status.nodeName", node)
                .runnableInformer(0);
        forks = client.resources(SandboxFork.class)
                .inAnyNamespace()
                .withField("status.nodeName", node)
                .runnableInformer(0);
        pools = client.resources(WarmPool.class).inAnyNamespace().runnableInformer(0);
        templates = client.resources(SnapshotTemplate.class).inAnyNamespace().runnableInformer(0);
        reservations = client.pods()
                .inNamespace(options.namespace())
                .withField("spec.nodeName", node)
                .withLabel(Names.KIND)
                .runnableInformer(0);
        sandboxes.addIndexers(Map.of(
                BY_UID,
                each -> List.of(each.uid()),
                BY_POOL,
                each -> Optional.ofNullable(each.now().poolUID())
                        .filter(uid -> each.isInPool() && !each.phase().equals(Phase.SUSPENDED))
                        .map(List::of)
                        .orElse(List.of())));
        forks.addIndexers(Map.of(BY_UID, each -> List.of(each.uid())));
        pools.addIndexers(Map.of(BY_UID, each -> List.of(each.uid())));
        templates.addIndexers(Map.of(BY_UID, each -> List.of(each.uid())));
        reservations.addIndexers(Map.of(
                BY_OWNER,
                each -> List.of(Objects.requireNonNullElse(
                        each.getMetadata().getLabels().get(Names.OWNER_UID), ""))));
    }

    /** Has each change told, also what there is at first. */
    static <T> void tell(SharedIndexInformer<T> informer, Consumer<T> changed) {
        informer.addEventHandler(new ResourceEventHandler<>() {
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
        });
    }

    /** Returns when all is known; reservations last, so that what they cover is known before. */
    void start() {
        reservations.run();
        templates.run();
        pools.run();
        forks.run();
        sandboxes.run();
    }

    private static <T> Optional<T> only(List<T> found) {
        return found.stream().findFirst();
    }

    Optional<Sandbox> sandbox(String uid) {
        return only(sandboxes.getIndexer().byIndex(BY_UID, uid));
    }

    Optional<SandboxFork> fork(String uid) {
        return only(forks.getIndexer().byIndex(BY_UID, uid));
    }

    Optional<WarmPool> pool(String uid) {
        return only(pools.getIndexer().byIndex(BY_UID, uid));
    }

    Optional<SnapshotTemplate> template(String uid) {
        return only(templates.getIndexer().byIndex(BY_UID, uid));
    }

    /** Whether the API server has it, which is asked. */
    boolean isTemplate(String namespace, String uid) {
        return client.resources(SnapshotTemplate.class).inNamespace(namespace).list().getItems().stream()
                .anyMatch(each -> each.uid().equals(uid));
    }

    Optional<SnapshotTemplate> template(String namespace, String name) {
        return Optional.ofNullable(templates.getIndexer().getByKey(namespace + "/" + name));
    }

    Optional<Sandbox> sandbox(String namespace, String name) {
        return Optional.ofNullable(sandboxes.getIndexer().getByKey(namespace + "/" + name));
    }

    /** Those that have places of the pool. */
    List<Sandbox> claimed(String poolUid) {
        return sandboxes.getIndexer().byIndex(BY_POOL, poolUid);
    }

    /**
     * Those of them that have no place, as a reservation was removed. Who runs has one before who does not yet.
     */
    List<Sandbox> uncovered(String poolUid) {
        List<Sandbox> claimed = claimed(poolUid);
        int places = places(poolUid);
        return claimed.size() <= places
                ? List.of()
                : claimed.stream()
                        .sorted(Comparator.comparing(
                                        (Sandbox each) -> !each.phase().equals(Phase.RUNNING))
                                .thenComparing(Sandbox::uid))
                        .skip(places)
                        .toList();
    }

    /** Reservations of this node that still are some. */
    List<Pod> reservationsOf(String ownerUid) {
        return reservations.getIndexer().byIndex(BY_OWNER, ownerUid).stream()
                .filter(pod -> pod.getMetadata().getDeletionTimestamp() == null)
                .filter(pod -> pod.getStatus() == null
                        || !ENDED.contains(
                                Objects.requireNonNullElse(pod.getStatus().getPhase(), "")))
                .filter(pod -> !released.contains(pod.getMetadata().getUid()))
                .toList();
    }

    static int places(Pod pod) {
        return Integer.parseInt(pod.getMetadata().getAnnotations().getOrDefault(Names.PLACES, "1"));
    }

    /** Places of a pool on this node. */
    int places(String poolUid) {
        return reservationsOf(poolUid).stream().mapToInt(Known::places).sum();
    }

    /** It covers nothing from now on, whatever the cache says. */
    void release(Pod pod) {
        released.add(pod.getMetadata().getUid());
    }

    void forget(Pod pod) {
        released.remove(pod.getMetadata().getUid());
    }
}
