package io.forkd.image;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import io.forkd.ForkdException;
import io.forkd.Remedy;
import io.forkd.image.OciImage.Members;
import io.forkd.image.OciImage.Packing;
import java.io.IOException;
import java.io.InputStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.security.GeneralSecurityException;
import java.security.KeyFactory;
import java.security.KeyStore;
import java.security.Signature;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.security.spec.PKCS8EncodedKeySpec;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.locks.LockSupport;
import java.util.stream.Stream;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLServerSocket;
import javax.net.ssl.SSLSocket;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Pulling from a real registry; answers that a real one does not give come from a fake. */
class RegistryTest {
    private static final Reach ANYWHERE = new Reach(false, Optional.empty());
    private static final byte[] NOISE = new byte[300_000];

    static {
        new java.util.Random(7).nextBytes(NOISE);
    }

    @TempDir
    Path scratch;

    private final AtomicInteger checksUntilInterrupt = new AtomicInteger(Integer.MAX_VALUE);
    private final AtomicInteger busy = new AtomicInteger();
    private int busyStatus = 503;
    private int busyFor = -1;
    private final List<String> requests = new CopyOnWriteArrayList<>();

    private final List<String> said = new CopyOnWriteArrayList<>();

    private final Work work = new QuietWork() {
        @Override
        public void say(String line) {
            said.add(line);
        }

        @Override
        public void check() {
            if (checksUntilInterrupt.decrementAndGet() <= 0) {
                throw new ForkdException(ForkdException.Kind.FAILED, "interrupted");
            }
        }
    };

    private Optional<Process> registry = Optional.empty();
    private Optional<HttpServer> fake = Optional.empty();
    private Path layout = Path.of("/");

    @BeforeEach
    void make() throws IOException {
        layout = Files.createDirectory(scratch.resolve("layout"));
        new OciImage(layout)
                .layer(Packing.PLAIN, new Members().file("noise", NOISE))
                .layer(Packing.GZIP, new Members().file("f", "x"))
                .write();
    }

    @AfterEach
    void stop() throws InterruptedException {
        registry.ifPresent(Process::destroy);
        fake.ifPresent(server -> server.stop(0));
        if (registry.isPresent()) {
            registry.get().waitFor();
        }
    }

    private Images images(boolean insecure, Map<String, String> environment) {
        return new Images(
                scratch.resolve("cache"), Platform.host(), new Reach(insecure, Optional.empty()), environment, work);
    }

    /** Reads all layers, as somebody who builds an image does, and returns the bytes of the first. */
    private byte[] pull(String reference, Map<String, String> environment) throws IOException {
        return pull(reference, false, environment);
    }

    private byte[] pull(String reference, boolean insecure, Map<String, String> environment) throws IOException {
        try (Images images = images(insecure, environment)) {
            Image image = images.find(ImageReference.parse(reference));
            List<byte[]> contents = new ArrayList<>();
            for (Layer layer : image.layers()) {
                try (InputStream in = layer.open()) {
                    contents.add(in.readAllBytes());
                }
            }
            assertThat(contents).hasSize(2);
            return contents.get(0);
        }
    }

    /** Starts a registry and returns where it is. */
    private String start(String auth) throws Exception {
        return start(auth, "");
    }

    private String start(String auth, String tls) throws Exception {
        int port;
        try (ServerSocket free = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
            port = free.getLocalPort();
        }
        Path configuration = scratch.resolve("registry.yml");
        Files.writeString(
                configuration,
                "version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: "
                        + scratch.resolve("registry") + "}}\nhttp: {addr: \"127.0.0.1:" + port + "\"" + tls + "}\n"
                        + auth);
        registry = Optional.of(new ProcessBuilder("docker-registry", "serve", configuration.toString())
                .redirectErrorStream(true)
                .redirectOutput(scratch.resolve("registry.log").toFile())
                .start());
        for (int i = 0; i < 100; i++) {
            try (Socket socket = new Socket(InetAddress.getLoopbackAddress(), port)) {
                return "localhost:" + port;
            } catch (IOException e) {
                Thread.sleep(100);
            }
        }
        throw new AssertionError(
                "docker-registry does not start: " + Files.readString(scratch.resolve("registry.log")));
    }

    private void push(String host, String... options) throws Exception {
        List<String> command = new ArrayList<>(List.of("skopeo", "copy", "-q", "--dest-tls-verify=false"));
        command.addAll(List.of(options));
        command.addAll(List.of("oci:" + layout + ":1", "docker://" + host + "/team/py:1"));
        Process process = new ProcessBuilder(command).inheritIO().start();
        assertThat(process.waitFor()).isZero();
    }

    @Test
    void pulls_by_tag_and_by_digest_and_keeps_blobs() throws Exception {
        String host = start("");
        push(host);
        assertThat(pull(host + "/team/py:1", Map.of())).hasSizeGreaterThan(NOISE.length);
        String manifest = Digest.sha256(new RegistryClient(
                                (ImageReference.InRegistry) ImageReference.parse(host + "/team/py:1"),
                                ANYWHERE,
                                Map.of(),
                                work)
                        .manifest("1"))
                .toString();
        registry.get().destroy();
        registry.get().waitFor();
        // Everything is here now, and a digest never moves.
        assertThat(pull(host + "/team/py@" + manifest, Map.of())).hasSizeGreaterThan(NOISE.length);
        // A tag may have moved.
        assertThat(pull(host + "/team/py:1", Map.of())).hasSizeGreaterThan(NOISE.length);
        assertThat(said)
                .singleElement()
                .asString()
                .startsWith(host + "/team/py:1 was not looked up, and is what it was the last time: cannot look up ")
                .contains("does not answer");
        assertThatThrownBy(() -> pull(host + "/team/py:2", Map.of()))
                .isInstanceOf(ForkdException.class)
                .hasMessageContaining("does not answer");
    }

