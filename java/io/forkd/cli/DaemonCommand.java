package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.daemon.Daemon;
import io.forkd.daemon.DaemonOptions;
import io.forkd.http.Diagnostics;
import io.forkd.http.HttpOptions;
import io.forkd.http.Limits;
import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.Callable;
import java.util.concurrent.Semaphore;
import java.util.regex.Pattern;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

@Command(
        name = "daemon",
        description =
                "Serves REST v1, for the SDKs, until SIGINT or SIGTERM. Sandboxes go on when it ends, and the next"
                        + " one finds them; command lines beside it see what it makes, and it sees what they make. SIGHUP reads"
                        + " certificates and tokens again, and reopens the audit log.",
        sortOptions = false)
final class DaemonCommand implements Callable<Integer> {
    private static final Path OF_ROOT = Path.of("/var/lib/forkd/state.json");
    private static final Path AUDIT_OF_ROOT = Path.of("/var/log/forkd/audit.log");

    static final String DEFAULT_DOMAIN = "localhost";

    private static final Pattern DOMAIN = Pattern.compile("[A-Za-z0-9-]{1,63}(\\.[A-Za-z0-9-]{1,63}){0,8}");

    private final Shell shell;

    @Option(
            names = "--bind",
            paramLabel = "IP:PORT",
            defaultValue = "${env:FORKD_BIND:-127.0.0.1:8889}",
            description = "Where to listen. Also FORKD_BIND. Others than loopback addresses need --token-file."
                    + " Default: 127.0.0.1:8889.")
    String bind = "";

    @Option(
            names = "--state",
            paramLabel = "FILE",
            defaultValue = "${env:FORKD_STATE}",
            description = "What no folder tells: the workspaces. Also FORKD_STATE. Default: state.json in"
                    + " /var/lib/forkd, or for other users than root in the folder that `forkd where` prints.")
    Optional<Path> state = Optional.empty();

    @Option(
            names = "--audit-log",
            paramLabel = "FILE",
            defaultValue = "${env:FORKD_AUDIT_LOG}",
            description =
                    "Gets a line of JSON for each request. Also FORKD_AUDIT_LOG. Default: /var/log/forkd/audit.log,"
                            + " or for other users than root audit.log in the folder that `forkd where` prints.")
    Optional<Path> auditLog = Optional.empty();

    @Option(
            names = "--token-file",
            paramLabel = "FILE",
            defaultValue = "${env:FORKD_TOKEN_FILE}",
            description =
                    "Says whose token, sent as Authorization: Bearer, is good for what: see `forkd token`. Or it holds one"
                            + " secret, of at least 16 characters, that is an administrator's. Also FORKD_TOKEN_FILE. Without it"
                            + " everybody on this machine is served.")
    Optional<Path> tokenFile = Optional.empty();

    @Option(
            names = "--tls-cert",
            paramLabel = "FILE",
            defaultValue = "${env:FORKD_TLS_CERT}",
            description = "Certificate in PEM form. Also FORKD_TLS_CERT.")
    Optional<Path> certificate = Optional.empty();

    @Option(
            names = "--tls-key",
            paramLabel = "FILE",
            defaultValue = "${env:FORKD_TLS_KEY}",
            description = "Its key. Also FORKD_TLS_KEY.")
    Optional<Path> key = Optional.empty();

    @Option(
            names = "--proxy-domain",
            paramLabel = "DOMAIN",
            defaultValue = "${env:FORKD_PROXY_DOMAIN:-" + DEFAULT_DOMAIN + "}",
            description = "The host PORT-ID.DOMAIN is that port of that sandbox. Also FORKD_PROXY_DOMAIN. Default:"
                    + " localhost.")
    String proxyDomain = "";

    @Option(
            names = "--branch-concurrency",
            paramLabel = "N",
            defaultValue = "${env:FORKD_BRANCH_CONCURRENCY:-4}",
            description = "How many branches may be made at a time; more are refused. Also FORKD_BRANCH_CONCURRENCY."
                    + " Default: 4.")
    int branchConcurrency;

    @Option(
            names = "--user-registry",
            paramLabel = "HOST",
            split = ",",
            defaultValue = "${env:FORKD_USER_REGISTRIES:-docker.io,ghcr.io,quay.io}",
            description = "Where images of users come from, without credentials: this host speaks to no other for them."
                    + " Repeatable. Also FORKD_USER_REGISTRIES. Default: docker.io, ghcr.io, quay.io.")
    List<String> userRegistries = List.of();

