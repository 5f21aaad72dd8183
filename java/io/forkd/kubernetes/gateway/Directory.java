package io.forkd.kubernetes.gateway;

import io.fabric8.kubernetes.api.model.Node;
import io.fabric8.kubernetes.client.KubernetesClient;
import io.fabric8.kubernetes.client.informers.ResourceEventHandler;
import io.fabric8.kubernetes.client.informers.SharedIndexInformer;
import io.fabric8.kubernetes.client.informers.cache.Cache;
import io.forkd.kubernetes.resource.Names;
import io.forkd.kubernetes.resource.Sandbox;
import io.forkd.kubernetes.resource.SandboxFork;
import io.forkd.kubernetes.resource.SnapshotTemplate;
import io.forkd.kubernetes.resource.WarmPool;
import java.net.URI;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.Predicate;

/** Where each sandbox is, as the API server tells it; there is nothing else that a gateway knows. */
final class Directory {
    private static final String BY_ID = "id";

    /** Each informer has it. */
    private static final String BY_NAMESPACE = Cache.NAMESPACE_INDEX;

    /**
     * A sandbox on a node's daemon.
     *
     * @param id what the daemon calls it
     * @param resource its own; a fork's child has none
     */
    record Located(String namespace, String id, URI daemon, Optional<Sandbox> resource) {}

    private record Waiter(Predicate<Sandbox> until, CompletableFuture<Sandbox> seen) {}

    private final SharedIndexInformer<Sandbox> sandboxes;
    private final SharedIndexInformer<SandboxFork> forks;
    private final SharedIndexInformer<WarmPool> pools;
    private final SharedIndexInformer<SnapshotTemplate> templates;
    private final SharedIndexInformer<Node> nodes;
    private final Map<String, List<Waiter>> waiters = new ConcurrentHashMap<>();

    Directory(KubernetesClient client) {
        sandboxes = client.resources(Sandbox.class).inAnyNamespace().runnableInformer(0);
        forks = client.resources(SandboxFork.class).inAnyNamespace().runnableInformer(0);
        pools = client.resources(WarmPool.class).inAnyNamespace().runnableInformer(0);
        templates = client.resources(SnapshotTemplate.class).inAnyNamespace().runnableInformer(0);
        nodes = client.nodes().withLabel(Names.NODE).runnableInformer(0);
        sandboxes.addIndexers(Map.of(
                BY_ID,
                each -> Optional.ofNullable(each.now().sandboxID())
                        .map(id -> List.of(plain(id)))
                        .orElse(List.of())));
        forks.addIndexers(Map.of(
                BY_ID,
                each -> each.now().sandboxIDs() == null
                        ? List.of()
                        : each.now().sandboxIDs().stream().map(Directory::plain).toList()));
        sandboxes.addEventHandler(new ResourceEventHandler<>() {
            @Override
            public void onAdd(Sandbox sandbox) {
                tell(sandbox);
            }

            @Override
            public void onUpdate(Sandbox before, Sandbox sandbox) {
                tell(sandbox);
            }

            @Override
            public void onDelete(Sandbox sandbox, boolean unknown) {
                tell(sandbox);
            }
        });
        nodes.run();
        templates.run();
        pools.run();
        forks.run();
        sandboxes.run();
    }

    /** E2B's clients know ids without dashes. */
    private static String plain(String id) {
        return id.replace("-", "");
    }

    private void tell(Sandbox sandbox) {
        for (Waiter each : waiters.getOrDefault(sandbox.uid(), List.of())) {
            if (each.until().test(sandbox)) {
                each.seen().complete(sandbox);
            }
        }
    }

    /** The sandbox as it is when it is so; empty when that takes too long. */
    Optional<Sandbox> await(Sandbox sandbox, Predicate<Sandbox> until, Duration patience) throws InterruptedException {
        Waiter waiter = new Waiter(until, new CompletableFuture<>());
        waiters.computeIfAbsent(sandbox.uid(), uid -> new CopyOnWriteArrayList<>())
                .add(waiter);
        try {
            sandbox(sandbox.getMetadata().getNamespace(), sandbox.getMetadata().getName())
                    .filter(each -> each.uid().equals(sandbox.uid()))
                    .ifPresent(this::tell);
            return Optional.of(waiter.seen().get(patience.toMillis(), TimeUnit.MILLISECONDS));
        } catch (TimeoutException | ExecutionException e) {
            return Optional.empty();
        } finally {
            waiters.computeIfPresent(sandbox.uid(), (uid, list) -> {
                list.remove(waiter);
                return list.isEmpty() ? null : list;
            });
        }
    }

    Optional<Sandbox> sandbox(String namespace, String name) {
        return Optional.ofNullable(sandboxes.getIndexer().getByKey(namespace + "/" + name));
    }

    List<Sandbox> sandboxes(String namespace) {
        return sandboxes.getIndexer().byIndex(BY_NAMESPACE, namespace);
    }

    List<SnapshotTemplate> templates(String namespace) {
        return templates.getIndexer().list().stream()
                .filter(each -> each.getMetadata().getNamespace().equals(namespace))
                .toList();
    }

    boolean isPool(String namespace, String name) {
        return pools.getIndexer().getByKey(namespace + "/" + name) != null;
    }

    boolean isTemplate(String namespace, String name) {
        return templates.getIndexer().getByKey(namespace + "/" + name) != null;
    }

    /** By the daemon's id, with its dashes or without, whoever's it is. */
    Optional<Sandbox> byId(String id) {
        return sandboxes.getIndexer().byIndex(BY_ID, plain(id)).stream().findFirst();
    }

    Optional<Located> locate(String id) {
        Optional<Sandbox> sandbox = byId(id);
        if (sandbox.isPresent()) {
            return sandbox.get()
                    .node()
                    .flatMap(this::daemon)
                    .map(daemon -> new Located(
                            sandbox.get().getMetadata().getNamespace(),
                            Optional.ofNullable(sandbox.get().now().sandboxID()).orElse(""),
                            daemon,
                            sandbox));
        }
        return forks.getIndexer().byIndex(BY_ID, plain(id)).stream()
                .findFirst()
                .flatMap(fork -> fork.node()
                        .flatMap(this::daemon)
                        .flatMap(daemon -> Optional.ofNullable(fork.now().sandboxIDs()).stream()
                                .flatMap(List::stream)
                                .filter(each -> plain(each).equals(plain(id)))
                                .findFirst()
                                .map(each -> new Located(
                                        fork.getMetadata().getNamespace(), each, daemon, Optional.empty()))));
    }

    private Optional<URI> daemon(String node) {
        return Optional.ofNullable(nodes.getIndexer().getByKey(node))
                .map(each -> each.getMetadata().getAnnotations())
                .map(annotations -> annotations.get(Names.DAEMON))
                .map(URI::create);
    }
}