    @Test
    void says_what_is_not_there() throws Exception {
        String host = start("");
        push(host);
        assertThatThrownBy(() -> pull(host + "/team/py:2", Map.of()))
                .hasMessageContaining(host + "/team/py:2")
                .hasMessageContaining("does not have it");
        assertThatThrownBy(() -> pull(host + "/team/other:1", Map.of())).hasMessageContaining("does not have it");
        try (Images arm =
                new Images(scratch.resolve("cache"), Platform.parse("linux/s390x"), ANYWHERE, Map.of(), work)) {
            assertThatThrownBy(() -> arm.find(ImageReference.parse(host + "/team/py:1")))
                    .isInstanceOfSatisfying(
                            ForkdException.class,
                            e -> assertThat(e.remedy()).isEqualTo(new Remedy.ChoosePlatform("linux/amd64")))
                    .hasMessageContaining("is not there for linux/s390x");
        }
    }

    @Test
    void logs_in_with_dockers_configuration_or_its_helper() throws Exception {
        Path passwords = scratch.resolve("htpasswd");
        // As htpasswd -nbB user secret writes it.
        Files.writeString(passwords, "user:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n");
        String host = start("auth: {htpasswd: {realm: lab, path: " + passwords + "}}\n");
        push(host, "--dest-creds=user:secret");

        assertThatThrownBy(() -> pull(host + "/team/py:1", Map.of()))
                .hasMessageContaining("refuses access without credentials")
                .hasMessageContaining("docker login");

        Path docker = Files.createDirectory(scratch.resolve("docker"));
        Map<String, String> environment = Map.of("DOCKER_CONFIG", docker.toString());
        Files.writeString(docker.resolve("config.json"), auths(host, "user:wrong"));
        assertThatThrownBy(() -> pull(host + "/team/py:1", environment))
                .hasMessageContaining("refuses the credentials of user");

        Files.writeString(docker.resolve("config.json"), auths(host, "user:secret"));
        assertThat(pull(host + "/team/py:1", environment)).isNotEmpty();

        Path bin = Files.createDirectory(scratch.resolve("bin"));
        Path helper = Files.writeString(
                bin.resolve("docker-credential-test"),
                "#!/bin/sh\n[ \"$(cat)\" = " + host + " ] && echo '{\"Username\":\"user\",\"Secret\":\"secret\"}'\n");
        Files.setPosixFilePermissions(helper, PosixFilePermissions.fromString("rwxr-xr-x"));
        Files.writeString(docker.resolve("config.json"), "{\"credHelpers\":{\"" + host + "\":\"test\"}}");
        Map<String, String> withHelper = Map.of("DOCKER_CONFIG", docker.toString(), "PATH", bin + ":/usr/bin:/bin");
        assertThat(pull(host + "/team/py:1", withHelper)).isNotEmpty();
        assertThatThrownBy(() -> pull(host + "/team/py:1", environment))
                .hasMessageContaining("cannot run docker-credential-test");
    }

    private static String auths(String host, String login) {
        return "{\"auths\":{\"" + host + "\":{\"auth\":\""
                + Base64.getEncoder().encodeToString(login.getBytes(StandardCharsets.UTF_8)) + "\"}}}";
    }

    /** How a fake registry answers the request for the large layer. */
    private interface Answer {
        void give(HttpExchange exchange, byte[] blob) throws IOException;
    }

    private String fake(Answer forLargeLayer) throws IOException {
        HttpServer server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
        server.setExecutor(task -> new Thread(task, "fake-registry").start());
        server.createContext("/v2/py/", exchange -> {
            try (exchange) {
                byte[] index = Files.readAllBytes(layout.resolve("index.json"));
                String manifest = Documents.index(Documents.parse(index, "index"), "index")
                        .get(0)
                        .digest()
                        .hex();
                String last = exchange.getRequestURI().getPath().replaceFirst(".*/", "");
                requests.add(exchange.getRequestMethod() + " " + last);
                if (busy.getAndDecrement() > 0) {
                    if (busyFor >= 0) {
                        exchange.getResponseHeaders().set("Retry-After", Integer.toString(busyFor));
                    }
                    exchange.sendResponseHeaders(busyStatus, -1);
                    return;
                }
                String hex = last.equals("1") ? manifest : last.replaceFirst("sha256:", "");
                byte[] blob = Files.readAllBytes(layout.resolve("blobs/sha256").resolve(hex));
                if (exchange.getRequestMethod().equals("HEAD")) {
                    exchange.getResponseHeaders().set("Docker-Content-Digest", "sha256:" + hex);
                    exchange.sendResponseHeaders(200, -1);
                } else if (blob.length > NOISE.length) {
                    forLargeLayer.give(exchange, blob);
                } else {
                    exchange.sendResponseHeaders(200, blob.length);
                    exchange.getResponseBody().write(blob);
                }
            }
        });
        server.start();
        fake = Optional.of(server);
        return "127.0.0.1:" + server.getAddress().getPort() + "/py:1";
    }

    /** A key and a certificate for localhost, signed by itself. */
    private Path certificate() throws Exception {
        Path key = scratch.resolve("key.pem");
        Path certificate = scratch.resolve("certificate.pem");
        String command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
                + " -addext subjectAltName=DNS:localhost,DNS:registry.test -keyout " + key + " -out " + certificate;
        Process process = new ProcessBuilder(command.split(" "))
                .redirectErrorStream(true)
                .redirectOutput(scratch.resolve("openssl.log").toFile())
                .start();
        assertThat(process.waitFor()).isZero();
        return certificate;
    }

