package io.forkd.engine;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.forkd.ForkdException;
import io.forkd.sandbox.Sandbox;
import io.forkd.vmm.MemoryVmm.Fault;
import io.forkd.vmm.MemoryVmm.Step;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** Sandboxes that are forked of one that runs. */
class LiveForkTest {
    private World world;
    private Sandbox source;

    @BeforeEach
    void begin() throws IOException {
        world = new World();
        world.engine.snapshot(world.booting("base", false), World.call());
        source = world.engine.spawn(World.spawning("base", 1), World.call()).get(0);
        World.set(source, "worked");
    }

    @AfterEach
    void end() throws IOException {
        world.close();
    }

    private List<Sandbox> fork(int count) {
        return world.engine.fork(source.id(), World.spawning("none", count), World.call());
    }

    private List<String> left() throws IOException {
        Path forks = world.paused().resolveSibling("forks");
        if (!Files.exists(forks)) {
            return List.of();
        }
        try (Stream<Path> entries = Files.list(forks)) {
            return entries.map(entry -> entry.getFileName().toString())
                    .filter(name -> !name.equals(".lock"))
                    .toList();
        }
    }

    @Test
    void they_begin_where_it_is_and_go_on_by_themselves() throws Exception {
        List<Sandbox> made = fork(3);
        assertThat(made).extracting(sandbox -> World.text(sandbox.vsock())).containsOnly("worked");
        assertThat(made).extracting(Sandbox::snapshot).containsOnly(source.snapshot());
        World.set(made.get(0), "other");
        assertThat(World.text(source.vsock())).isEqualTo("worked");
        assertThat(World.text(made.get(1).vsock())).isEqualTo("worked");
        world.vmm.awaitWriters();
        assertThat(left()).isEmpty();
        world.kill(world.engine, source.id());
        assertThat(made)
                .extracting(sandbox -> World.text(sandbox.vsock()))
                .containsExactly("other", "worked", "worked");
        world.pause(made.get(0).id());
        assertThat(World.text(world.resume(made.get(0).id()).vsock())).isEqualTo("other");
        List<String> ids = made.stream().map(Sandbox::id).toList();
        world.assertLeft(Set.of("base"), ids);
    }

    @Test
    void all_are_there_or_none_whatever_goes_wrong() throws Exception {
        boolean more = true;
        for (int at = 1; more; at++) {
            List<Step> hit = new ArrayList<>();
            int step = at;
            world.vmm.plan((number, what) -> {
                if (number == step) {
                    hit.add(what);
                }
                return number == step && what != Step.AGENT ? new Fault.Fails(-5) : Fault.NONE;
            });
            List<String> ids = new ArrayList<>(List.of(source.id()));
            try {
                fork(2).forEach(sandbox -> ids.add(sandbox.id()));
                assertThat(ids).hasSize(3);
            } catch (ForkdException e) {
                assertThat(hit).isNotEmpty();
            }
            world.vmm.awaitWriters();
            more = !hit.isEmpty();
            world.vmm.plan((number, what) -> Fault.NONE);
            world.engine.sweep(); // What could not be given up at once.
            String what = "step " + at + ", " + hit;
            assertThat(world.sandboxes()).as(what).containsExactlyInAnyOrderElementsOf(ids);
            assertThat(left()).as(what).isEmpty();
            ids.stream().skip(1).forEach(id -> world.kill(world.engine, id));
            world.assertLeft(Set.of("base"), Set.of(source.id()));
        }
    }

    @Test
    void what_one_left_that_was_killed_is_given_up() throws Exception {
        Path forks = Files.createDirectories(world.paused().resolveSibling("forks"));
        world.engine.branch(World.branching(source.id(), "branch", false, false), World.call());
        Path left = forks.resolve("fork-0123456789abcdef");
        Files.move(world.engine.store().directory(World.tag("branch")), left);
        world.engine.sweep();
        assertThat(left()).as("it may be in use").hasSize(1);
        Files.setLastModifiedTime(left, FileTime.from(Instant.now().minusSeconds(120)));
        world.engine.sweep();
        assertThat(left()).isEmpty();
    }

    @Test
    void one_that_is_paused_is_not_forked() {
        world.pause(source.id());
        assertThatThrownBy(() -> fork(1)).isInstanceOf(ForkdException.class).hasMessageContaining("is paused");
    }
}
