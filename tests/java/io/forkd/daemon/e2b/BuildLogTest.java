package io.forkd.daemon.e2b;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.forkd.ForkdException;
import io.forkd.daemon.e2b.BuildLog.Entry;
import io.forkd.daemon.e2b.BuildLog.Level;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** What a build tells, and what paths of COPY mean. */
class BuildLogTest {
    private static long characters(BuildLog log) {
        return log.entries(Level.DEBUG).stream()
                .mapToLong(entry -> entry.message().length())
                .sum();
    }

    @ParameterizedTest
    @ValueSource(ints = {0, 1, 100, 2048, 1 << 20})
    void log_that_is_full_takes_its_end_and_nothing_else(int length) {
        BuildLog log = new BuildLog();
        for (int i = 0; i < 10_000; i++) {
            log.add(Level.INFO, "1", "x".repeat(length));
        }
        int size = log.entries(Level.DEBUG).size();
        assertThat(characters(log)).isLessThan(300_000);
        log.add(Level.INFO, "1", "more");
        log.end(Level.ERROR, "2", "the end");
        log.add(Level.INFO, "1", "more");
        List<Entry> entries = log.entries(Level.DEBUG);
        assertThat(entries).hasSize(size + 1);
        assertThat(entries.get(size - 1).level()).isEqualTo(Level.WARN);
        assertThat(entries.get(size).message()).isEqualTo("the end");
        assertThat(log.entries(Level.ERROR)).containsExactly(entries.get(size));
    }

    @ParameterizedTest
    @CsvSource({
        "a, a",
        "./a/b/, a/b",
        "a/../b, b",
        "., .",
        "*.py, .",
        "src/*.py, src",
        "src/**/x, src",
        "'src/{a,b}/c', src",
        "a b, a b",
    })
    void source_is_what_is_before_its_patterns(String given, String meant) {
        assertThat(BuildSteps.source(given)).isEqualTo(meant);
    }

    @ParameterizedTest
    @ValueSource(strings = {"..", "../a", "a/../../b", "/../a"})
    void source_outside_of_what_was_sent_is_refused(String given) {
        assertThatThrownBy(() -> BuildSteps.source(given))
                .isInstanceOf(ForkdException.class)
                .hasMessageContaining("outside");
    }

    @Test
    void name_of_a_template_is_that_of_a_snapshot() {
        assertThat(TemplateName.parse("a").snapshot().value()).isEqualTo("a");
        assertThat(TemplateName.parse("a:default").snapshot().value()).isEqualTo("a");
        assertThat(TemplateName.parse("a:v1").snapshot().value()).isEqualTo("a.v1");
        assertThat(TemplateName.parse("a:v1").toString()).isEqualTo("a:v1");
    }
}
