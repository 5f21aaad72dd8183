package io.forkd.sandbox;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** A log that grows, and is cut as {@code serial.c} does it. */
class ConsoleLogTest {
    private static final String NOTE = "[forkd: the log was full; what came before was left out]\n";

    @TempDir
    Path scratch;

    private Path file;
    private final ByteArrayOutputStream out = new ByteArrayOutputStream();

    @BeforeEach
    void begin() throws IOException {
        file = Files.createFile(scratch.resolve("console.log"));
    }

    private ConsoleLog open() {
        return ConsoleLog.open("sb-1", file);
    }

    private void write(String text) throws IOException {
        Files.writeString(file, text, StandardOpenOption.APPEND);
    }

    private String copied(ConsoleLog log) throws IOException {
        out.reset();
        assertThat(log.copyTo(out)).isTrue();
        return out.toString(StandardCharsets.UTF_8);
    }

    private static String lines(int from, int to) {
        StringBuilder text = new StringBuilder();
        for (int i = from; i < to; i++) {
            text.append("line ").append(i).append('\n');
        }
        return text.toString();
    }

    private void cutTo(String kept) throws IOException {
        Files.writeString(file, NOTE + kept, StandardOpenOption.TRUNCATE_EXISTING);
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "a,b,c, | 2 | b,c,",
                "a,b,c  | 2 | b,c",
                "a,b,c, | 3 | a,b,c,",
                "a,b,c, | 9 | a,b,c,",
                "a,b,c, | 0 | ''",
                "a,b,c  | 1 | c",
                ",,,    | 1 | ,",
                "''     | 5 | ''",
                "abc    | 1 | abc",
            })
    void last_lines_are_those_that_people_count(String text, long lines, String wanted) throws IOException {
        write(text.replace(',', '\n'));
        try (ConsoleLog log = open()) {
            log.skipToLast(lines);
            assertThat(copied(log)).isEqualTo(wanted.replace(',', '\n'));
            write("more");
            assertThat(copied(log)).isEqualTo("more");
        }
    }

    @Test
    void last_lines_may_be_long_and_many() throws IOException {
        String last = "x".repeat(200_000) + '\n' + lines(0, 20_000);
        write("first\n" + last);
        try (ConsoleLog log = open()) {
            log.skipToLast(20_001);
            assertThat(copied(log)).isEqualTo(last);
        }
    }

    @Test
    void reader_goes_on_where_it_was_when_the_log_is_cut() throws IOException {
        write(lines(0, 1000));
        try (ConsoleLog log = open()) {
            assertThat(copied(log)).isEqualTo(lines(0, 1000));
            Files.writeString(file, "", StandardOpenOption.TRUNCATE_EXISTING);
            // It is being cut: nothing is told twice for that.
            assertThat(log.copyTo(out)).isFalse();
            cutTo(lines(500, 1010));
            assertThat(copied(log)).isEqualTo(lines(1000, 1010));
            write("on\n");
            assertThat(copied(log)).isEqualTo("on\n");
        }
    }

    @Test
    void a_log_that_is_longer_than_before_when_it_was_cut_is_noticed() throws IOException {
        write(lines(0, 100));
        try (ConsoleLog log = open()) {
            copied(log);
            cutTo(lines(50, 1000));
            assertThat(log.copyTo(out)).isFalse();
            assertThat(copied(log)).isEqualTo(lines(100, 1000));
        }
    }

    @Test
    void what_was_lost_is_said() throws IOException {
        write(lines(0, 100));
        try (ConsoleLog log = open()) {
            copied(log);
            cutTo(lines(5000, 5010));
            assertThat(log.copyTo(out)).isFalse();
            assertThat(copied(log)).isEqualTo(NOTE + lines(5000, 5010));
        }
    }

    @Test
    void what_repeats_itself_takes_no_longer() throws IOException {
        write("b" + "a".repeat(300));
        try (ConsoleLog log = open()) {
            log.skipToLast(1);
            copied(log);
            cutTo(("b" + "a".repeat(100)).repeat(100_000));
            assertThat(log.copyTo(out)).isFalse();
            assertThat(copied(log)).startsWith(NOTE);
        }
    }
}
