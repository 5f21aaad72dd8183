package io.forkd.cli;

import static org.assertj.core.api.Assertions.assertThat;

import io.forkd.Json;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import tools.jackson.databind.JsonNode;

/** On this machine, as it is. */
class DoctorTest {
    @TempDir
    Path directory;

    private final ByteArrayOutputStream out = new ByteArrayOutputStream();
    private int status;

    private Map<String, String> environment() {
        return new HashMap<>(Map.of("XDG_DATA_HOME", directory.toString(), "XDG_RUNTIME_DIR", directory.toString()));
    }

    private JsonNode doctor(Map<String, String> environment) {
        out.reset();
        Shell shell = Shell.of(
                new PrintStream(out, true, StandardCharsets.UTF_8),
                new PrintStream(new ByteArrayOutputStream(), true, StandardCharsets.UTF_8),
                false,
                environment);
        status = Main.run(shell, "doctor", "--json");
        return Json.parse(out.toByteArray());
    }

    private static JsonNode check(JsonNode report, String name) {
        return report.path("checks")
                .valueStream()
                .filter(check -> check.path("name").stringValue().equals(name))
                .findFirst()
                .orElseThrow();
    }

    private static String status(JsonNode report, String name) {
        return check(report, name).path("status").stringValue();
    }

    @Test
    void checks_are_counted_and_only_a_failed_one_is_a_failure() {
        JsonNode report = doctor(environment());
        assertThat(report.path("checks")
                        .valueStream()
                        .map(check -> check.path("name").stringValue()))
                .containsExactly(
                        "platform",
                        "hw virt",
                        "kvm",
                        "monitor",
                        "snapshot folder",
                        "runtime folder",
                        "system calls",
                        "namespaces",
                        "empty root",
                        "landlock",
                        "own user",
                        "guest kernel",
                        "apt-get",
                        "snapshot space",
                        "scratch space",
                        "cgroup v2",
                        "tap device",
                        "ip_forward",
                        "networks",
                        "names in policies",
                        "lazy start",
                        "daemon");
        assertThat(report.path("pass").intValue()
                        + report.path("warn").intValue()
                        + report.path("fail").intValue()
                        + report.path("skip").intValue())
                .isEqualTo(22);
        assertThat(status).isEqualTo(report.path("fail").intValue() == 0 ? 0 : 1);
        for (String name : List.of(
                "platform", "kvm", "monitor", "snapshot folder", "runtime folder", "system calls", "landlock")) {
            assertThat(status(report, name)).as(name).isEqualTo("pass");
        }
        assertThat(check(report, "guest kernel").path("remedy").stringValue()).isEqualTo("forkd kernel install");
        assertThat(status(report, "daemon")).isEqualTo("skip");
    }

    @Test
    void limits_of_the_kernel_can_be_had_or_there_is_a_remedy() {
        JsonNode check = check(doctor(environment()), "cgroup v2");
        boolean all = check.path("status").stringValue().equals("pass");
        assertThat(check.path("detail").stringValue())
                .contains(all ? "VMs can be limited by memory, cpu, pids, io" : "cannot be put in place");
        assertThat(check.path("remedy").stringValue().isEmpty()).isEqualTo(all);
    }

    @Test
    void folder_that_is_a_file_is_a_failure() throws IOException {
        Path file = Files.createFile(directory.resolve("file"));
        Map<String, String> environment = environment();
        environment.put("XDG_RUNTIME_DIR", file.toString());
        environment.put("XDG_DATA_HOME", file.toString());
        JsonNode report = doctor(environment);
        assertThat(status(report, "runtime folder")).isEqualTo("fail");
        assertThat(status(report, "snapshot folder")).isEqualTo("fail");
        assertThat(status).isEqualTo(1);
    }

    @Test
    void kernel_that_is_there_is_found() throws IOException {
        Path kernel = Files.createFile(directory.resolve("vmlinux"));
        Map<String, String> environment = environment();
        environment.put("FORKD_KERNEL", kernel.toString());
        assertThat(check(doctor(environment), "guest kernel").path("detail").stringValue())
                .contains(kernel.toString());
    }

    @ParameterizedTest
    @CsvSource({
        "200 OK, [], pass",
        "401 Unauthorized, {\"error\":\"no\"}, fail",
        "500 Oh, {\"error\":\"no\"}, warn",
        "200 OK, [{}, warn",
        "nonsense, [], warn"
    })
    void daemon_is_asked(String statusLine, String body, String status) throws Exception {
        Path socket = directory.resolve("d.sock");
        try (ServerSocketChannel server = ServerSocketChannel.open(StandardProtocolFamily.UNIX)) {
            server.bind(UnixDomainSocketAddress.of(socket));
            Thread thread = new Thread(() -> answer(server, "HTTP/1.1 " + statusLine + "\r\n\r\n" + body));
            thread.start();
            Map<String, String> environment = environment();
            environment.put("FORKD_URL", "unix:" + socket);
            assertThat(status(doctor(environment), "daemon")).isEqualTo(status);
            thread.join();
        }
        Map<String, String> gone = environment();
        gone.put("FORKD_URL", "unix:" + socket);
        assertThat(status(doctor(gone), "daemon")).isEqualTo("warn");
    }

    private static void answer(ServerSocketChannel server, String text) {
        try (SocketChannel client = server.accept()) {
            client.read(ByteBuffer.allocate(4096));
            client.write(ByteBuffer.wrap(text.getBytes(StandardCharsets.UTF_8)));
        } catch (IOException e) {
            throw new java.io.UncheckedIOException(e);
        }
    }
}
