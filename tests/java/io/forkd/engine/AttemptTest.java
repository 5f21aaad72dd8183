package io.forkd.engine;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.engine.Attempt.Failed;
import io.forkd.engine.Attempt.Made;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import org.junit.jupiter.api.Test;

class AttemptTest {
    private final List<Integer> asked = new ArrayList<>();
    private int room;
    private Kind kind = Kind.FAILED;

    /** All or none of so many. */
    private List<String> make(int count) {
        asked.add(count);
        if (count > room) {
            throw new ForkdException(kind, "there is room for " + room);
        }
        room -= count;
        return Collections.nCopies(count, "one");
    }

    @Test
    void all_are_made_together() {
        room = 3;
        assertThat(Attempt.each(3, this::make)).containsOnly(new Made<>("one")).hasSize(3);
        assertThat(asked).containsExactly(3);
    }

    @Test
    void as_many_are_made_as_can_be() {
        room = 2;
        List<Attempt<String>> attempts = Attempt.each(3, this::make);
        assertThat(attempts.subList(0, 2)).containsOnly(new Made<>("one"));
        assertThat(attempts.get(2))
                .isInstanceOfSatisfying(
                        Failed.class, failed -> assertThat(failed.why()).hasMessage("there is room for 0"));
        assertThat(asked).containsExactly(3, 1, 1, 1);
    }

    @Test
    void none_is_a_failure() {
        assertThatThrownBy(() -> Attempt.each(2, this::make)).hasMessage("there is room for 0");
        assertThat(asked).containsExactly(2, 1, 1);
    }

    @Test
    void what_would_be_wrong_again_is_not_tried_again() {
        kind = Kind.CONFLICT;
        assertThatThrownBy(() -> Attempt.each(2, this::make)).hasMessage("there is room for 0");
        assertThat(asked).containsExactly(2);
    }
}