    @Option(
            names = "--user-images-mib",
            paramLabel = "MIB",
            defaultValue = "${env:FORKD_USER_IMAGES_MIB:-20480}",
            description =
                    "How much of the disk the images of one user may take, with all that was pulled for them. Those"
                            + " that no snapshot uses go when there is no room. Also FORKD_USER_IMAGES_MIB. Default: 20480.")
    int userImagesMib;

    @Option(
            names = "--snapshot-root",
            paramLabel = "DIR",
            description = "Where snapshots are. Also FORKD_SNAPSHOT_ROOT. Default: snapshots in the folder that `forkd"
                    + " where` prints.")
    Optional<Path> snapshotRoot = Optional.empty();

    @Option(
            names = "--prewarm-scratch-dir",
            paramLabel = "DIR",
            description = "Taken for compatibility: nothing has to be prepared here.")
    Optional<Path> prewarmScratch = Optional.empty();

    DaemonCommand(Shell shell) {
        this.shell = shell;
    }

    @Override
    public Integer call() {
        MachineOptions.requireRange("--branch-concurrency", branchConcurrency, 1, 1000);
        MachineOptions.requireRange("--user-images-mib", userImagesMib, 1, Integer.MAX_VALUE);
        requireDomain(proxyDomain);
        Diagnostics.configure(shell.environment());
        HttpOptions http = new HttpOptions(
                Optional.of(HttpOptions.address(bind)),
                Optional.of(shell.engine().runtime().made().resolve("daemon.sock")),
                HttpOptions.tls(given(certificate), given(key)),
                given(tokenFile),
                Optional.of(given(auditLog).orElseGet(() -> ofUser(AUDIT_OF_ROOT, "audit.log"))),
                Limits.STANDARD);
        DaemonOptions options = new DaemonOptions(
                http,
                given(state).orElseGet(() -> ofUser(OF_ROOT, "state.json")),
                proxyDomain,
                branchConcurrency,
                userRegistries,
                (long) userImagesMib << 20);
        Shell at = snapshotRoot
                .map(root -> shell.withEnvironment("FORKD_SNAPSHOT_ROOT", root.toString()))
                .orElse(shell);
        Semaphore asked = new Semaphore(0);
        try (Daemon daemon = Daemon.start(at.engine(), options)) {
            boolean hears = Signals.on("HUP", () -> daemon.reload().forEach(e -> shell.note("forkd: " + e.sentence())));
            // As other services do it, a stop is an end with status 0, and has the time that calls under way take.
            Signals.on("TERM", asked::release);
            Signals.on("INT", asked::release);
            shell.call().onCancel(asked::release); // by a signal that came before
            shell.note("forkd: listening at " + (http.tls().isPresent() ? "https:/" : "http:/")
                    + daemon.address().orElseThrow() + " and "
                    + http.unixSocket().orElseThrow());
            if (!hears) {
                shell.note("forkd: SIGHUP does nothing here: whoever started this has it ignored");
            }
            tellReady();
            asked.acquireUninterruptibly();
            return 0;
        }
    }

    static void requireDomain(String domain) {
        if (!DOMAIN.matcher(domain).matches()) {
            throw new ForkdException(
                    Kind.USAGE, "--proxy-domain " + domain + " is no domain", "Give one as in sandboxes.example.org.");
        }
    }

    /** A variable that is set to nothing is one that is not set. */
    private static Optional<Path> given(Optional<Path> path) {
        return path.filter(file -> !file.toString().isEmpty());
    }

    private Path ofUser(Path ofRoot, String name) {
        return shell.engine().runtime().isOfRoot()
                ? ofRoot
                : shell.engine().dataDirectory().resolve(name);
    }

    /** A service manager that waits for it is told, by its own program: Java knows no datagrams of Unix sockets. */
    private void tellReady() {
        if (!shell.environment().containsKey("NOTIFY_SOCKET")) {
            return;
        }
        try {
            Process told = new ProcessBuilder(
                            "systemd-notify",
                            "--ready",
                            "--pid=" + ProcessHandle.current().pid())
                    .inheritIO()
                    .start();
            if (told.waitFor() != 0) {
                throw new IOException("it ended with " + told.exitValue());
            }
        } catch (IOException e) {
            throw new ForkdException(
                    Kind.FAILED,
                    "the service manager could not be told that forkd is ready: " + e.getMessage(),
                    "Its unit needs NotifyAccess=all and systemd-notify, or Type=exec.");
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }
}
