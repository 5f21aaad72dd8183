package io.forkd.http;

import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.forkd.http.HeldInput.Place;
import java.util.Optional;
import org.junit.jupiter.api.Test;

class HeldInputTest {
    private final HeldInput input = new HeldInput(100, "there is too much of it");

    private Place hold(String user, long bytes) {
        return input.hold(user.isEmpty() ? Optional.empty() : Optional.of(user), bytes);
    }

    private void requireNone(String user, long bytes) {
        assertThatThrownBy(() -> hold(user, bytes))
                .isInstanceOfSatisfying(
                        HttpFailure.class,
                        e -> org.assertj.core.api.Assertions.assertThat(e.status())
                                .isEqualTo(503));
    }

    @Test
    void user_has_half_of_the_room_and_users_leave_a_quarter() {
        Place annas = hold("anna", 50);
        requireNone("anna", 1);
        hold("anna", 0);
        hold("bert", 25);
        requireNone("carl", 1);
        hold("", 25);
        requireNone("", 1);
        annas.close();
        annas.close();
        hold("carl", 50);
        requireNone("dora", 1);
    }
}
