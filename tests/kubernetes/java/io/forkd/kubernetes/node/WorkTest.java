package io.forkd.kubernetes.node;

import static org.junit.jupiter.api.Assertions.assertTrue;

import java.time.Duration;
import java.util.Optional;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;

/** How often something is looked at. */
class WorkTest {
    @Test
    void ofAThingThatWasLookedAtOftenOneLookIsToCome() throws Exception {
        AtomicInteger looks = new AtomicInteger();
        Work<String> work = new Work<>(2, key -> {
            looks.incrementAndGet();
            return Optional.of(Duration.ofMillis(500));
        });
        for (int i = 0; i < 20; i++) {
            work.add("one");
            Thread.sleep(10);
        }
        looks.set(0);
        Thread.sleep(1700);
        assertTrue(looks.get() >= 1 && looks.get() <= 4, looks + " looks in 1.7 s, of one each 0.5 s");
    }
}
