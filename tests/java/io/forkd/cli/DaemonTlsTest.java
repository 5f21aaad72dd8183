package io.forkd.cli;

import static org.assertj.core.api.Assertions.assertThat;

import io.forkd.daemon.Daemon;
import io.forkd.daemon.DaemonOptions;
import io.forkd.engine.Engine;
import io.forkd.http.HttpOptions;
import io.forkd.http.Limits;
import io.forkd.http.OpenSsl;
import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The command line and a daemon with a certificate for the name localhost, which a private authority has signed. */
class DaemonTlsTest {
    @TempDir
    static Path scratch;

    private static Daemon daemon;

    private final ByteArrayOutputStream err = new ByteArrayOutputStream();

    private static void openssl(String... arguments) throws Exception {
        new OpenSsl(scratch).run(arguments);
    }

    private static void key(String name) throws Exception {
        openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", name + ".key");
    }

    private static void authority(String name) throws Exception {
        key(name);
        openssl("req", "-new", "-x509", "-key", name + ".key", "-out", name + ".pem", "-days", "2", "-subj", "/CN=ca");
    }

    @BeforeAll
    static void start() throws Exception {
        authority("ours");
        authority("others");
        key("daemon");
        openssl("req", "-new", "-key", "daemon.key", "-out", "request", "-subj", "/CN=daemon");
        Files.writeString(scratch.resolve("names"), "subjectAltName=DNS:localhost\n");
        openssl(("x509 -req -in request -CA ours.pem -CAkey ours.key -CAcreateserial -days 2 -extfile names"
                        + " -out daemon.pem")
                .split(" "));
        daemon = Daemon.start(
                Engine.of(folders()),
                new DaemonOptions(
                        new HttpOptions(
                                Optional.of(HttpOptions.address("127.0.0.1:0")),
                                Optional.empty(),
                                HttpOptions.tls(
                                        Optional.of(scratch.resolve("daemon.pem")),
                                        Optional.of(scratch.resolve("daemon.key"))),
                                Optional.empty(),
                                Optional.empty(),
                                Limits.STANDARD),
                        scratch.resolve("state.json"),
                        "localhost",
                        4,
                        List.of(),
                        1 << 30));
    }

    @AfterAll
    static void stop() {
        daemon.close();
    }

    private static Map<String, String> folders() {
        return Map.of("XDG_DATA_HOME", scratch.toString(), "XDG_RUNTIME_DIR", scratch.toString());
    }

    private int run(String host, String authority, String... arguments) {
        Map<String, String> environment = new HashMap<>(folders());
        environment.put(
                "FORKD_URL",
                "https://" + host + ":" + daemon.address().orElseThrow().getPort());
        environment.put(
                "SSL_CERT_FILE",
                authority.isEmpty() ? "" : scratch.resolve(authority).toString());
        err.reset();
        PrintStream to = new PrintStream(err, true, StandardCharsets.UTF_8);
        return Main.run(Shell.of(to, to, false, environment), arguments);
    }

    private String said() {
        return err.toString(StandardCharsets.UTF_8);
    }

    @Test
    void daemon_is_trusted_by_its_authority_and_its_name() {
        assertThat(run("localhost", "ours.pem", "ls")).as(said()).isZero();
        for (String authority : List.of("", "others.pem")) {
            assertThat(run("localhost", authority, "ls")).isEqualTo(1);
            assertThat(said()).contains("could not show that it is that", "SSL_CERT_FILE");
        }
        assertThat(run("127.0.0.1", "ours.pem", "ls")).isEqualTo(1);
        assertThat(said()).contains("could not show that it is that", "127.0.0.1");
    }

    @Test
    void nothing_is_removed_here_because_the_daemon_there_is_not_trusted() throws Exception {
        Path snapshot =
                Files.createDirectories(Engine.of(folders()).store().root().resolve("here"));
        assertThat(run("localhost", "others.pem", "rmi", "here")).isEqualTo(1);
        assertThat(said()).contains("could not show that it is that");
        assertThat(snapshot).isDirectory();
    }
}
