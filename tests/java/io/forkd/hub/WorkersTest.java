package io.forkd.hub;

import static org.assertj.core.api.Assertions.assertThat;

import io.forkd.image.QuietWork;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;

/** How much is in work at a time. */
class WorkersTest {
    private final AtomicInteger now = new AtomicInteger();
    private final AtomicInteger most = new AtomicInteger();

    private void give(Workers workers, int piece) {
        workers.give(piece, () -> {
            most.accumulateAndGet(now.incrementAndGet(), Math::max);
            try {
                Thread.sleep(50);
            } catch (InterruptedException e) {
                throw new IllegalStateException(e);
            }
            now.decrementAndGet();
        });
    }

    @Test
    void large_pieces_are_fewer_at_a_time_than_small_ones() {
        try (Workers workers = new Workers(new QuietWork())) {
            for (int i = 0; i < 12; i++) {
                give(workers, ChunkedFile.MOST_PIECE);
            }
            workers.finish();
            assertThat(most).hasValue(2);
            for (int i = 0; i < 12; i++) {
                give(workers, 1 << 20);
            }
            workers.finish();
            assertThat(most).hasValue(5);
        }
    }
}
