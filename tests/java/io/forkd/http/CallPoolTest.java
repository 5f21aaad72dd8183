package io.forkd.http;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.Optional;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
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

    @Test
    void as_many_handlers_run_at_once_as_there_are_places_and_what_comes_after_them_needs_none() throws Exception {
        Semaphore begun = new Semaphore(0);
        CountDownLatch handled = new CountDownLatch(1);
        CountDownLatch sent = new CountDownLatch(1);
        CountDownLatch all = new CountDownLatch(16);
        for (int i = 0; i < 16; i++) {
            pool.run(() -> {
                begun.release();
                await(handled);
                return () -> {
                    all.countDown();
                    await(sent);
                };
            });
        }
        assertThat(begun.tryAcquire(8, 30, TimeUnit.SECONDS)).isTrue();
        assertThat(begun.tryAcquire(100, TimeUnit.MILLISECONDS)).isFalse();
        handled.countDown();
        assertThat(all.await(30, TimeUnit.SECONDS)).isTrue();
        sent.countDown();
    }

    @Test
    void a_handler_that_fails_leaves_its_place() throws Exception {
        CountDownLatch ran = new CountDownLatch(1);
        for (int i = 0; i < 8; i++) {
            pool.run(() -> {
                throw new IllegalStateException("of the test");
            });
        }
        pool.run(() -> {
            ran.countDown();
            return () -> {};
        });
        assertThat(ran.await(30, TimeUnit.SECONDS)).isTrue();
    }

    private static void await(CountDownLatch latch) {
        try {
            latch.await();
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }
}
