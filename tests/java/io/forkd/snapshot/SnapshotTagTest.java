package io.forkd.snapshot;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class SnapshotTagTest {
    @ParameterizedTest
    @ValueSource(strings = {"a", "_", "0", "py-3.12", "A_b.c-d", "a..", "a-", "-a", "-"})
    void tag_of_the_rule_is_taken(String tag) {
        assertThat(new SnapshotTag(tag)).hasToString(tag);
    }

    @ParameterizedTest
    @CsvSource({
        "'', it is empty",
        ".a, it must begin",
        "../a, it must begin",
        "/a, it must begin",
        "a/b, '/' is not allowed",
        "a b, ' ' is not allowed",
        "ä, it must begin",
        "aé, is not allowed",
    })
    void other_tag_is_refused_with_its_reason(String tag, String reason) {
        assertThatThrownBy(() -> new SnapshotTag(tag))
                .isInstanceOfSatisfying(
                        ForkdException.class, e -> assertThat(e.kind()).isEqualTo(Kind.USAGE))
                .hasMessageContaining(reason);
    }

    @ParameterizedTest
    @ValueSource(ints = {64, 65})
    void the_limit_is_64_characters(int length) {
        String tag = "a".repeat(length);
        if (length == 64) {
            assertThat(new SnapshotTag(tag).value()).hasSize(64);
        } else {
            assertThatThrownBy(() -> new SnapshotTag(tag)).hasMessageContaining("it has 65 characters");
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"a\n", "a\0"})
    void control_characters_are_shown_as_their_numbers(String tag) {
        assertThatThrownBy(() -> new SnapshotTag(tag)).hasMessageContaining("\\u00");
    }
}
