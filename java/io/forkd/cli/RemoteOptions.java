package io.forkd.cli;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;
import java.util.Optional;
import picocli.CommandLine.Option;

/** Which daemon is asked, if one is. Variables are read here, since help shows the values of defaults. */
final class RemoteOptions {
    private static final String URL = "FORKD_URL";
    private static final String TOKEN = "FORKD_TOKEN";

    @Option(
            names = "--daemon-url",
            paramLabel = "URL",
            description = "Ask the daemon there instead of working on this machine's folders: http://HOST:PORT,"
                    + " https://HOST:PORT or unix:PATH. Also FORKD_URL. Default with a token: "
                    + DaemonClient.DEFAULT_URL + ".")
    Optional<String> url = Optional.empty();

    @Option(
            names = "--daemon-token",
            paramLabel = "TOKEN",
            description = "The daemon's token, which other users of this machine can see here; better FORKD_TOKEN.")
    Optional<String> token = Optional.empty();

    /** Whether the command line itself names one. */
    boolean onCommandLine() {
        return url.isPresent() || token.isPresent();
    }

    /** The one that was named. */
    Optional<DaemonClient> named(Shell shell) {
        return url(shell).isPresent() || secret(shell).isPresent()
                ? Optional.of(new DaemonClient(place(shell), secret(shell), shell))
                : Optional.empty();
    }

    /** Where it is asked. */
    String place(Shell shell) {
        return url(shell).orElse(DaemonClient.DEFAULT_URL);
    }

    private Optional<String> url(Shell shell) {
        return url.or(() -> variable(shell, URL));
    }

    /** The token that it is asked with. */
    Optional<String> secret(Shell shell) {
        return token.or(() -> variable(shell, TOKEN));
    }

    /** What has another process ask the same. */
    Map<String, String> variables() {
        Map<String, String> variables = new HashMap<>();
        url.ifPresent(value -> variables.put(URL, value));
        token.ifPresent(value -> variables.put(TOKEN, value));
        return variables;
    }

    /** The one that was named, else this user's own, if it runs. */
    Optional<DaemonClient> namedOrOwn(Shell shell) {
        Path socket = shell.engine().runtime().root().resolve("daemon.sock");
        return named(shell)
                .or(() -> Files.exists(socket)
                        ? Optional.of(new DaemonClient("unix:" + socket, Optional.empty(), shell))
                                .filter(DaemonClient::answers)
                        : Optional.empty());
    }

    /** As {@link #namedOrOwn}, else where one usually is. */
    DaemonClient any(Shell shell) {
        return namedOrOwn(shell).orElseGet(() -> new DaemonClient(DaemonClient.DEFAULT_URL, Optional.empty(), shell));
    }

    /** Where a verb's sandboxes and snapshots are. */
    Backend backend(Shell shell) {
        return named(shell).<Backend>map(daemon -> new DaemonBackend(daemon)).orElseGet(() -> new FolderBackend(shell));
    }

    private static Optional<String> variable(Shell shell, String name) {
        return Optional.ofNullable(shell.environment().get(name)).filter(value -> !value.isEmpty());
    }
}
