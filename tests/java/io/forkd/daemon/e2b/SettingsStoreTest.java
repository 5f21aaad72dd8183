package io.forkd.daemon.e2b;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.forkd.ForkdException;
import io.forkd.files.Trees;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.util.Map;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import tools.jackson.databind.node.JsonNodeFactory;

class SettingsStoreTest {
    private static final String ID = "sb-00000000-00000000";

    @TempDir
    Path directory;

    private static Settings settings(String token) {
        return new Settings(
                Optional.of("anna"),
                "py",
                token,
                Optional.empty(),
                Map.of("a", "b"),
                Defaults.NONE,
                300,
                JsonNodeFactory.instance.objectNode(),
                Optional.of(false),
                Instant.EPOCH);
    }

    @Test
    void what_is_written_is_found() {
        SettingsStore store = new SettingsStore(directory);
        store.put(ID, settings("one"), true);
        assertThat(store.find(ID)).contains(settings("one"));
        assertThat(store.idOf("one"::equals)).contains(ID);
    }

    @Test
    void what_has_ended_is_not_changed_into_life() {
        SettingsStore store = new SettingsStore(directory);
        store.put(ID, settings("one"), false);
        store.forget(ID);
        store.change(ID, now -> settings("two"), false);
        assertThat(store.find(ID)).isEmpty();
        assertThat(store.idOf(any -> true)).isEmpty();
        assertThat(directory).isEmptyDirectory();
    }

    @Test
    void one_that_is_damaged_keeps_no_other_from_being_known() throws IOException {
        new SettingsStore(directory).put(ID, settings("one"), false);
        String damaged = "sb-00000000-00000001";
        Files.createFile(directory.resolve(damaged + ".json"));
        SettingsStore store = new SettingsStore(directory);
        store.sweep(id -> true);
        assertThat(store.idOf("one"::equals)).contains(ID);
        assertThatThrownBy(() -> store.find(damaged)).hasMessageContaining("damaged");
    }

    @Test
    void nothing_is_left_of_what_cannot_be_written() throws IOException {
        Path taken = Files.createDirectories(directory.resolve(ID + ".json").resolve("full"));
        assertThatThrownBy(() -> new SettingsStore(directory).put(ID, settings("one"), false))
                .isInstanceOf(ForkdException.class);
        assertThat(Trees.list(directory)).containsExactly(taken.getParent());
    }
}