    @Test
    void certificate_is_checked_against_the_file_that_the_environment_names() throws Exception {
        Path certificate = certificate();
        String host = start(
                "", ", tls: {certificate: " + certificate + ", key: " + certificate.resolveSibling("key.pem") + "}");
        push(host);
        assertThatThrownBy(() -> pull(host + "/team/py:1", Map.of()))
                .isInstanceOfSatisfying(
                        ForkdException.class,
                        e -> assertThat(e.remedy()).asString().contains("SSL_CERT_FILE=FILE"));
        Map<String, String> trusting = Map.of("SSL_CERT_FILE", certificate.toString());
        assertThat(pull(host + "/team/py:1", trusting)).hasSizeGreaterThan(NOISE.length);
        // Of another name.
        assertThatThrownBy(() -> pull(host.replace("localhost", "127.0.0.1") + "/team/py:1", trusting))
                .hasMessageContaining("127.0.0.1");
        assertThatThrownBy(() -> pull(host + "/team/py:1", Map.of("SSL_CERT_FILE", "/no/such")))
                .hasMessageContaining("SSL_CERT_FILE names /no/such");
    }

    @Test
    void plain_registry_elsewhere_needs_an_option() throws Exception {
        String host = start("");
        push(host);
        // 127.0.0.1 as one number: leads to this machine, too, but does not look so.
        String elsewhere = host.replace("localhost", "2130706433") + "/team/py:1";
        assertThatThrownBy(() -> pull(elsewhere, false, Map.of()))
                .isInstanceOfSatisfying(
                        ForkdException.class, e -> assertThat(e.remedy()).isEqualTo(Remedy.Action.PLAIN_HTTP));
        assertThat(pull(elsewhere, true, Map.of())).hasSizeGreaterThan(NOISE.length);
    }

    @Test
    void takes_a_token_from_the_server_that_the_registry_names() throws Exception {
        Path certificate = certificate();
        HttpServer tokens = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
        fake = Optional.of(tokens);
        List<String> asked = new ArrayList<>();
        tokens.createContext("/token", exchange -> {
            try (exchange) {
                String login = Optional.ofNullable(exchange.getRequestHeaders().getFirst("Authorization"))
                        .orElse("");
                String query = exchange.getRequestURI().getQuery();
                asked.add(login + " " + query);
                boolean good = login.equals("Basic " + base64(Base64.getEncoder(), "user:secret"));
                byte[] body =
                        (good ? "{\"token\":\"" + jwt(certificate) + "\"}" : "{}").getBytes(StandardCharsets.UTF_8);
                exchange.sendResponseHeaders(good ? 200 : 401, body.length);
                exchange.getResponseBody().write(body);
            }
        });
        tokens.start();
        String host = start("auth: {token: {realm: \"http://127.0.0.1:"
                + tokens.getAddress().getPort() + "/token\", service: lab, issuer: lab, rootcertbundle: " + certificate
                + "}}\n");
        push(host, "--dest-creds=user:secret");
        asked.clear();

        Path docker = Files.createDirectory(scratch.resolve("docker"));
        Map<String, String> environment = Map.of("DOCKER_CONFIG", docker.toString());
        assertThatThrownBy(() -> pull(host + "/team/py:1", environment)).hasMessageContaining("refuses");
        Files.writeString(docker.resolve("config.json"), auths(host, "user:secret"));
        assertThat(pull(host + "/team/py:1", environment)).hasSizeGreaterThan(NOISE.length);
        assertThat(asked).hasSize(2).last().asString().contains("service=lab", "scope=repository:team/py:pull");
    }

    private static String base64(Base64.Encoder encoder, String text) {
        return encoder.encodeToString(text.getBytes(StandardCharsets.UTF_8));
    }

    /** What a token server gives: claims, signed with the key whose certificate the registry trusts. */
    private static String jwt(Path certificate) throws IOException {
        Base64.Encoder encoder = Base64.getUrlEncoder().withoutPadding();
        String signed = base64(encoder, "{\"typ\":\"JWT\",\"alg\":\"RS256\",\"x5c\":[\"" + pem(certificate) + "\"]}")
                + "."
                + base64(
                        encoder,
                        "{\"iss\":\"lab\",\"aud\":\"lab\",\"sub\":\"user\",\"exp\":4000000000,\"nbf\":1,\"iat\":1,\"jti\":\"1\","
                                + "\"access\":[{\"type\":\"repository\",\"name\":\"team/py\",\"actions\":[\"pull\",\"push\"]}]}");
        try {
            Signature signature = Signature.getInstance("SHA256withRSA");
            byte[] key = Base64.getDecoder().decode(pem(certificate.resolveSibling("key.pem")));
            signature.initSign(KeyFactory.getInstance("RSA").generatePrivate(new PKCS8EncodedKeySpec(key)));
            signature.update(signed.getBytes(StandardCharsets.US_ASCII));
            return signed + "." + encoder.encodeToString(signature.sign());
        } catch (GeneralSecurityException e) {
            throw new IOException(e);
        }
    }

    private static String pem(Path file) throws IOException {
        return Files.readString(file).replaceAll("-----[^-]*-----|\\s", "");
    }

    private static void all(HttpExchange exchange, byte[] blob) throws IOException {
        exchange.sendResponseHeaders(200, blob.length);
        exchange.getResponseBody().write(blob);
    }

    @Test
    void busy_registry_is_asked_again() throws Exception {
        String reference = fake(RegistryTest::all);
        busy.set(100);
        assertThatThrownBy(() -> pull(reference, Map.of())).hasMessageContaining("the registry failed (HTTP 503)");
        assertThat(busy.get()).isEqualTo(96);
        busy.set(2);
        assertThat(pull(reference, Map.of())).hasSizeGreaterThan(NOISE.length);
    }

