package io.forkd.daemon;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.forkd.http.HttpFailure;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;

class GuestCallsTest {
    private final GuestCalls calls = new GuestCalls(256);

    /** Asks it, within those questions, until that is refused; returns how often it could, for it and those before. */
    private List<Integer> fill(int guest, int guests) {
        if (guest == guests) {
            return new ArrayList<>();
        }
        try {
            List<Integer> counts = calls.ask("sb-" + guest, () -> fill(guest, guests));
            counts.set(0, counts.get(0) + 1);
            return counts;
        } catch (HttpFailure refused) {
            assertThat(refused.status()).isEqualTo(503);
            List<Integer> counts = fill(guest + 1, guests);
            counts.add(0, 0);
            return counts;
        }
    }

    @Test
    void one_guest_has_a_quarter_of_the_threads_and_each_further_one_some() {
        assertThat(fill(0, 1)).isEqualTo(List.of(64));
        assertThat(fill(0, 6)).isEqualTo(List.of(64, 43, 29, 19, 13, 8));
    }

    @Test
    void all_guests_leave_a_quarter_to_calls_that_ask_none() {
        assertThat(fill(0, 100).stream().mapToInt(Integer::intValue).sum()).isEqualTo(192);
    }

    @Test
    void refusal_names_the_sandbox_only_if_it_is_its_own_doing() {
        assertThatThrownBy(() -> fillThenAsk("sb-0")).hasMessageContaining("sandbox sb-0 is asked by 64 calls");
    }

    private void fillThenAsk(String guest) {
        calls.ask(guest, () -> {
            fillThenAsk(guest);
            return true;
        });
    }

    @Test
    void place_is_given_back_however_a_call_ends() {
        for (int i = 0; i < 1000; i++) {
            assertThatThrownBy(() -> calls.ask("sb-1", () -> {
                        throw new IllegalStateException("as planned");
                    }))
                    .hasMessage("as planned");
        }
        assertThat(fill(0, 1)).isEqualTo(List.of(64));
    }
}
