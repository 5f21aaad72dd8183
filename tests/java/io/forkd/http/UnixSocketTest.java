package io.forkd.http;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.forkd.ForkdException;
import java.io.IOException;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.channels.ServerSocketChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.Optional;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class UnixSocketTest {
    @TempDir
    Path scratch;

    private Path socket = Path.of("/");

    @BeforeEach
    void name() {
        socket = scratch.resolve("run/daemon.sock");
    }

    private HttpServer start() throws IOException {
        Path token = Files.writeString(scratch.resolve("token"), "0123456789abcdef");
        return HttpServer.start(
                new HttpOptions(
                        Optional.empty(),
                        Optional.of(socket),
                        Optional.empty(),
                        Optional.of(token),
                        Optional.of(scratch.resolve("audit.log")),
                        Limits.STANDARD),
                new Routes()
                        .get(
                                "/caller",
                                call -> Response.text(
                                        200, "text/plain", call.caller().text())),
                new Metrics(),
                failure -> new HttpFailure(500, failure.sentence()));
    }

    private String caller() throws IOException {
        try (Wire wire = Wire.to(socket)) {
            return wire.get("/caller").body();
        }
    }

    @Test
    void who_may_open_the_socket_needs_no_token() throws Exception {
        HttpServer server = start();
        String me = "unix:" + System.getProperty("user.name");
        assertThat(caller()).isEqualTo(me);
        assertThat(PosixFilePermissions.toString(Files.getPosixFilePermissions(socket)))
                .isEqualTo("rw-------");
        server.stop();
        assertThat(socket).doesNotExist();
        assertThat(Files.readString(scratch.resolve("audit.log")))
                .contains("\"caller\":\"" + me + "\",\"remote\":\"unix\"}");
    }

    @Test
    void the_socket_of_a_dead_daemon_is_replaced() throws Exception {
        Files.createDirectories(socket.getParent());
        try (ServerSocketChannel dead = ServerSocketChannel.open(StandardProtocolFamily.UNIX)) {
            dead.bind(UnixDomainSocketAddress.of(socket));
        }
        assertThat(socket).exists();
        HttpServer server = start();
        assertThat(caller()).startsWith("unix:");
        server.stop();
    }

    @Test
    void the_socket_of_a_live_daemon_is_left_alone() throws Exception {
        HttpServer server = start();
        assertThatThrownBy(this::start)
                .isInstanceOf(ForkdException.class)
                .hasMessageContaining("another daemon listens at " + socket);
        assertThat(caller()).startsWith("unix:");
        server.stop();
    }

    @Test
    void a_daemon_that_takes_no_connections_is_alive() throws Exception {
        Files.createDirectories(socket.getParent());
        try (ServerSocketChannel stuck = ServerSocketChannel.open(StandardProtocolFamily.UNIX)) {
            stuck.bind(UnixDomainSocketAddress.of(socket), 1);
            Wire.to(socket);
            Wire.to(socket);
            assertThatThrownBy(this::start).isInstanceOf(ForkdException.class).hasMessageContaining("another daemon");
        }
    }

    @Test
    void a_file_that_is_no_socket_is_left_alone() throws Exception {
        Files.createDirectories(socket.getParent());
        Path target = Files.writeString(scratch.resolve("precious"), "data");
        Files.writeString(socket, "data");
        assertThatThrownBy(this::start).isInstanceOf(ForkdException.class).hasMessageContaining("is no socket");
        assertThat(socket).hasContent("data");
        Files.delete(socket);
        Files.createSymbolicLink(socket, target);
        assertThatThrownBy(this::start).isInstanceOf(ForkdException.class).hasMessageContaining("is no socket");
        assertThat(socket).isSymbolicLink();
    }

    @Test
    void a_stop_leaves_what_another_has_put_there() throws Exception {
        HttpServer server = start();
        Files.delete(socket);
        HttpServer next = start();
        server.stop();
        assertThat(caller()).startsWith("unix:");
        next.stop();
        try (var left = Files.list(socket.getParent())) {
            assertThat(left.map(file -> file.getFileName().toString())).containsExactly("daemon.sock.lock");
        }
    }

    @Test
    void too_long_a_path_is_refused() {
        socket = scratch.resolve("x".repeat(110));
        assertThatThrownBy(this::start).isInstanceOf(ForkdException.class).hasMessageContaining("too long");
    }
}