    @ParameterizedTest
    @CsvSource({"429, the registry allows no more requests now", "503, the registry failed"})
    void busy_token_server_is_asked_again(int status, String why) throws Exception {
        HttpServer server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
        String host = "127.0.0.1:" + server.getAddress().getPort();
        busy.set(100);
        server.createContext("/token", exchange -> {
            try (exchange) {
                byte[] body = "{\"token\":\"t\"}".getBytes(StandardCharsets.US_ASCII);
                boolean now = busy.getAndDecrement() <= 0;
                exchange.getResponseHeaders().set("Retry-After", "0");
                exchange.sendResponseHeaders(now ? 200 : status, body.length);
                exchange.getResponseBody().write(body);
            }
        });
        server.createContext("/v2/", exchange -> {
            try (exchange) {
                boolean allowed =
                        List.of("Bearer t").equals(exchange.getRequestHeaders().get("Authorization"));
                exchange.getResponseHeaders().set("WWW-Authenticate", "Bearer realm=\"http://" + host + "/token\"");
                exchange.sendResponseHeaders(allowed ? 404 : 401, -1);
            }
        });
        server.start();
        fake = Optional.of(server);
        assertThatThrownBy(() -> pull(host + "/py:1", Map.of())).hasMessageContaining(why + " (HTTP " + status + ")");
        assertThat(busy.get()).isEqualTo(96);
        busy.set(2);
        assertThatThrownBy(() -> pull(host + "/py:1", Map.of())).hasMessageContaining("the registry does not have it");
    }

    @Test
    void registry_that_limits_pulls_is_asked_when_it_says() throws Exception {
        busyStatus = 429;
        busyFor = 3;
        String reference = fake(RegistryTest::all);
        busy.set(1);
        long start = System.nanoTime();
        assertThat(pull(reference, Map.of())).hasSizeGreaterThan(NOISE.length);
        assertThat(System.nanoTime() - start).isGreaterThanOrEqualTo(3_000_000_000L);
        assertThat(said).singleElement().asString().endsWith(" wants to be asked again in 3 seconds");

        layout = Files.createDirectory(scratch.resolve("other"));
        new OciImage(layout)
                .layer(Packing.PLAIN, new Members().file("other", "x"))
                .write();
        requests.clear();
        busyFor = 3600;
        busy.set(1);
        assertThatThrownBy(() -> pull(reference.replace("py:1", "py:2"), Map.of()))
                .hasMessageContaining("the registry allows no more requests now (HTTP 429)")
                .hasMessageContaining("Wait 3600 seconds");
        assertThat(requests).containsExactly("GET 2");
    }

    @Test
    void tag_that_is_here_costs_the_registry_no_manifest() throws Exception {
        String reference = fake(RegistryTest::all);
        pull(reference, Map.of());
        assertThat(requests).first().isEqualTo("GET 1");
        requests.clear();
        pull(reference, Map.of());
        assertThat(requests).containsExactly("HEAD 1");

        new OciImage(layout)
                .layer(Packing.PLAIN, new Members().file("noise", NOISE))
                .layer(Packing.GZIP, new Members().file("moved", "x"))
                .write();
        requests.clear();
        pull(reference, Map.of());
        assertThat(requests).startsWith("HEAD 1", "GET 1").hasSizeGreaterThan(2);
        assertThat(said).isEmpty();
    }

    @Test
    void password_is_not_for_whom_the_registry_redirects_to() throws Exception {
        HttpServer thief = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
        List<String> told = new CopyOnWriteArrayList<>();
        String there = "http://127.0.0.1:" + thief.getAddress().getPort();
        Map<String, String> challenges =
                Map.of("/Basic", "Basic realm=\"x\"", "/Bearer", "Bearer realm=\"" + there + "/token\"");
        thief.createContext("/", exchange -> {
            try (exchange) {
                String path = exchange.getRequestURI().getPath();
                told.add(path + " " + exchange.getRequestHeaders().get("Authorization"));
                exchange.getResponseHeaders().set("WWW-Authenticate", challenges.getOrDefault(path, "Basic"));
                exchange.sendResponseHeaders(401, -1);
            }
        });
        thief.start();
        try {
            for (String kind : List.of("Basic", "Bearer")) {
                String reference = fake((exchange, blob) -> {
                    exchange.getResponseHeaders().set("Location", there + "/" + kind);
                    exchange.sendResponseHeaders(307, -1);
                });
                Path docker = Files.createDirectory(scratch.resolve("docker-" + kind));
                Files.writeString(
                        docker.resolve("config.json"), auths(reference.replaceFirst("/.*", ""), "user:secret"));
                assertThatThrownBy(() -> pull(reference, Map.of("DOCKER_CONFIG", docker.toString())))
                        .hasMessageContaining(
                                there.substring(7) + ", where the registry sends us, refuses it (HTTP 401)");
                fake.get().stop(0);
            }
            assertThat(told).containsExactly("/Basic null", "/Bearer null");
        } finally {
            thief.stop(0);
        }
    }

    @ParameterizedTest
    @ValueSource(booleans = {false, true})
    void registry_of_this_machine_leads_to_no_other_in_plain_text(boolean token) throws Exception {
        String reference = fake((exchange, blob) -> {
            exchange.getResponseHeaders().set("Location", "http://192.0.2.1/x");
            exchange.getResponseHeaders().set("WWW-Authenticate", "Bearer realm=\"http://192.0.2.1/token\"");
            exchange.sendResponseHeaders(token ? 401 : 307, -1);
        });
        assertThatThrownBy(() -> pull(reference, Map.of())).hasMessageContaining("http://, which is not secure");
    }

