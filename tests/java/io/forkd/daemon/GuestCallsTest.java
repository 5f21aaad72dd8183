package io.forkd.daemon;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.forkd.http.HttpFailure;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.Test;

class GuestCallsTest {
    private static final Optional<String> NOBODY = Optional.empty();

    private final GuestCalls calls = new GuestCalls(256);

    /** Asks it, within those questions, until that is refused; returns how often it could, for it and those before. */
    private List<Integer> fill(int guest, int guests) {
        if (guest == guests) {
            return new ArrayList<>();
        }
        try {
            List<Integer> counts = calls.ask(NOBODY, "sb-" + guest, () -> fill(guest, guests));
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
        calls.ask(NOBODY, guest, () -> {
            fillThenAsk(guest);
            return true;
        });
    }

    /** Takes as many as the user may have, of as many guests as it likes. */
    private List<GuestCalls.Place> takeAll(String user) {
        List<GuestCalls.Place> taken = new ArrayList<>();
        for (int guest = 0; guest < 1000; guest++) {
            try {
                taken.add(calls.take(Optional.of(user), user + "-" + guest));
            } catch (HttpFailure refused) {
                assertThat(refused.status()).isEqualTo(503);
            }
        }
        return taken;
    }

    @Test
    void user_with_many_guests_leaves_half_to_others_and_users_leave_a_quarter_to_administrators() {
        List<GuestCalls.Place> annas = takeAll("anna");
        assertThat(annas).hasSize(96);
        assertThatThrownBy(() -> calls.take(Optional.of("anna"), "sb-1"))
                .hasMessageContaining("anna asks guests by 96");
        assertThat(takeAll("bert")).hasSize(48);
        assertThat(takeAll("carl")).isEmpty();
        assertThat(fill(0, 1)).isEqualTo(List.of(16));
        annas.forEach(GuestCalls.Place::close);
        annas.forEach(GuestCalls.Place::close);
        assertThat(takeAll("carl")).hasSize(96);
    }

    @Test
    void place_is_given_back_however_a_call_ends() {
        for (int i = 0; i < 1000; i++) {
            assertThatThrownBy(() -> calls.ask(NOBODY, "sb-1", () -> {
                        throw new IllegalStateException("as planned");
                    }))
                    .hasMessage("as planned");
        }
        assertThat(fill(0, 1)).isEqualTo(List.of(64));
    }
}
