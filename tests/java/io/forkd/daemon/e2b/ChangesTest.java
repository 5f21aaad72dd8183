package io.forkd.daemon.e2b;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.forkd.agent.GuestChange;
import io.forkd.agent.GuestChange.What;
import io.forkd.agent.GuestPath;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** What a guest tells of a watched directory, as E2B's clients are told. */
class ChangesTest {
    private static GuestChange.At change(What what, String path, Optional<String> to) {
        return new GuestChange.At(what, GuestPath.of(path), to.map(GuestPath::of));
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', textBlock = """
                    CREATE     | /w/a   | a   | EVENT_TYPE_CREATE | true
                    WRITE      | /w/a/b | a/b | EVENT_TYPE_WRITE  | true
                    ATTRIBUTES | /w/a   | a   | EVENT_TYPE_CHMOD  | true
                    REMOVE     | /w/a   | a   | EVENT_TYPE_REMOVE | false
                    REMOVE     | /w     | .   | EVENT_TYPE_REMOVE | false
                    """)
    void change_has_a_name_from_what_is_watched_on(What what, String path, String name, String type, boolean there) {
        assertThat(Changes.of(GuestPath.of("/w"), change(what, path, Optional.empty())))
                .containsExactly(new Changes(
                        name, type, Optional.of(path).filter(any -> there).map(GuestPath::of)));
    }

    @Test
    void move_is_the_end_of_one_name_and_the_begin_of_another() {
        assertThat(Changes.of(GuestPath.of("/w"), change(What.MOVE, "/w/a", Optional.of("/w/d/b"))))
                .containsExactly(
                        new Changes("a", "EVENT_TYPE_RENAME", Optional.empty()),
                        new Changes("d/b", "EVENT_TYPE_CREATE", Optional.of(GuestPath.of("/w/d/b"))));
    }

    @ParameterizedTest
    @CsvSource({"/x/a", "/wa", "/w/../x"})
    void change_elsewhere_is_not_believed(String path) {
        assertThatThrownBy(() -> Changes.of(GuestPath.of("/w"), change(What.CREATE, path, Optional.empty())))
                .isInstanceOf(ConnectFailure.class);
    }
}
