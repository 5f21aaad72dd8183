package io.forkd.daemon.e2b;

import static org.assertj.core.api.Assertions.assertThat;

import io.forkd.agent.GuestProcess.Position;
import io.forkd.agent.ProcessName;
import java.util.Optional;
import org.junit.jupiter.api.Test;

class ProcessMemoryTest {
    @Test
    void tag_that_no_honest_guest_tells_is_not_kept() {
        ProcessMemory memory = new ProcessMemory();
        for (int length : new int[] {128, 129}) {
            String tag = "x".repeat(length);
            memory.begin("sb", length, Optional.of(tag), Position.START, true);
            assertThat(memory.position("sb", new ProcessName.Tag(tag)).isPresent())
                    .isEqualTo(length == 128);
            assertThat(memory.position("sb", new ProcessName.Pid(length))).contains(Position.START);
        }
    }
}