    /** A registry, named for users, that leads elsewhere: by a redirect, or to a token server. */
    @ParameterizedTest
    @CsvSource({"false, plain", "true, plain", "false, tls", "true, tls"})
    void users_pull_is_led_to_no_address_that_is_not_public(boolean token, String scheme) throws Exception {
        Path certificate = certificate();
        try (TlsServer secret = new TlsServer(certificate, socket -> {})) {
            HttpServer plain = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
            plain.createContext("/", exchange -> {
                try (exchange) {
                    requests.add("secret " + exchange.getRequestURI());
                    exchange.sendResponseHeaders(200, -1);
                }
            });
            plain.start();
            String there = scheme.equals("tls")
                    ? "https://localhost:" + secret.port() + "/x"
                    : "http://localhost:" + plain.getAddress().getPort() + "/x";
            String reference = fake((exchange, blob) -> {
                exchange.getResponseHeaders().set("Location", there);
                exchange.getResponseHeaders().set("WWW-Authenticate", "Bearer realm=\"" + there + "\"");
                exchange.sendResponseHeaders(token ? 401 : 307, -1);
            });
            Map<String, String> environment = Map.of("SSL_CERT_FILE", certificate.toString());
            Reach.Within within = new Reach.Within(
                    List.of(reference.replaceFirst("/.*", "")), address -> !address.isLoopbackAddress());
            try (Images images = new Images(
                    scratch.resolve("cache"),
                    Platform.host(),
                    new Reach(false, Optional.of(within)),
                    environment,
                    work)) {
                Image image = images.find(ImageReference.parse(reference));
                assertThatThrownBy(() -> image.layers().get(0).await())
                        .isInstanceOf(ForkdException.class)
                        .hasMessageContaining("it leads to localhost");
            } finally {
                plain.stop(0);
            }
            assertThat(requests).noneMatch(request -> request.startsWith("secret"));
            assertThat(secret.handshakes()).isZero();
        }
    }

    /** What goes on with a client whose TLS is there. */
    private interface Talk {
        void hold(Socket client) throws IOException;
    }

    private static final class TlsServer implements AutoCloseable {
        private final SSLServerSocket listening;
        private final AtomicInteger handshakes = new AtomicInteger();

        TlsServer(Path certificate, Talk talk) throws Exception {
            KeyStore keys = KeyStore.getInstance("PKCS12");
            keys.load(null, null);
            byte[] der = Base64.getMimeDecoder()
                    .decode(Files.readString(certificate.resolveSibling("key.pem"))
                            .replaceAll("-----.*-----", ""));
            try (InputStream in = Files.newInputStream(certificate)) {
                keys.setKeyEntry(
                        "key",
                        KeyFactory.getInstance("RSA").generatePrivate(new PKCS8EncodedKeySpec(der)),
                        new char[0],
                        new Certificate[] {
                            CertificateFactory.getInstance("X.509").generateCertificate(in)
                        });
            }
            KeyManagerFactory managers = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
            managers.init(keys, new char[0]);
            SSLContext context = SSLContext.getInstance("TLS");
            context.init(managers.getKeyManagers(), null, null);
            listening = (SSLServerSocket)
                    context.getServerSocketFactory().createServerSocket(0, 50, InetAddress.getLoopbackAddress());
            Thread thread = new Thread(() -> accept(talk), "tls-server");
            thread.setDaemon(true);
            thread.start();
        }

        private void accept(Talk talk) {
            while (true) {
                try {
                    SSLSocket client = (SSLSocket) listening.accept();
                    Thread thread = new Thread(() -> talk(client, talk), "tls-client");
                    thread.setDaemon(true);
                    thread.start();
                } catch (IOException e) {
                    return;
                }
            }
        }

        private void talk(SSLSocket client, Talk talk) {
            try (client) {
                client.startHandshake();
                handshakes.incrementAndGet();
                talk.hold(client);
            } catch (IOException e) {
                // It is gone.
            }
        }

        int port() {
            return listening.getLocalPort();
        }

        int handshakes() {
            return handshakes.get();
        }

        @Override
        public void close() throws IOException {
            listening.close();
        }
    }

    @Test
    void pull_that_is_cancelled_closes_a_connection_that_says_nothing_more() throws Exception {
        Path certificate = certificate();
        CountDownLatch stalled = new CountDownLatch(1);
        CountDownLatch closed = new CountDownLatch(1);
        try (TlsServer stalling = new TlsServer(certificate, client -> {
            client.getOutputStream()
                    .write("HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\nx".getBytes(StandardCharsets.US_ASCII));
            byte[] request = new byte[8192];
            try {
                for (int count = 0; count >= 0; count = client.getInputStream().read(request)) {
                    stalled.countDown();
                }
            } finally {
                closed.countDown();
            }
        })) {
            String reference = fake((exchange, blob) -> {
                exchange.getResponseHeaders().set("Location", "https://localhost:" + stalling.port() + "/x");
                exchange.sendResponseHeaders(307, -1);
            });
            List<Runnable> ends = new CopyOnWriteArrayList<>();
            AtomicBoolean cancelled = new AtomicBoolean();
            Work cancellable = new QuietWork() {
                @Override
                public void onEnd(Runnable run) {
                    ends.add(run);
                }

                @Override
                public void check() {
                    if (cancelled.get()) {
                        throw new ForkdException(ForkdException.Kind.FAILED, "interrupted");
                    }
                }
            };
            try (Images images = new Images(
                    scratch.resolve("cache"),
                    Platform.host(),
                    ANYWHERE,
                    Map.of("SSL_CERT_FILE", certificate.toString()),
                    cancellable)) {
                Layer layer =
                        images.find(ImageReference.parse(reference)).layers().get(0);
                CompletableFuture<Void> pulled = CompletableFuture.runAsync(layer::await);
                assertThat(stalled.await(60, TimeUnit.SECONDS)).isTrue();
                cancelled.set(true);
                ends.forEach(Runnable::run);
                // Before the minute for which a registry may be silent.
                assertThat(closed.await(30, TimeUnit.SECONDS)).isTrue();
                assertThatThrownBy(() -> pulled.get(30, TimeUnit.SECONDS)).hasMessageContaining("interrupted");
            }
            assertNothingIsBeingFetched(scratch.resolve("cache"));
        }
    }

