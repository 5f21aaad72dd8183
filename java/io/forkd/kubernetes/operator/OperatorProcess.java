package io.forkd.kubernetes.operator;

import io.fabric8.kubernetes.api.model.HasMetadata;
import io.fabric8.kubernetes.api.model.Pod;
import io.fabric8.kubernetes.client.KubernetesClient;
import io.forkd.http.HttpFailure;
import io.forkd.http.HttpServer;
import io.forkd.http.Routes;
import io.forkd.kubernetes.resource.Api;
import io.forkd.kubernetes.resource.Names;
import io.forkd.kubernetes.resource.Sandbox;
import io.javaoperatorsdk.operator.Operator;
import io.javaoperatorsdk.operator.api.config.ControllerConfigurationOverrider;
import io.javaoperatorsdk.operator.api.config.LeaderElectionConfigurationBuilder;
import io.javaoperatorsdk.operator.api.monitoring.Metrics;
import io.javaoperatorsdk.operator.processing.event.rate.LinearRateLimiter;
import io.javaoperatorsdk.operator.processing.retry.GenericRetry;
import java.time.Duration;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.stream.Collectors;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** The operator, of which any number may run: one leads, and the others wait. */
public final class OperatorProcess {
    private static final Logger LOG = LoggerFactory.getLogger(OperatorProcess.class);
    private static final Duration SWEEP = Duration.ofSeconds(10);
    private static final String LEASE = "forkd-operator";

    private OperatorProcess() {}

    /** Runs until the process ends; one that is no longer the leader ends. */
    public static void run(KubernetesClient client, OperatorOptions options) {
        io.forkd.http.Metrics metrics = new io.forkd.http.Metrics();
        options.http()
                .ifPresent(http -> HttpServer.start(
                        http,
                        new Routes().get("/metrics", call -> metrics.response()),
                        metrics,
                        failure -> new HttpFailure(500, failure.sentence())));
        Api api = new Api(client, "forkd-operator");
        Cluster cluster = new Cluster(client, options.namespace(), options.nodeGrace());
        Reservations reservations = new Reservations(api, cluster, options);
        Claims claims = new Claims(cluster);
        Duration lease = options.leaseDuration();
        Timed timed = new Timed(metrics);
        Operator operator = new Operator(overrider -> overrider
                .withKubernetesClient(client)
                .withMetrics(timed)
                .withConcurrentReconciliationThreads(options.threads())
                .withUseSSAToPatchPrimaryResource(false)
                .withLeaderElectionConfiguration(LeaderElectionConfigurationBuilder.aLeaderElectionConfiguration(LEASE)
                        .withLeaseNamespace(options.namespace())
                        .withLeaseDuration(lease)
                        .withRenewDeadline(lease.multipliedBy(2).dividedBy(3))
                        .withRetryPeriod(lease.dividedBy(6))
                        .build()));
        operator.register(new TemplateReconciler(api, cluster), OperatorProcess::configure);
        operator.register(new PoolReconciler(api, cluster, reservations, claims), OperatorProcess::configure);
        operator.<Sandbox>register(new SandboxReconciler(api, cluster, reservations, claims), configuration -> {
            configure(configuration);
            configuration.withTriggerReconcilerOnAllEvents(true);
        });
        operator.register(new ForkReconciler(api, cluster, reservations), OperatorProcess::configure);
        operator.installShutdownHook(Duration.ofSeconds(10));
        operator.start();
        sweep(cluster, reservations);
    }

    /** Looks at what waits, and ends reservations that were seen twice without an owner. */
    private static void sweep(Cluster cluster, Reservations reservations) {
        Thread sweeper = new Thread(
                () -> {
                    Set<String> before = Set.of();
                    while (true) {
                        try {
                            Thread.sleep(SWEEP.toMillis());
                            cluster.fireWaiting();
                            List<Pod> orphans = cluster.orphans();
                            for (Pod each : orphans) {
                                if (before.contains(each.getMetadata().getUid())) {
                                    reservations.delete(each);
                                }
                            }
                            before = orphans.stream()
                                    .map(each -> each.getMetadata().getUid())
                                    .collect(Collectors.toSet());
                        } catch (InterruptedException e) {
                            return;
                        } catch (RuntimeException e) {
                            LOG.warn("cannot end reservations without an owner: {}", e.toString());
                        }
                    }
                },
                "forkd-sweep");
        sweeper.setDaemon(true);
        sweeper.start();
    }

    private static <R extends HasMetadata> void configure(ControllerConfigurationOverrider<R> configuration) {
        configuration
                .withFinalizer(Names.FINALIZER)
                .withGenerationAware(false) // What agents write into the status is what goes on.
                .withRateLimiter(LinearRateLimiter.deactivatedRateLimiter())
                .withReconciliationMaxInterval(Duration.ofMinutes(10))
                .withRetry(new GenericRetry()
                        .withoutMaxAttempts()
                        .setInitialInterval(100)
                        .setIntervalMultiplier(2)
                        .setMaxInterval(Duration.ofSeconds(30).toMillis()));
    }

    /** How long looks at resources take. */
    private static final class Timed implements Metrics {
        private final io.forkd.http.Metrics.Timing times;

        Timed(io.forkd.http.Metrics metrics) {
            times = metrics.timing(
                    "forkd_operator_reconcile_seconds", "One look at a resource.", "controller", "result");
        }

        @Override
        public <T> T timeControllerExecution(ControllerExecution<T> execution) throws Exception {
            long start = System.nanoTime();
            String result = "failed";
            try {
                T value = execution.execute();
                result = "done";
                return value;
            } finally {
                times.observe(
                        System.nanoTime() - start, execution.controllerName().toLowerCase(Locale.ROOT), result);
            }
        }
    }
}
