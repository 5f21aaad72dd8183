package io.forkd.kubernetes;

import io.fabric8.kubernetes.client.Config;
import io.fabric8.kubernetes.client.ConfigBuilder;
import io.fabric8.kubernetes.client.KubernetesClient;
import io.fabric8.kubernetes.client.KubernetesClientBuilder;
import io.forkd.http.HttpOptions;
import io.forkd.http.Limits;
import io.forkd.kubernetes.gateway.GatewayOptions;
import io.forkd.kubernetes.gateway.GatewayProcess;
import io.forkd.kubernetes.node.Agent;
import io.forkd.kubernetes.node.NodeOptions;
import io.forkd.kubernetes.operator.OperatorOptions;
import io.forkd.kubernetes.operator.OperatorProcess;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.CountDownLatch;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** {@code forkd-kubernetes operator | node | gateway}. The API server is found as kubectl finds it. */
@Command(
        name = "forkd-kubernetes",
        description = "forkd on Kubernetes: docs/kubernetes.md.",
        subcommands = {Main.OperatorCommand.class, Main.NodeCommand.class, Main.GatewayCommand.class})
public final class Main {
    private Main() {}

    /** What all have. */
    static final class CommonOptions {
        @Option(
                names = "--namespace",
                defaultValue = "${FORKD_NAMESPACE:-forkd-system}",
                description = "Where reservations and the lease are. Default: ${DEFAULT-VALUE}")
        String namespace = "";

        @Option(
                names = "--threads",
                defaultValue = "16",
                description = "How many resources are looked at at once. Default: ${DEFAULT-VALUE}")
        int threads;

        @Option(names = "--bind", paramLabel = "IP:PORT", description = "Serve GET /metrics and /healthz there.")
        @Nullable
        String bind;

        @Option(
                names = "--token-file",
                defaultValue = "${FORKD_TOKEN_FILE}",
                description = "Who may ask, as of forkd daemon.")
        @Nullable
        Path tokenFile;

        Optional<HttpOptions> http() {
            return Optional.ofNullable(bind)
                    .map(address -> new HttpOptions(
                            Optional.of(HttpOptions.address(address)),
                            Optional.empty(),
                            Optional.empty(),
                            Optional.ofNullable(tokenFile),
                            Optional.empty(),
                            Limits.STANDARD));
        }
    }

    static KubernetesClient client() {
        Config config = new ConfigBuilder(Config.autoConfigure(null))
                .withRequestRetryBackoffLimit(3)
                .withRequestTimeout(30_000)
                .build();
        return new KubernetesClientBuilder().withConfig(config).build();
    }

    /** The operator. */
    @Command(name = "operator", description = "Decides which node has what. Any number may run; one leads.")
    static final class OperatorCommand implements Runnable {
        @Mixin
        CommonOptions common = new CommonOptions();

        @Option(
                names = "--reservation-image",
                defaultValue = "registry.k8s.io/pause:3.10",
                description = "Of the Pods that reserve memory. Default: ${DEFAULT-VALUE}")
        String image = "";

        @Option(
                names = "--priority-class",
                defaultValue = "forkd-reservation",
                description = "Of these Pods. Default: ${DEFAULT-VALUE}")
        String priorityClass = "";

        @Option(
                names = "--node-grace",
                paramLabel = "SECONDS",
                defaultValue = "60",
                description =
                        "How long a node may not be ready before what ran there is lost. Default: ${DEFAULT-VALUE}")
        int nodeGrace;

        @Option(
                names = "--lease",
                paramLabel = "SECONDS",
                defaultValue = "15",
                description = "How long a leader that is silent stays it. Default: ${DEFAULT-VALUE}")
        int lease;

        @Override
        public void run() {
            OperatorProcess.run(
                    client(),
                    new OperatorOptions(
                            common.namespace,
                            image,
                            priorityClass,
                            Duration.ofSeconds(nodeGrace),
                            Duration.ofSeconds(lease),
                            common.threads,
                            common.http()));
        }
    }

    /** The agent of a node. */
    @Command(name = "node", description = "Does on this node's daemon what is assigned to the node.")
    static final class NodeCommand implements Runnable {
        private static final int KEPT_MIB = 2048;

