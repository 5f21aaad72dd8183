package io.forkd.daemon;

import static org.assertj.core.api.Assertions.assertThat;

import io.forkd.http.Caller.Quotas;
import io.forkd.http.Caller.Role;
import io.forkd.http.TokenFile;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Optional;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.api.io.TempDir;

/** Web servers in guests, by path and by host: what each is good for, and who may. */
@Timeout(value = 3, unit = TimeUnit.MINUTES)
class PortsApiTest {
    @RegisterExtension
    static final Service service = new Service();

    private static String ask(InetSocketAddress address, String target, String host, String... headers)
            throws IOException {
        try (Socket client = new Socket("127.0.0.1", address.getPort())) {
            client.getOutputStream()
                    .write(("GET " + target + " HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n"
                                    + String.join(
                                            "",
                                            java.util.Arrays.stream(headers)
                                                    .map(header -> header + "\r\n")
                                                    .toList())
                                    + "\r\n")
                            .getBytes(StandardCharsets.US_ASCII));
            return new String(client.getInputStream().readAllBytes(), StandardCharsets.ISO_8859_1);
        }
    }

    private static String byPath(String id, String rest, String... headers) throws IOException {
        return ask(service.address(), "/v1/sandboxes/" + id + "/ports/" + rest, "localhost", headers);
    }

    private static String byHost(String id, String path, String... headers) throws IOException {
        return ask(
                service.address(),
                path,
                "80-" + id + ".localhost:" + service.address().getPort(),
                headers);
    }

    @Test
    void server_of_a_guest_is_reached_by_path() throws IOException {
        String id = service.sandbox();
        assertThat(byPath(id, "80/a%20b/c?d=e&f"))
                .startsWith("HTTP/1.1 200 ")
                .contains("Content-Security-Policy: sandbox\r\n")
                .endsWith("hello from the guest: GET /a%20b/c?d=e&f HTTP/1.1");
        assertThat(byPath(id, "80")).endsWith("GET / HTTP/1.1");
        assertThat(byPath(id, "80/")).endsWith("GET / HTTP/1.1");
        assertThat(byPath(id, "80//x/../y")).endsWith("GET //x/../y HTTP/1.1");
    }

    @Test
    void server_of_a_guest_is_reached_by_host_whatever_the_path() throws IOException {
        String id = service.sandbox();
        assertThat(byHost(id, "/v1/sandboxes")).endsWith("hello from the guest: GET /v1/sandboxes HTTP/1.1");
        assertThat(byHost(id, "/healthz")).endsWith("GET /healthz HTTP/1.1");
        assertThat(byHost(id.toUpperCase(java.util.Locale.ROOT), "/")).endsWith("GET / HTTP/1.1");
    }

    @Test
    void what_does_not_answer_is_said() throws IOException {
        String id = service.sandbox();
        assertThat(byPath(id, "9/")).startsWith("HTTP/1.1 502 ").contains("ECONNREFUSED");
        assertThat(byPath(id, "81/")).startsWith("HTTP/1.1 502 ");
        assertThat(byPath(id, "7/")).startsWith("HTTP/1.1 502 ").contains("does not answer as HTTP");
        assertThat(byPath(id, "0/")).startsWith("HTTP/1.1 400 ");
        assertThat(byPath(id, "65536/")).startsWith("HTTP/1.1 400 ");
        assertThat(byPath("sb-00000000-00000000", "80/")).startsWith("HTTP/1.1 404 ");
        assertThat(byHost("sb-00000000-00000000", "/")).startsWith("HTTP/1.1 404 ");
    }

    @Test
    void browser_gets_no_page_that_would_be_the_daemons() throws IOException {
        String id = service.sandbox();
        for (String site : new String[] {"none", "same-origin", "cross-site"}) {
            assertThat(byPath(id, "80/", "Sec-Fetch-Site: " + site, "Sec-Fetch-Mode: navigate"))
                    .startsWith("HTTP/1.1 403 ")
                    .doesNotContain("hello");
        }
        assertThat(byPath(id, "80/", "Sec-Fetch-Mode: cors")).contains("hello from the guest"); // Node's fetch
        assertThat(byHost(id, "/", "Sec-Fetch-Site: none", "Sec-Fetch-Mode: navigate"))
                .contains("hello from the guest");
        assertThat(byHost(id, "/", "Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: cors"))
                .contains("hello from the guest");
    }

    @Test
    void page_of_one_sandbox_asks_neither_the_daemon_nor_another_sandbox() throws IOException {
        String id = service.sandbox();
        int port = service.address().getPort();
        String origin = "Origin: http://80-sb-1-1.localhost:" + port;
        for (String site : new String[] {"same-site", "cross-site"}) {
            assertThat(ask(service.address(), "/v1/sandboxes", "localhost:" + port, "Sec-Fetch-Site: " + site, origin))
                    .startsWith("HTTP/1.1 403 ");
            assertThat(byHost(id, "/", "Sec-Fetch-Site: " + site, origin)).startsWith("HTTP/1.1 403 ");
        }
        // As browsers ask for a WebSocket.
        assertThat(ask(service.address(), "/v1/sandboxes", "localhost:" + port, origin))
                .startsWith("HTTP/1.1 403 ");
        assertThat(byHost(id, "/", origin)).startsWith("HTTP/1.1 403 ");
        assertThat(byHost(id, "/", "Origin: http://80-" + id + ".localhost:" + port))
                .contains("hello from the guest");
    }

    @Test
    void only_who_may_reaches_a_sandbox(@TempDir Path folder) throws IOException {
        Path file = folder.resolve("callers");
        String anna = TokenFile.add(file, "anna", Role.USER, Quotas.NONE);
        String bert = TokenFile.add(file, "bert", Role.USER, Quotas.NONE);
        String eyes = TokenFile.add(file, "eyes", Role.READ, Quotas.NONE);
        service.keepStateIn(service.directory().resolve("ports.json"));
        try (Daemon guarded = Daemon.start(service.beside(), service.options(Optional.of(file)))) {
            InetSocketAddress address = guarded.address().orElseThrow();
            String id = new Api(address, "Authorization", "Bearer " + anna)
                    .post("/v1/sandboxes", "{'snapshot_tag':'py'}")
                    .json()
                    .get(0)
                    .path("id")
                    .stringValue();
            for (String[] way : new String[][] {
                {"/v1/sandboxes/" + id + "/ports/80/", "localhost"}, {"/", "80-" + id + ".localhost"}
            }) {
                assertThat(ask(address, way[0], way[1])).startsWith("HTTP/1.1 401 ");
                assertThat(ask(address, way[0], way[1], "Authorization: Bearer " + bert))
                        .startsWith("HTTP/1.1 404 ");
                assertThat(ask(address, way[0], way[1], "Authorization: Bearer " + eyes))
                        .startsWith("HTTP/1.1 403 ");
                assertThat(ask(address, way[0], way[1], "Authorization: Bearer " + anna))
                        .contains("hello from the guest");
            }
        }
    }
}
