package io.forkd.kubernetes.gateway;

import io.fabric8.kubernetes.client.KubernetesClient;
import io.forkd.http.HttpFailure;
import io.forkd.http.HttpServer;
import io.forkd.http.Metrics;
import io.forkd.http.Routes;
import io.forkd.kubernetes.resource.Api;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** The front of a cluster, of which any number may run: each knows all, and none has anything of its own. */
public final class GatewayProcess {
    private static final Logger LOG = LoggerFactory.getLogger(GatewayProcess.class);

    private GatewayProcess() {}

    /** Serves until the process ends. */
    public static void run(KubernetesClient client, GatewayOptions options) {
        Directory directory = new Directory(client);
        Sandboxes sandboxes = new Sandboxes(new Api(client, "forkd-gateway"), directory, options);
        Daemons daemons = new Daemons(options.daemonToken());
        Metrics metrics = new Metrics();
        Routes routes = new Routes().get("/metrics", call -> metrics.response());
        new V1Routes(sandboxes, directory, daemons).addTo(routes);
        new E2bRoutes(sandboxes, directory, daemons).addTo(routes);
        HttpServer server =
                HttpServer.start(options.http(), routes, metrics, failure -> new HttpFailure(500, failure.sentence()));
        LOG.info("forkd's gateway listens at {}", server.tcp().orElseThrow());
    }
}
