package io.forkd.http;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.Optional;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/** Calls may take days: who makes many of them must not keep all others waiting. */
class CallPoolTest {
    private static final Optional<String> ADMIN = Optional.empty();

    private final CallPool pool = new CallPool(8, 8);

    @AfterEach
    void stop() {
        pool.close();
    }

    private long admitted(Optional<String> user, int tries) {
        return IntStream.range(0, tries).filter(i -> pool.admit(user)).count();
    }

    @Test
    void one_user_has_half_and_all_of_them_three_quarters() {
        assertThat(admitted(Optional.of("anna"), 100)).isEqualTo(4);
        assertThat(admitted(Optional.of("bert"), 100)).isEqualTo(2);
        assertThat(admitted(Optional.of("carl"), 100)).isZero();
        assertThat(admitted(ADMIN, 100)).isEqualTo(10);
    }

    @Test
    void what_a_user_gives_back_is_everybodys() {
        assertThat(admitted(Optional.of("anna"), 100)).isEqualTo(4);
        pool.leave(Optional.of("anna"));
        assertThat(admitted(Optional.of("anna"), 100)).isEqualTo(1);
        IntStream.range(0, 4).forEach(i -> pool.leave(Optional.of("anna")));
        assertThat(admitted(ADMIN, 100)).isEqualTo(16);
        pool.leave(ADMIN);
        assertThat(pool.admit(Optional.of("bert"))).isTrue();
    }
}
