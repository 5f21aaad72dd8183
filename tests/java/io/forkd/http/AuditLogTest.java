package io.forkd.http;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.forkd.ForkdException;
import io.forkd.Json;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class AuditLogTest {
    @TempDir
    Path scratch;

    private static AuditLog.Entry entry(String userAgent) {
        return new AuditLog.Entry("GET", "/v1/x", 200, 1234, userAgent, Caller.TOKEN, "127.0.0.1:9");
    }

    @Test
    void a_line_is_compact_and_has_its_fields_in_order() throws Exception {
        Path file = scratch.resolve("new/folder/audit.log");
        try (AuditLog log = new AuditLog(file)) {
            log.append(entry("curl"));
        }
        assertThat(Files.readString(file))
                .matches("\\{\"ts\":\"[-0-9]+T[:0-9]+Z\",\"method\":\"GET\",\"path\":\"/v1/x\",\"status\":200,"
                        + "\"latency_us\":1234,\"ua\":\"curl\",\"caller\":\"token\",\"remote\":\"127.0.0.1:9\"}\n");
    }

    @Test
    void nothing_that_a_client_sends_breaks_a_line() throws Exception {
        Path file = scratch.resolve("audit.log");
        StringBuilder all = new StringBuilder("\"\\\u2028\u2029\u0085\ud83d\ude00");
        for (char c = 0; c < 0x100; c++) {
            all.append(c);
        }
        try (AuditLog log = new AuditLog(file)) {
            log.append(entry(all.toString()));
            log.append(entry("\ud800"));
            log.append(entry(""));
        }
        byte[] bytes = Files.readAllBytes(file);
        assertThat(new String(bytes, StandardCharsets.UTF_8).split("\n"))
                .hasSize(3)
                .allSatisfy(line -> assertThat(Json.parse(line.getBytes(StandardCharsets.UTF_8))
                                .get("status")
                                .intValue())
                        .isEqualTo(200));
        String first = new String(bytes, StandardCharsets.UTF_8).split("\n", 2)[0];
        assertThat(Json.parse(first.getBytes(StandardCharsets.UTF_8)).get("ua").stringValue())
                .isEqualTo(all.toString());
    }

    @Test
    void a_log_that_cannot_be_written_fails_nobody() {
        try (AuditLog log = new AuditLog(Path.of("/dev/full"))) {
            log.append(entry("a"));
            log.append(entry("b"));
        }
    }

    @Test
    void a_log_that_cannot_be_opened_is_an_error_and_the_old_one_goes_on() throws Exception {
        assertThatThrownBy(() -> new AuditLog(scratch))
                .isInstanceOf(ForkdException.class)
                .hasMessageContaining(scratch.toString());
        Path file = scratch.resolve("audit.log");
        try (AuditLog log = new AuditLog(file)) {
            Files.move(file, scratch.resolve("old"));
            Files.createDirectory(file);
            assertThatThrownBy(log::reopen).isInstanceOf(ForkdException.class);
            log.append(entry("a"));
            Files.delete(file);
            log.reopen();
            log.append(entry("b"));
        }
        assertThat(Files.readString(scratch.resolve("old"))).contains("\"ua\":\"a\"");
        assertThat(Files.readString(file)).contains("\"ua\":\"b\"");
    }
}
