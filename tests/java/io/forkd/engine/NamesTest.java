package io.forkd.engine;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.sandbox.Naming;
import io.forkd.sandbox.Sandbox;
import io.forkd.vmm.MemoryVmm.Fault;
import io.forkd.vmm.MemoryVmm.Step;
import java.io.IOException;
import java.nio.file.Files;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Names and labels of sandboxes. */
class NamesTest {
    private static final Optional<String> NOBODY = Optional.empty();

    private World world;

    @BeforeEach
    void begin() throws IOException {
        world = new World();
        world.engine.snapshot(world.booting("base", false), World.call());
    }

    @AfterEach
    void end() throws IOException {
        world.close();
    }

    private static SpawnRequest named(String name) {
        return World.spawning("base", 1).called(new Naming(Optional.of(name), Map.of("for", name)));
    }

    private Sandbox spawn(String name) {
        return world.engine.spawn(named(name), World.call()).get(0);
    }

    private String id(String name) {
        return world.engine.sandboxes().id(NOBODY, name);
    }

    private void assertTaken(Runnable job) {
        assertThatThrownBy(job::run)
                .isInstanceOfSatisfying(
                        ForkdException.class, e -> assertThat(e.kind()).isEqualTo(Kind.CONFLICT))
                .hasMessageContaining("is that of the sandbox");
    }

    @Test
    void name_stands_for_the_id_as_long_as_it_is_there() throws Exception {
        Sandbox sandbox = spawn("web");
        assertThat(id("web")).isEqualTo(sandbox.id());
        assertThat(id("other")).isEqualTo("other");
        assertTaken(() -> spawn("web"));
        world.pause(sandbox.id());
        assertTaken(() -> spawn("web"));
        world.restart();
        assertThat(world.beside().sandboxes().id(NOBODY, "web")).isEqualTo(sandbox.id());
        Sandbox resumed = world.resume(sandbox.id());
        assertThat(resumed.naming()).isEqualTo(sandbox.naming());
        assertThat(id("web")).isEqualTo(sandbox.id());
        world.kill(world.engine, sandbox.id());
        assertThat(id("web")).isEqualTo("web");
        assertThat(spawn("web").id()).isNotEqualTo(sandbox.id());
    }

    @Test
    void name_of_one_that_has_ended_is_free_at_once() {
        Sandbox sandbox = spawn("web");
        world.vmm.killed(sandbox.pid());
        Sandbox next = spawn("web");
        assertThat(id("web")).isEqualTo(next.id());
    }

    @Test
    void name_is_free_again_when_its_sandbox_could_not_be_made() throws Exception {
        world.vmm.plan((number, step) -> step == Step.FORK ? new Fault.Fails(-5) : Fault.NONE);
        assertThatThrownBy(() -> spawn("web")).isInstanceOf(ForkdException.class);
        world.vmm.plan((number, step) -> Fault.NONE);
        assertThat(spawn("web").naming().name()).contains("web");
        world.killAll();
        world.engine.sweep();
        try (var left = Files.walk(world.paused().resolveSibling("names"))) {
            assertThat(left.filter(Files::isRegularFile).filter(file -> !file.endsWith(".lock")))
                    .isEmpty();
        }
    }

    @Test
    void one_of_many_that_want_a_name_at_once_has_it() {
        List<Sandbox> all = world.engine.spawn(World.spawning("base", 8), World.call());
        List<Engine> engines = List.of(world.engine, world.beside());
        List<Boolean> had = Parallel.map(IntStream.range(0, 16).boxed().toList(), i -> {
            try {
                if (i < 8) {
                    engines.get(i % 2).rename(all.get(i).id(), Optional.of("web"));
                } else {
                    engines.get(i % 2).spawn(named("web"), World.call());
                }
                return true;
            } catch (ForkdException e) {
                assertThat(e.kind()).isEqualTo(Kind.CONFLICT);
                return false;
            }
        });
        assertThat(had).containsOnlyOnce(true);
        assertThat(world.engine
                        .sandboxes()
                        .known()
                        .filter(sandbox -> sandbox.naming().name().isPresent()))
                .extracting(Sandbox::id)
                .containsExactly(id("web"));
    }

    @Test
    void what_it_is_called_can_be_changed() {
        Sandbox sandbox = spawn("web");
        world.engine.rename(sandbox.id(), Optional.of("db"));
        assertThat(id("db")).isEqualTo(sandbox.id());
        assertThat(id("web")).isEqualTo("web");
        spawn("web");
        assertTaken(() -> world.engine.rename(sandbox.id(), Optional.of("web")));
        world.pause(sandbox.id());
        world.engine.rename(sandbox.id(), Optional.empty());
        world.engine.label(
                sandbox.id(), Map.of("for", Optional.empty(), "tier", Optional.of("one"), "more", Optional.of("")));
        Sandbox resumed = world.resume(sandbox.id());
        assertThat(resumed.naming()).isEqualTo(new Naming(Optional.empty(), Map.of("tier", "one", "more", "")));
        assertThat(resumed.naming().has(Map.of("tier", Optional.of("one"), "more", Optional.empty())))
                .isTrue();
        assertThat(resumed.naming().has(Map.of("tier", Optional.of("two")))).isFalse();
        assertThat(resumed.naming().has(Map.of("none", Optional.empty()))).isFalse();
    }

    @ParameterizedTest
    @ValueSource(strings = {"", "sb-1", "a/b", "..", ".web", "-", "a b", "ü", "sb-00000000-00000000"})
    void others_are_no_names(String name) {
        assertThatThrownBy(() -> new Naming(Optional.of(name), Map.of()))
                .isInstanceOfSatisfying(
                        ForkdException.class, e -> assertThat(e.kind()).isEqualTo(Kind.USAGE));
        assertThat(id(name)).isEqualTo(name);
    }
}
