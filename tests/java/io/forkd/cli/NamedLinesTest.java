package io.forkd.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import org.junit.jupiter.api.Test;

class NamedLinesTest {
    private final ByteArrayOutputStream out = new ByteArrayOutputStream();
    private final ByteArrayOutputStream err = new ByteArrayOutputStream();
    private final Shell shell = Shell.of(
            new PrintStream(out, true, StandardCharsets.UTF_8),
            new PrintStream(err, true, StandardCharsets.UTF_8),
            false,
            Map.of("XDG_RUNTIME_DIR", "/nonexistent", "XDG_DATA_HOME", "/nonexistent"));

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    @Test
    void each_line_comes_whole_and_with_the_name() {
        NamedLines lines = new NamedLines(shell, "py-1", false);
        lines.stdout(bytes("a\n\nb"));
        assertThat(out).hasToString("py-1: a\npy-1: \n");
        lines.stderr(bytes("oops\n"));
        lines.stdout(bytes("c\nd"));
        assertThat(out).hasToString("py-1: a\npy-1: \npy-1: bc\n");
        lines.end();
        assertThat(out).hasToString("py-1: a\npy-1: \npy-1: bc\npy-1: d\n");
        assertThat(err).hasToString("py-1: oops\n");
    }

    @Test
    void bytes_that_are_no_text_stay_what_they_are() {
        NamedLines lines = new NamedLines(shell, "x", false);
        lines.stdout(new byte[] {(byte) 0xff, 0, '\n'});
        assertThat(out.toByteArray()).isEqualTo(new byte[] {'x', ':', ' ', (byte) 0xff, 0, '\n'});
    }

    @Test
    void a_line_without_end_is_broken() {
        NamedLines lines = new NamedLines(shell, "x", false);
        for (int i = 0; i < 10; i++) {
            lines.stdout(bytes("y".repeat(48 * 1024)));
        }
        lines.end();
        assertThat(out.toString(StandardCharsets.UTF_8).lines().map(line -> line.replace("x: ", "")))
                .hasSize(8)
                .allMatch(line -> line.length() <= 64 * 1024)
                .satisfies(all -> assertThat(String.join("", all)).isEqualTo("y".repeat(480 * 1024)));
    }

    @Test
    void programs_get_an_object_a_line() {
        NamedLines lines = new NamedLines(shell, "x", true);
        lines.stderr(bytes("\"q\"\n"));
        assertThat(out)
                .hasToString("{\"event\":\"output\",\"name\":\"x\",\"stream\":\"stderr\",\"line\":\"\\\"q\\\"\"}\n");
        assertThat(err.size()).isZero();
    }
}