    @ParameterizedTest
    @CsvSource({"ftp://127.0.0.1/x, ftp://", "'http://:x y', no address", "mailto:x, no address"})
    void addresses_that_the_registry_sends_us_to_are_checked(String location, String why) throws Exception {
        String reference = fake((exchange, blob) -> {
            exchange.getResponseHeaders().set("Location", location);
            exchange.sendResponseHeaders(307, -1);
        });
        assertThatThrownBy(() -> pull(reference, Map.of()))
                .isInstanceOf(ForkdException.class)
                .hasMessageContaining(why);
    }

    @ParameterizedTest
    @CsvSource({
        "sha256:[0-9a-f]{64}, sha256:zz, 'has no digest: sha256:zz'",
        "'\"size\":[0-9]+', '\"size\":10000000000000000000000', without digest or size",
        "'\"size\":[0-9]+', '\"size\":9000000', larger than 8 MiB"
    })
    void manifest_of_nonsense_is_damaged_and_not_a_wrong_request(String what, String nonsense, String why)
            throws Exception {
        Path index = layout.resolve("index.json");
        Files.writeString(index, Files.readString(index).replaceFirst(what, nonsense));
        assertThatThrownBy(() -> pull("oci:" + layout + ":1", Map.of()))
                .isInstanceOfSatisfying(
                        ForkdException.class, e -> assertThat(e.kind()).isEqualTo(ForkdException.Kind.DAMAGED))
                .hasMessageContaining(why);
    }

    @Test
    void layer_that_is_named_as_a_document_is_not_read_into_memory() throws Exception {
        Digest digest = Digest.sha256(NOISE);
        Path blob =
                Files.createDirectories(scratch.resolve("cache/blobs/sha256")).resolve(digest.hex());
        try (var file = new java.io.RandomAccessFile(blob.toFile(), "rw")) {
            file.setLength(16L << 30);
        }
        assertThatThrownBy(() -> new BlobStore(scratch.resolve("cache")).read(digest))
                .isInstanceOf(ForkdException.class)
                .hasMessageContaining("larger than 8 MiB");
    }

    @Test
    void helper_that_does_not_answer_is_not_waited_for() throws Exception {
        Path bin = Files.createDirectory(scratch.resolve("bin"));
        Path helper = Files.writeString(bin.resolve("docker-credential-slow"), "#!/bin/sh\nsleep 1000\n");
        Files.setPosixFilePermissions(helper, PosixFilePermissions.fromString("rwxr-xr-x"));
        Path docker = Files.createDirectory(scratch.resolve("docker"));
        Files.writeString(docker.resolve("config.json"), "{\"credHelpers\":{\"host:1\":\"slow\"}}");
        Map<String, String> environment = Map.of("DOCKER_CONFIG", docker.toString(), "PATH", bin + ":/usr/bin:/bin");
        Credentials credentials = new Credentials(environment, Duration.ofSeconds(1));
        assertThatThrownBy(() -> credentials.of((ImageReference.InRegistry) ImageReference.parse("host:1/x")))
                .hasMessageContaining("docker-credential-slow")
                .hasMessageContaining("did not answer within 1 seconds");
        assertThat(ProcessHandle.current().descendants())
                .noneMatch(process -> process.info().commandLine().orElse("").contains("sleep 1000"));
    }

    @Test
    void proxy_gets_its_password_and_tls_goes_through() throws Exception {
        Path certificate = certificate();
        String host = start(
                "", ", tls: {certificate: " + certificate + ", key: " + certificate.resolveSibling("key.pem") + "}");
        push(host);
        int port = Integer.parseInt(host.replaceFirst(".*:", ""));
        List<String> asked = new CopyOnWriteArrayList<>();
        try (ServerSocket proxy = new ServerSocket(0, 50, InetAddress.getLoopbackAddress())) {
            new Thread(() -> tunnel(proxy, port, asked), "proxy").start();
            String at = "127.0.0.1:" + proxy.getLocalPort();
            Map<String, String> environment =
                    Map.of("SSL_CERT_FILE", certificate.toString(), "HTTPS_PROXY", "http://us%65r:p%40ss+word@" + at);
            assertThat(pull("registry.test/team/py:1", environment)).hasSizeGreaterThan(NOISE.length);
            assertThat(asked)
                    .first()
                    .asString()
                    .startsWith("CONNECT registry.test:443 ")
                    .endsWith(" null");
            assertThat(asked).last().asString().endsWith(" Basic " + base64(Base64.getEncoder(), "user:p@ss+word"));
            assertThatThrownBy(() -> pull("registry.test/team/py:2", Map.of("HTTPS_PROXY", "http://a:b@" + at)))
                    .hasMessageContaining("407");
        }
    }

    /** A proxy that lets those through who know the password, all to one port of this machine. */
    private static void tunnel(ServerSocket proxy, int port, List<String> asked) {
        while (true) {
            try {
                Socket client = proxy.accept();
                new Thread(() -> tunnel(client, port, asked), "tunnel").start();
            } catch (IOException e) {
                return;
            }
        }
    }

    private static void tunnel(Socket client, int port, List<String> asked) {
        try (client;
                Socket server = new Socket(InetAddress.getLoopbackAddress(), port)) {
            StringBuilder head = new StringBuilder();
            while (!head.toString().endsWith("\r\n\r\n")) {
                int next = client.getInputStream().read();
                if (next < 0) {
                    return;
                }
                head.append((char) next);
            }
            String login = head.toString()
                    .lines()
                    .filter(line -> line.regionMatches(true, 0, "Proxy-Authorization: ", 0, 21))
                    .findFirst()
                    .map(line -> line.substring(21))
                    .orElse("null");
            asked.add(head.toString().lines().findFirst().orElse("") + " " + login);
            boolean known = login.equals("Basic " + base64(Base64.getEncoder(), "user:p@ss+word"));
            String answer = known
                    ? "HTTP/1.1 200 OK\r\n\r\n"
                    : "HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=\"p\"\r\nContent-Length: 0\r\n"
                            + "Connection: close\r\n\r\n";
            client.getOutputStream().write(answer.getBytes(StandardCharsets.US_ASCII));
            if (known) {
                Thread back = new Thread(() -> copy(server, client), "back");
                back.start();
                copy(client, server);
                back.join();
            }
        } catch (IOException | InterruptedException e) {
            // The test ends.
        }
    }

