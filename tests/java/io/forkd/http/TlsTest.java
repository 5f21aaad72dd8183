package io.forkd.http;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.forkd.ForkdException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.security.cert.X509Certificate;
import java.util.Arrays;
import java.util.Optional;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLSocket;
import javax.net.ssl.TrustManager;
import javax.net.ssl.X509TrustManager;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** With certificates and keys that openssl(1) makes, in all the forms that it writes. */
class TlsTest {
    @TempDir
    Path scratch;

    private Optional<HttpServer> running = Optional.empty();

    private void openssl(String... arguments) throws Exception {
        new OpenSsl(scratch).run(arguments);
    }

    private void certificate(String name) throws Exception {
        openssl("req", "-new", "-x509", "-key", "key", "-out", "certificate", "-days", "2", "-subj", "/CN=" + name);
    }

    private HttpServer start() {
        HttpServer server = HttpServer.start(
                new HttpOptions(
                        Optional.of(HttpOptions.address("127.0.0.1:0")),
                        Optional.empty(),
                        HttpOptions.tls(
                                Optional.of(scratch.resolve("certificate")), Optional.of(scratch.resolve("key"))),
                        Optional.empty(),
                        Optional.empty(),
                        Limits.STANDARD),
                new Routes().get("/", call -> Response.text(200, "text/plain", "secure")),
                new Metrics(),
                failure -> new HttpFailure(500, failure.sentence()));
        running = Optional.of(server);
        return server;
    }

    private SSLSocket connect(String... protocols) throws Exception {
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, new TrustManager[] {new Anybody()}, null);
        SSLSocket socket = (SSLSocket) context.getSocketFactory().createSocket();
        if (protocols.length > 0) {
            socket.setEnabledProtocols(protocols);
        }
        socket.connect(running.orElseThrow().tcp().orElseThrow());
        return socket;
    }

    /** Who the server says that it is. */
    private String name() throws Exception {
        try (SSLSocket socket = connect()) {
            assertThat(Wire.of(socket).get("/").body()).isEqualTo("secure");
            return socket.getSession().getPeerPrincipal().getName();
        }
    }

    private static final class Anybody implements X509TrustManager {
        @Override
        public void checkClientTrusted(X509Certificate[] chain, String type) {}

        @Override
        public void checkServerTrusted(X509Certificate[] chain, String type) {}

        @Override
        public X509Certificate[] getAcceptedIssuers() {
            return new X509Certificate[0];
        }
    }

    @AfterEach
    void stop() {
        running.ifPresent(HttpServer::stop);
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out key",
                "genrsa -traditional -out key 2048",
                "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key",
                "ecparam -name secp384r1 -genkey -out key",
                "genpkey -algorithm ED25519 -out key",
            })
    void keys_are_taken_in_every_form(String how) throws Exception {
        openssl(how.split(" "));
        certificate("forkd");
        start();
        assertThat(name()).isEqualTo("CN=forkd");
    }

    @ParameterizedTest
    @CsvSource({"TLSv1.2", "TLSv1.3"})
    void both_versions_are_spoken_and_several_requests_served(String protocol) throws Exception {
        openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", "key");
        certificate("forkd");
        start();
        try (SSLSocket socket = connect(protocol)) {
            Wire wire = Wire.of(socket);
            for (int i = 0; i < 3; i++) {
                assertThat(wire.get("/").body()).isEqualTo("secure");
            }
            assertThat(socket.getSession().getProtocol()).isEqualTo(protocol);
        }
        try (Wire plain = Wire.to(running.orElseThrow().tcp().orElseThrow())) {
            assertThatThrownBy(() -> plain.get("/")).isInstanceOf(IOException.class);
        }
    }

    @Test
    void new_certificates_are_used_and_bad_ones_are_not() throws Exception {
        openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", "key");
        certificate("first");
        HttpServer server = start();
        assertThat(name()).isEqualTo("CN=first");
        openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", "key");
        assertThat(server.reload())
                .singleElement()
                .satisfies(e -> assertThat(e).hasMessageContaining("is not that of the certificate"));
        assertThat(name()).isEqualTo("CN=first");
        certificate("second");
        try (SSLSocket kept = connect()) {
            Wire wire = Wire.of(kept);
            assertThat(wire.get("/").status()).isEqualTo(200);
            assertThat(server.reload()).isEmpty();
            assertThat(wire.get("/").status()).isEqualTo(200);
        }
        assertThat(name()).isEqualTo("CN=second");
    }

    @Test
    void what_is_no_certificate_or_key_is_named() throws Exception {
        openssl("genrsa", "-out", "key", "2048");
        certificate("forkd");
        openssl("pkey", "-in", "key", "-aes128", "-passout", "pass:x", "-out", "encrypted");
        byte[] key = Files.readAllBytes(scratch.resolve("key"));
        Files.copy(scratch.resolve("encrypted"), scratch.resolve("key"), StandardCopyOption.REPLACE_EXISTING);
        assertThatThrownBy(this::start).isInstanceOf(ForkdException.class).hasMessageContaining("is encrypted");
        for (int length : new int[] {0, 30, 500, key.length - 40}) {
            Files.write(scratch.resolve("key"), Arrays.copyOf(key, length));
            assertThatThrownBy(this::start)
                    .isInstanceOf(ForkdException.class)
                    .hasMessageContaining(scratch.resolve("key").toString());
        }
        Files.writeString(
                scratch.resolve("key"), "-----BEGIN RSA PRIVATE KEY-----\nMAA=\n-----END RSA PRIVATE KEY-----\n");
        assertThatThrownBy(this::start).isInstanceOf(ForkdException.class);
        Files.write(scratch.resolve("key"), key);
        Files.writeString(
                scratch.resolve("certificate"), "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n");
        assertThatThrownBy(this::start)
                .isInstanceOf(ForkdException.class)
                .hasMessageContaining(scratch.resolve("certificate").toString());
    }

    @Test
    void one_file_is_not_enough() {
        assertThatThrownBy(() -> HttpOptions.tls(Optional.of(Path.of("c")), Optional.empty()))
                .isInstanceOf(ForkdException.class);
        assertThatThrownBy(() -> HttpOptions.tls(Optional.empty(), Optional.of(Path.of("k"))))
                .isInstanceOf(ForkdException.class);
        assertThat(HttpOptions.tls(Optional.empty(), Optional.empty())).isEmpty();
    }

    @Test
    void a_call_is_cancelled_when_its_client_goes_away() throws Exception {
        openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", "key");
        certificate("forkd");
        var started = new CountDownLatch(1);
        var cancelled = new CountDownLatch(1);
        running = Optional.of(HttpServer.start(
                new HttpOptions(
                        Optional.of(HttpOptions.address("127.0.0.1:0")),
                        Optional.empty(),
                        HttpOptions.tls(
                                Optional.of(scratch.resolve("certificate")), Optional.of(scratch.resolve("key"))),
                        Optional.empty(),
                        Optional.empty(),
                        Limits.STANDARD),
                new Routes().get("/", call -> {
                    call.onCancel(cancelled::countDown);
                    started.countDown();
                    cancelled.await();
                    return Response.empty(204);
                }),
                new Metrics(),
                failure -> new HttpFailure(500, failure.sentence())));
        try (SSLSocket socket = connect()) {
            Wire.of(socket).send("GET / HTTP/1.1\nHost: a\n\n");
            assertThat(started.await(30, TimeUnit.SECONDS)).isTrue();
        }
        assertThat(cancelled.await(30, TimeUnit.SECONDS)).isTrue();
    }
}
