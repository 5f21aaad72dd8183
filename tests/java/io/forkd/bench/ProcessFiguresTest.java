package io.forkd.bench;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.forkd.ForkdException;
import org.junit.jupiter.api.Test;

class ProcessFiguresTest {
    private final int us = (int) ProcessHandle.current().pid();

    @Test
    void our_own_process_has_memory_and_has_used_time() {
        assertThat(ProcessFigures.pssKib(us)).isPositive();
        assertThat(ProcessFigures.privateKib(us)).isPositive();
        assertThat(ProcessFigures.cpuMillis(us)).isPositive();
        assertThat(ProcessFigures.guestFaults(us)).isPositive();
        assertThat(ProcessFigures.availableKib()).isPositive();
        assertThat(ProcessFigures.processor()).isNotEmpty();
    }

    @Test
    void a_process_that_is_gone_is_said_to_be() {
        assertThatThrownBy(() -> ProcessFigures.pssKib(Integer.MAX_VALUE))
                .isInstanceOf(ForkdException.class)
                .hasMessageContaining("has the child ended?");
    }
}