    private static void copy(Socket from, Socket to) {
        try {
            from.getInputStream().transferTo(to.getOutputStream());
            to.shutdownOutput();
        } catch (IOException e) {
            // The other side went away.
        }
    }

    @ParameterizedTest
    @CsvSource({"socks5://user:secret@127.0.0.1:1080, socks5", "https://127.0.0.1, https"})
    void proxy_that_does_not_speak_http_is_refused(String proxy, String scheme) {
        assertThatThrownBy(() ->
                        new Proxies(Map.of("HTTPS_PROXY", proxy)).open(java.net.URI.create("https://registry.test/")))
                .isInstanceOf(ForkdException.class)
                .hasMessageContaining("names a proxy that speaks " + scheme + ",")
                .hasMessageContaining("https_proxy=http://HOST:PORT")
                .hasMessageNotContaining("secret");
    }

    @ParameterizedTest
    @CsvSource({
        "https://registry.test/, registry.test, false",
        "https://a.registry.test/, .registry.test, false",
        "https://aregistry.test/, registry.test, true",
        "https://registry.test/, 'other, *', false",
        "https://registry.test:5000/, registry.test:5000, false",
        "https://registry.test/, registry.test:5000, true",
        "https://10.1.2.3/, 10.0.0.0/8, false",
        "https://11.1.2.3/, 10.0.0.0/8, true",
        "https://192.168.5.129:5000/, 192.168.5.128/25, false",
        "https://192.168.5.127:5000/, 192.168.5.128/25, true",
        "https://10.1.2.3/, 0.0.0.0/0, false",
        "https://10.1.2.3/, 10.0.0.0/33, true",
        "https://10.test/, 10.0.0.0/8, true",
        "'https://[fd00::1]:5000/', fd00::/8, false",
        "'https://[fe00::1]/', fd00::/8, true",
        "'https://[fd00::1]/', '[fd00::1]', false",
        "https://10.1.2.3/, fd00::/8, true"
    })
    void exceptions_from_the_proxy_are_domains_addresses_and_networks(String uri, String excepted, boolean proxied)
            throws IOException {
        Proxies proxies = new Proxies(Map.of("https_proxy", "127.0.0.1:1", "NO_PROXY", excepted));
        assertThat(proxies.open(java.net.URI.create(uri)).usingProxy()).isEqualTo(proxied);
    }

    @Test
    void what_is_pulled_is_for_nobody_else() throws Exception {
        pull(fake(RegistryTest::all), Map.of());
        try (Stream<Path> all = Files.walk(scratch.resolve("cache/blobs"))) {
            for (Path path : all.filter(Files::isRegularFile)
                    .filter(path -> !path.endsWith(".lock"))
                    .toList()) {
                assertThat(PosixFilePermissions.toString(Files.getPosixFilePermissions(path)))
                        .as("%s", path)
                        .isEqualTo("rw-------");
            }
        }
        assertThat(PosixFilePermissions.toString(Files.getPosixFilePermissions(scratch.resolve("cache/blobs"))))
                .isEqualTo("rwx------");
    }

    @Test
    void interrupt_of_a_pull_leaves_only_whole_blobs() throws Exception {
        String reference = fake((exchange, blob) -> {
            exchange.sendResponseHeaders(200, blob.length);
            for (int at = 0; at < blob.length; at += 50_000) {
                exchange.getResponseBody().write(blob, at, Math.min(50_000, blob.length - at));
                exchange.getResponseBody().flush();
            }
        });
        BlobStore store = new BlobStore(scratch.resolve("cache"));
        Files.createDirectories(scratch.resolve("cache/blobs")); // It may be interrupted before it makes it.
        int checks = 1;
        for (checksUntilInterrupt.set(1); !pulls(reference); checksUntilInterrupt.set(++checks)) {
            for (BlobStore.Stored blob : store.list()) {
                assertThat(store.read(blob.digest())).isPresent();
            }
            assertNothingIsBeingFetched(scratch.resolve("cache"));
        }
        assertThat(checks).isGreaterThan(2);
    }

    /** Whether it comes to the end before it is interrupted. */
    private boolean pulls(String reference) throws IOException {
        try {
            pull(reference, Map.of());
            return true;
        } catch (ForkdException e) {
            assertThat(e).hasMessageContaining("interrupted");
            return false;
        }
    }

    @Test
    void full_disk_is_said_and_leaves_the_cache_as_it_was() throws Exception {
        String host = start("");
        push(host);
        Path other = Files.createDirectory(scratch.resolve("other"));
        new OciImage(other)
                .layer(Packing.PLAIN, new Members().file("small", "x"))
                .write();
        run("skopeo", "copy", "-q", "--dest-tls-verify=false", "oci:" + other + ":1", "docker://" + host + "/small:1");
        Path small = Files.createDirectory(scratch.resolve("cache"));
        run("mount", "-t", "tmpfs", "-o", "size=128k", "forkd-test", small.toString());
        try {
            assertThat(layersOf(host + "/small:1")).isEqualTo(1);
            List<BlobStore.Stored> before = new BlobStore(small).list();

            assertThatThrownBy(() -> layersOf(host + "/team/py:1"))
                    .isInstanceOfSatisfying(
                            ForkdException.class,
                            e -> assertThat(e.kind().exitStatus()).isEqualTo(1))
                    .hasMessageContaining("cannot write " + small.resolve("blobs/sha256/"))
                    .hasMessageContaining("No space left on device");
            BlobStore store = new BlobStore(small);
            assertThat(store.list())
                    .containsAll(before)
                    .allSatisfy(blob -> assertThat(store.read(blob.digest())).isPresent());
            assertNothingIsBeingFetched(small);

            run("mount", "-o", "remount,size=8m", small.toString());
            assertThat(layersOf(host + "/team/py:1")).isEqualTo(2);
        } finally {
            run("umount", small.toString());
        }
    }

