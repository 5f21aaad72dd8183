package io.forkd.engine;

import static org.assertj.core.api.Assertions.assertThat;

import io.forkd.sandbox.Sandbox;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** What is found of sandboxes of one call whose maker died on the way. */
class BatchTest {
    private World world;
    private List<Sandbox> made;
    private Path root;

    @BeforeEach
    void make() throws Exception {
        world = new World();
        world.engine.snapshot(world.booting("base", false), World.call());
        made = world.engine.spawn(World.spawning("base", 3), World.call());
        root = world.engine.runtime().sandboxes();
    }

    @AfterEach
    void end() throws Exception {
        world.close();
    }

    /** Takes the file's name away, as before it was placed. */
    private static void unplace(Sandbox sandbox) throws Exception {
        Files.move(Sandbox.file(sandbox.directory()), sandbox.directory().resolve(".sandbox.json"));
    }

    private List<String> ids() {
        return made.stream().map(Sandbox::id).sorted().toList();
    }

    private List<String> listed() {
        return world.sandboxes().stream().sorted().toList();
    }

    @Test
    void none_is_there_before_all_are() throws Exception {
        for (Sandbox sandbox : made) {
            unplace(sandbox);
        }
        world.engine.sweep();
        assertThat(listed()).isEmpty();
        world.assertLeft(List.of("base"), List.of());
    }

    @Test
    void all_are_there_once_the_note_is() throws Exception {
        List<String> lines = new ArrayList<>(ids());
        lines.add("no id");
        Files.write(root.resolve(".batch-" + made.get(0).id()), lines);
        unplace(made.get(1));
        unplace(made.get(2));
        world.engine.sweep();
        assertThat(listed()).isEqualTo(ids());
        assertThat(root.resolve(".batch-" + made.get(0).id())).doesNotExist();
        world.assertLeft(List.of("base"), ids());
    }

    @Test
    void a_note_that_names_nothing_goes() throws Exception {
        Files.write(root.resolve(".batch-sb-00000000"), List.of("sb-00000000", "../../etc"));
        world.engine.sweep();
        assertThat(root.resolve(".batch-sb-00000000")).doesNotExist();
        assertThat(listed()).isEqualTo(ids());
    }
}