        @Mixin
        CommonOptions common = new CommonOptions();

        @Option(names = "--node", required = true, defaultValue = "${NODE_NAME}", description = "The node's name.")
        String node = "";

        @Option(
                names = "--socket",
                defaultValue = "/run/forkd/daemon.sock",
                description = "The daemon's. Default: ${DEFAULT-VALUE}")
        Path socket = Path.of("");

        @Option(
                names = "--address",
                required = true,
                paramLabel = "URL",
                description = "Where the gateway reaches that daemon.")
        String address = "";

        @Option(
                names = "--sandbox-mib",
                description = "How much memory of this node is for sandboxes. Default: what it has, less " + KEPT_MIB)
        @Nullable
        Long sandboxMib;

        @Option(names = "--forkd", defaultValue = "forkd", description = "The command line. Default: ${DEFAULT-VALUE}")
        String forkd = "";

        @Option(
                names = "--sync",
                paramLabel = "SECONDS",
                defaultValue = "10",
                description = "How often what the daemon has is compared with what is known. Default: ${DEFAULT-VALUE}")
        int sync;

        @Override
        public void run() {
            Agent.run(
                    client(),
                    new NodeOptions(
                            node,
                            common.namespace,
                            socket,
                            address,
                            sandboxMib == null ? Math.max(0, NodeOptions.memoryMib() - KEPT_MIB) : sandboxMib,
                            List.of(forkd),
                            Duration.ofSeconds(sync),
                            common.threads,
                            common.http()));
        }
    }

    /** The front of the cluster. */
    @Command(name = "gateway", description = "REST v1 and E2B's interface for all sandboxes. Any number may run.")
    static final class GatewayCommand implements Runnable {
        @Option(
                names = "--bind",
                defaultValue = "0.0.0.0:8889",
                paramLabel = "IP:PORT",
                description = "Where it listens. Default: ${DEFAULT-VALUE}")
        String bind = "";

        @Option(
                names = "--token-file",
                required = true,
                defaultValue = "${FORKD_TOKEN_FILE}",
                description = "Who may ask, as of forkd daemon; a user works in the namespace of its name.")
        Path tokenFile = Path.of("");

        @Option(
                names = "--daemon-token-file",
                required = true,
                description = "By what daemons know it: what their token file has.")
        Path daemonTokenFile = Path.of("");

        @Option(names = "--tls-cert", description = "A chain of certificates.")
        @Nullable
        Path certificates;

        @Option(names = "--tls-key", description = "Its private key.")
        @Nullable
        Path key;

        @Option(
                names = "--default-namespace",
                defaultValue = "default",
                description = "Of administrators who name none by the field Forkd-Namespace. Default: ${DEFAULT-VALUE}")
        String namespace = "";

        @Option(
                names = "--patience",
                paramLabel = "SECONDS",
                defaultValue = "60",
                description = "How long a sandbox may take to run. Default: ${DEFAULT-VALUE}")
        int patience;

        @Override
        public void run() {
            String token;
            try {
                token = Files.readString(daemonTokenFile, StandardCharsets.UTF_8)
                        .strip();
            } catch (IOException e) {
                throw new UncheckedIOException("cannot read " + daemonTokenFile, e);
            }
            HttpOptions http = new HttpOptions(
                    Optional.of(HttpOptions.address(bind)),
                    Optional.empty(),
                    HttpOptions.tls(Optional.ofNullable(certificates), Optional.ofNullable(key)),
                    Optional.of(tokenFile),
                    Optional.empty(),
                    Limits.STANDARD);
            GatewayProcess.run(client(), new GatewayOptions(namespace, token, Duration.ofSeconds(patience), http));
        }
    }

    /** Returns when it is ended. */
    public static void main(String[] arguments) throws InterruptedException {
        CommandLine line = new CommandLine(new Main());
        int status = line.execute(arguments);
        if (status != 0 || line.getParseResult().subcommand() == null || isHelp(line)) {
            System.exit(status);
        }
        new CountDownLatch(1).await();
    }

    private static boolean isHelp(CommandLine line) {
        return CommandLine.printHelpIfRequested(line.getParseResult());
    }
}
