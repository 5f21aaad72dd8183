package io.forkd.image;

import static org.assertj.core.api.Assertions.assertThat;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import io.forkd.ForkdException;
import io.forkd.image.ImageReference.InRegistry;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** Registries that do with an upload what the specification lets them, and the one at hand does not. */
class UploadTest {
    private static final byte[] BLOB = "blob".getBytes(StandardCharsets.US_ASCII);

    private final Map<String, HttpServer> servers = new ConcurrentHashMap<>();
    private final List<String> seen = new ArrayList<>();
    private ExecutorService threads = Executors.newCachedThreadPool();

    @BeforeEach
    void start() throws IOException {
        threads = Executors.newCachedThreadPool();
        for (String name : List.of("registry", "store")) {
            HttpServer server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
            server.setExecutor(threads);
            server.start();
            servers.put(name, server);
        }
    }

    @AfterEach
    void stop() {
        servers.values().forEach(server -> server.stop(0));
        threads.shutdownNow();
    }

    private HttpServer server(String name) {
        return java.util.Objects.requireNonNull(servers.get(name));
    }

    private String host(String name) {
        return "localhost:" + server(name).getAddress().getPort();
    }

    private RegistryClient client() {
        return new RegistryClient(
                InRegistry.parse(host("registry") + "/team/warm:1"),
                new Reach(false, Optional.empty()),
                Map.of(),
                new QuietWork());
    }

    private static void answer(HttpExchange exchange, int status, String body) throws IOException {
        byte[] bytes = body.getBytes(StandardCharsets.US_ASCII);
        exchange.getRequestBody().readAllBytes();
        exchange.sendResponseHeaders(status, bytes.length == 0 ? -1 : bytes.length);
        exchange.getResponseBody().write(bytes);
        exchange.close();
    }

    @Test
    void place_is_where_it_is_from_whoever_names_it() {
        server("registry").createContext("/v2/", exchange -> {
            exchange.getResponseHeaders().add("Location", "http://" + host("store") + "/begin");
            answer(exchange, 307, "");
        });
        server("store").createContext("/", exchange -> {
            String what = exchange.getRequestMethod() + " " + exchange.getRequestURI();
            synchronized (seen) {
                seen.add(what + " " + exchange.getRequestHeaders().containsKey("Authorization"));
            }
            exchange.getResponseHeaders().add("Location", "there?state=1");
            answer(exchange, what.startsWith("POST") ? 202 : 201, "");
        });
        try (RegistryClient client = client()) {
            client.upload(Digest.sha256(BLOB), BLOB);
        }
        assertThat(seen)
                .containsExactly("POST /begin false", "PUT /there?state=1&digest=" + Digest.sha256(BLOB) + " false");
    }

    private String refused(int status) {
        server("registry").createContext("/v2/", exchange -> answer(exchange, status, ""));
        try (RegistryClient client = client()) {
            client.upload(Digest.sha256(BLOB), BLOB);
            throw new AssertionError("it was taken");
        } catch (ForkdException e) {
            return e.getMessage();
        } finally {
            server("registry").removeContext("/v2/");
        }
    }

    @Test
    void registry_that_takes_nothing_or_not_so_much_is_said() {
        assertThat(refused(405))
                .contains("the registry takes nothing (HTTP 405)")
                .contains("name the registry that");
        assertThat(refused(413))
                .contains("it is larger than the registry, or a proxy before it, takes (HTTP 413)")
                .contains("client_max_body_size");
    }
}
