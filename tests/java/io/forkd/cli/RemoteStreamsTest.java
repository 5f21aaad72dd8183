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
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The same at a daemon, over TLS. */
class RemoteStreamsTest extends StreamsTest {
    @TempDir
    static Path scratch;

    private static Daemon daemon;

    @BeforeAll
    static void serve() throws Exception {
        new OpenSsl(scratch)
                .run(
                        ("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key -out certificate -days 2"
                                        + " -subj /CN=localhost -addext subjectAltName=DNS:localhost")
                                .split(" "));
        daemon = Daemon.start(
                Engine.of(sandbox.environment()),
                new DaemonOptions(
                        new HttpOptions(
                                Optional.of(HttpOptions.address("127.0.0.1:0")),
                                Optional.of(scratch.resolve("socket")),
                                HttpOptions.tls(
                                        Optional.of(scratch.resolve("certificate")),
                                        Optional.of(scratch.resolve("key"))),
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
    static void stopServing() {
        daemon.close();
    }

    @Override
    Map<String, String> environment() {
        Map<String, String> environment = new HashMap<>(sandbox.environment());
        environment.put(
                "FORKD_URL",
                "https://localhost:" + daemon.address().orElseThrow().getPort());
        environment.put("SSL_CERT_FILE", scratch.resolve("certificate").toString());
        return environment;
    }

    @Test
    void over_a_unix_socket_too() {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        PrintStream to = new PrintStream(out, true, StandardCharsets.UTF_8);
        Map<String, String> environment = new HashMap<>(sandbox.environment());
        environment.put("FORKD_URL", "unix:" + scratch.resolve("socket"));
        int status = Main.run(
                Shell.of(to, to, false, environment), "exec", "-t", "--child", sandbox.id(), "--", "echo", "hi");
        assertThat(out.toString(StandardCharsets.UTF_8)).contains("hi");
        assertThat(status).isZero();
    }
}
