package io.forkd.image;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import io.forkd.ForkdException;
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
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Pulling from a real registry; answers that a real one does not give come from a fake. */
class RegistryTest {
    private static final byte[] NOISE = new byte[300_000];

    static {
        new java.util.Random(7).nextBytes(NOISE);
    }

    @TempDir
    Path scratch;

    private final Work work = new Work() {
        @Override
        public void begin(String what, long bytes) {}

        @Override
        public void advance(long bytes) {}

        @Override
        public void say(String line) {}

        @Override
        public void check() {}
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

    private Images images(Map<String, String> environment) {
        return new Images(scratch.resolve("cache"), Platform.host(), false, environment, work);
    }

    /** Reads all layers, as somebody who builds an image does, and returns the bytes of the first. */
    private byte[] pull(String reference, Map<String, String> environment) throws IOException {
        try (Images images = images(environment)) {
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
        int port;
        try (ServerSocket free = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
            port = free.getLocalPort();
        }
        Path configuration = scratch.resolve("registry.yml");
        Files.writeString(
                configuration,
                "version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: "
                        + scratch.resolve("registry") + "}}\nhttp: {addr: \"127.0.0.1:" + port + "\"}\n" + auth);
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
                                (ImageReference.InRegistry) ImageReference.parse(host + "/team/py:1"), false, Map.of())
                        .manifest("1"))
                .toString();
        registry.get().destroy();
        registry.get().waitFor();
        // Everything is here now, and a digest never moves.
        assertThat(pull(host + "/team/py@" + manifest, Map.of())).hasSizeGreaterThan(NOISE.length);
        assertThatThrownBy(() -> pull(host + "/team/py:1", Map.of()))
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
        try (Images arm = new Images(scratch.resolve("cache"), Platform.parse("linux/s390x"), false, Map.of(), work)) {
            assertThatThrownBy(() -> arm.find(ImageReference.parse(host + "/team/py:1")))
                    .hasMessageContaining("is not there for linux/s390x")
                    .hasMessageContaining("--platform");
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
        byte[] index = Files.readAllBytes(layout.resolve("index.json"));
        String manifest = Documents.index(Documents.parse(index, "index"), "index")
                .get(0)
                .digest()
                .hex();
        server.createContext("/v2/py/", exchange -> {
            try (exchange) {
                String last = exchange.getRequestURI().getPath().replaceFirst(".*/", "");
                String hex = last.equals("1") ? manifest : last.replaceFirst("sha256:", "");
                byte[] blob = Files.readAllBytes(layout.resolve("blobs/sha256").resolve(hex));
                if (blob.length > NOISE.length) {
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
