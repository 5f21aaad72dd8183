package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import java.net.URI;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.Callable;
import java.util.regex.Pattern;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;
import tools.jackson.databind.node.ObjectNode;

@Command(name = "e2b", description = "E2B's SDKs at a daemon.", synopsisSubcommandLabel = "env")
final class E2bCommand implements Runnable {
    @Spec
    @SuppressWarnings("NullAway.Init") // picocli sets it before run
    CommandSpec spec;

    @Override
    public void run() {
        throw new ParameterException(spec.commandLine(), "e2b needs a verb: env");
    }

    /** {@code forkd e2b env}. */
    @Command(
            name = "env",
            description = {
                "Prints the variables that have E2B's SDKs ask a daemon. Asks nobody.",
                "Use it so: eval \"$(forkd e2b env)\""
            },
            sortOptions = false)
    static final class Env implements Callable<Integer> {
        /** Some SDKs take a key of this form only. */
        private static final String PREFIX = "e2b_";

        private static final Pattern TOKEN = Pattern.compile("[0-9a-f]{64}");

        /** For a daemon that has no tokens: the SDKs want some key. */
        private static final String ANY_KEY = PREFIX + "0".repeat(40);

        private static final int HTTPS = 443;

        /** What a shell takes as it stands. */
        private static final Pattern PLAIN = Pattern.compile("[A-Za-z0-9_./:@%+=,-]+");

        private final Shell shell;

        @Mixin
        RemoteOptions remote = new RemoteOptions();

        @Option(
                names = "--proxy-domain",
                paramLabel = "DOMAIN",
                description = "The daemon's --proxy-domain. Also FORKD_PROXY_DOMAIN. Default: localhost.")
        Optional<String> proxyDomain = Optional.empty();

        @Option(names = "--json", description = "Print them as JSON.")
        boolean json;

        Env(Shell shell) {
            this.shell = shell;
        }

        @Override
        public Integer call() {
            Map<String, String> variables = variables();
            if (json) {
                ObjectNode node = Shell.json();
                variables.forEach(node::put);
                shell.print(node);
            } else {
                variables.forEach((name, value) -> shell.print("export " + name + "=" + quoted(value)));
            }
            return 0;
        }

        private Map<String, String> variables() {
            String url = remote.place(shell).replaceAll("/+$", "");
            if (DaemonClient.isUnix(url)) {
                throw new ForkdException(
                        Kind.USAGE,
                        "E2B's SDKs know no Unix sockets, and the daemon is named as " + url,
                        "Give the address that it listens at: --daemon-url http://HOST:PORT");
            }
            DaemonClient.requireUsable(url);
            String domain = proxyDomain
                    .or(() -> Optional.ofNullable(shell.environment().get("FORKD_PROXY_DOMAIN")))
                    .filter(value -> !value.isEmpty())
                    .orElse(DaemonCommand.DEFAULT_DOMAIN);
            DaemonCommand.requireDomain(domain);
            URI uri = URI.create(url);
            boolean tls = "https".equalsIgnoreCase(uri.getScheme());
            int port = uri.getPort() >= 0 ? uri.getPort() : tls ? HTTPS : 80;
            Map<String, String> variables = new LinkedHashMap<>();
            variables.put("E2B_API_URL", url);
            variables.put("E2B_SANDBOX_URL", url);
            // The SDKs make hosts of ports of it, to which a browser adds the scheme's port.
            variables.put("E2B_DOMAIN", port == HTTPS ? domain : domain + ":" + port);
            variables.put("E2B_API_KEY", remote.secret(shell).map(Env::key).orElse(ANY_KEY));
            return variables;
        }

        /** Of which a daemon knows its token again. */
        private static String key(String token) {
            return TOKEN.matcher(token).matches() ? PREFIX + token : token;
        }

        private static String quoted(String value) {
            return PLAIN.matcher(value).matches() ? value : "'" + value.replace("'", "'\\''") + "'";
        }
    }
}
