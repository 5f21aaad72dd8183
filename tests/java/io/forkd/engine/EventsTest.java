package io.forkd.engine;

import static org.assertj.core.api.Assertions.assertThat;

import io.forkd.engine.Events.Event;
import io.forkd.engine.Events.Kind;
import io.forkd.sandbox.Lifetime;
import io.forkd.sandbox.Sandbox;
import io.forkd.vmm.MemoryVmm.Fault;
import java.io.IOException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** What is heard of what happens, here and by others. */
class EventsTest {
    private static final Duration SOON = Duration.ofSeconds(30);

    private World world;
    private AutoCloseable following;

    @BeforeEach
    void begin() throws IOException {
        world = new World();
        world.engine.snapshot(world.booting("base", false), World.call());
        following = world.engine.follow();
    }

    @AfterEach
    void end() throws Exception {
        following.close();
        world.close();
    }

    private static String next(Events.Reader reader) throws InterruptedException {
        Event event = reader.next(SOON).orElseThrow();
        return event.kind().word() + " " + event.of() + " " + event.detail();
    }

    private Events.Reader reader() {
        return world.engine.events().reader(Optional.empty());
    }

    @Test
    void each_thing_that_happens_is_heard_once_and_in_order() throws Exception {
        Events.Reader reader = reader();
        Sandbox sandbox =
                world.engine.spawn(World.spawning("base", 1), World.call()).get(0);
        String id = sandbox.id();
        assertThat(next(reader)).isEqualTo("created " + id + " base");
        world.engine.branch(World.branching(id, "new", false, false), World.call());
        assertThat(next(reader)).isEqualTo("branched " + id + " new");
        assertThat(next(reader)).isEqualTo("snapshot_made new ");
        for (int i = 0; i < 10; i++) {
            world.pause(id);
            world.resume(id);
            assertThat(next(reader)).isEqualTo("paused " + id + " asked");
            assertThat(next(reader)).isEqualTo("resumed " + id + " ");
        }
        world.remove("new");
        assertThat(next(reader)).isEqualTo("snapshot_removed new ");
        Sandbox other =
                world.engine.spawn(World.spawning("base", 1), World.call()).get(0);
        assertThat(next(reader)).startsWith("created");
        world.engine.reset(other.id(), World.call());
        assertThat(next(reader)).isEqualTo("reset " + other.id() + " base");
        world.kill(world.engine, other.id());
        assertThat(next(reader)).startsWith("ended");
        world.kill(world.engine, id);
        assertThat(next(reader)).isEqualTo("ended " + id + " killed");
        world.engine.spawn(
                World.spawning("base", 1)
                        .living(Lifetime.of(Optional.of(Duration.ofSeconds(1)), Optional.empty(), false, false)),
                World.call());
        assertThat(next(reader)).startsWith("created");
        assertThat(next(reader)).startsWith("ended").endsWith(" timeout");
        assertThat(reader.next(Duration.ofMillis(300))).isEmpty();
    }

    @Test
    void the_end_of_a_process_that_was_paused_is_not_taken_for_that_of_the_one_that_was_resumed() throws Exception {
        String id = world.engine
                .spawn(World.spawning("base", 1), World.call())
                .get(0)
                .id();
        Events.Reader reader = reader();
        world.vmm.delayWatches(true);
        world.pause(id);
        assertThat(next(reader)).isEqualTo("paused " + id + " asked");
        world.resume(id);
        assertThat(next(reader)).isEqualTo("resumed " + id + " ");
        world.engine.sandboxes().find(id);
        CountDownLatch asked = new CountDownLatch(1);
        CountDownLatch again = new CountDownLatch(1);
        world.vmm.plan((number, step) -> {
            // Whoever is told of the end and asks how the sandbox is gets an answer when it is paused once more.
            if (Thread.currentThread().getName().equals("sandboxes")) {
                asked.countDown();
                awaitQuietly(again);
            }
            return Fault.NONE;
        });
        world.vmm.delayWatches(false);
        asked.await(1, TimeUnit.SECONDS);
        world.pause(id);
        again.countDown();
        assertThat(next(reader)).isEqualTo("paused " + id + " asked");
        world.resume(id);
        assertThat(next(reader)).isEqualTo("resumed " + id + " ");
        world.beside().pause(id, World.call());
        assertThat(next(reader)).isEqualTo("paused " + id + " by another process");
    }

    private static void awaitQuietly(CountDownLatch latch) {
        try {
            latch.await();
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    @Test
    void what_others_do_and_what_ends_by_itself_is_heard_too() throws Exception {
        Sandbox one =
                world.engine.spawn(World.spawning("base", 1), World.call()).get(0);
        Sandbox two =
                world.engine.spawn(World.spawning("base", 1), World.call()).get(0);
        Events.Reader reader = reader();
        world.vmm.killed(one.pid());
        assertThat(next(reader)).isEqualTo("ended " + one.id() + " its process ended");
        world.beside().pause(two.id(), World.call());
        assertThat(next(reader)).isEqualTo("paused " + two.id() + " by another process");
    }

    @Test
    void who_comes_back_hears_what_he_missed_or_that_it_is_lost() throws Exception {
        Events events = new Events();
        Events.Reader early = events.reader(Optional.empty());
        for (int i = 1; i <= 5000; i++) {
            events.happened(Kind.CREATED, "sb-" + i, Optional.empty(), "");
        }
        assertThat(early.next(SOON).orElseThrow().kind()).isEqualTo(Kind.LOST);
        List<Event> heard = new ArrayList<>();
        for (Optional<Event> event = early.next(Duration.ZERO); event.isPresent(); event = early.next(Duration.ZERO)) {
            heard.add(event.get());
        }
        assertThat(heard).hasSize(4096);
        assertThat(heard.get(4095).of()).isEqualTo("sb-5000");
        String cursor = events.cursor(heard.get(4000));
        assertThat(events.reader(Optional.of(cursor)).next(SOON).orElseThrow().of())
                .isEqualTo(heard.get(4001).of());
        for (String other : List.of("", "x", "0123456789ab-7", cursor + "0000")) {
            assertThat(events.reader(Optional.of(other))
                            .next(SOON)
                            .orElseThrow()
                            .kind())
                    .as(other)
                    .isEqualTo(Kind.LOST);
        }
        events.close();
        assertThat(events.reader(Optional.empty()).next(SOON)).isEmpty();
    }
}