    private static void run(String... command) throws Exception {
        assertThat(new ProcessBuilder(command).inheritIO().start().waitFor()).isZero();
    }

    /** Pulls them. */
    private int layersOf(String reference) {
        return layersOf(reference, work);
    }

    /** Fetches all layers side by side, as somebody does who waits for them one by one. */
    private int layersOf(String reference, Work heard) {
        try (Images images = new Images(scratch.resolve("cache"), Platform.host(), ANYWHERE, Map.of(), heard)) {
            Image image = images.find(ImageReference.parse(reference));
            image.layers().forEach(Layer::fetch);
            for (Layer layer : image.layers()) {
                layer.open().close();
            }
            return image.layers().size();
        } catch (IOException e) {
            throw new java.io.UncheckedIOException(e);
        }
    }

    @Test
    void pull_that_fails_has_stopped_with_its_other_layers_when_it_says_so() throws Exception {
        CountDownLatch midway = new CountDownLatch(1);
        String reference = fake((exchange, blob) -> {
            try {
                midway.await();
            } catch (InterruptedException e) {
                throw new IOException(e);
            }
            exchange.sendResponseHeaders(200, blob.length);
            exchange.getResponseBody().write(new byte[blob.length]);
        });
        Work slow = new QuietWork() {
            @Override
            public void advance(long bytes) {
                if (midway.getCount() > 0) {
                    midway.countDown();
                    // A disk that is slow does not hear of an interrupt either.
                    for (long end = System.nanoTime() + 300_000_000; System.nanoTime() < end; ) {
                        LockSupport.parkNanos(end - System.nanoTime());
                    }
                }
            }
        };
        assertThatThrownBy(() -> layersOf(reference, slow)).hasMessageContaining("other content than its digest");
        assertNothingIsBeingFetched(scratch.resolve("cache"));
    }

    private static void assertNothingIsBeingFetched(Path cache) throws IOException {
        try (Stream<Path> left = Files.list(cache.resolve("blobs"))) {
            assertThat(left.map(path -> path.getFileName().toString())).noneMatch(name -> name.startsWith(".pull"));
        }
    }

    @Test
    void broken_download_goes_on_where_it_broke() throws Exception {
        List<String> ranges = new ArrayList<>();
        String reference = fake((exchange, blob) -> {
            String range = Optional.ofNullable(exchange.getRequestHeaders().getFirst("Range"))
                    .orElse("");
            ranges.add(range);
            int from = range.isEmpty() ? 0 : Integer.parseInt(range.replaceAll("\\D", ""));
            exchange.sendResponseHeaders(range.isEmpty() ? 200 : 206, blob.length - from);
            int part = Math.min(100_000, blob.length - from);
            exchange.getResponseBody().write(blob, from, part);
            exchange.getResponseBody().flush();
        });
        assertThat(pull(reference, Map.of())).hasSizeGreaterThan(NOISE.length);
        assertThat(ranges).hasSizeBetween(3, 5);
        assertThat(ranges.get(1)).startsWith("bytes=");
    }

    @Test
    void blob_with_other_content_is_refused_and_not_kept() throws Exception {
        String reference = fake((exchange, blob) -> {
            byte[] wrong = blob.clone();
            wrong[1000] ^= 1;
            exchange.sendResponseHeaders(200, wrong.length);
            exchange.getResponseBody().write(wrong);
        });
        assertThatThrownBy(() -> pull(reference, Map.of()))
                .hasMessageContaining("other content than its digest sha256:");
        assertThat(new BlobStore(scratch.resolve("cache")).list()).noneMatch(blob -> blob.bytes() > NOISE.length);
    }

    @Test
    void blob_that_a_crash_of_the_host_cut_short_is_fetched_anew() throws Exception {
        String reference = fake(RegistryTest::all);
        byte[] whole = pull(reference, Map.of());
        for (BlobStore.Stored blob : new BlobStore(scratch.resolve("cache")).list()) {
            Files.write(blob.file(), new byte[0]);
        }
        assertThat(pull(reference, Map.of())).isEqualTo(whole);
    }

    @Test
    void blob_that_is_too_long_is_refused() throws Exception {
        String reference = fake((exchange, blob) -> {
            exchange.sendResponseHeaders(200, 0);
            exchange.getResponseBody().write(blob);
            exchange.getResponseBody().write(new byte[10]);
        });
        assertThatThrownBy(() -> pull(reference, Map.of())).hasMessageContaining("longer than its manifest says");
    }

    @Test
    void archives_of_skopeo_hold_the_same_image() throws Exception {
        for (String kind : List.of("docker-archive", "oci-archive")) {
            Path file = scratch.resolve(kind + ".tar");
            String target = kind + ":" + file + (kind.equals("docker-archive") ? ":team/py:1" : ":1");
            Process process = new ProcessBuilder("skopeo", "copy", "-q", "oci:" + layout + ":1", target)
                    .inheritIO()
                    .start();
            assertThat(process.waitFor()).isZero();
            assertThat(pull(kind + ":" + file, Map.of())).hasSizeGreaterThan(NOISE.length);
            assertThat(pull(target, Map.of())).hasSizeGreaterThan(NOISE.length);

            Path cut = scratch.resolve(kind + "-cut.tar");
            Files.write(cut, Arrays.copyOf(Files.readAllBytes(file), 200_000));
            assertThatThrownBy(() -> pull(kind + ":" + cut, Map.of()))
                    .isInstanceOf(ForkdException.class)
                    .hasMessageContaining(cut.toString());
        }
    }
}
