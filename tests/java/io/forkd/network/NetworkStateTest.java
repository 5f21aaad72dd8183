package io.forkd.network;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.forkd.ForkdException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class NetworkStateTest {
    @TempDir
    Path folder;

    @Test
    void what_is_in_use_is_kept() {
        NetworkState state = NetworkState.read(folder.resolve("state"));
        state.give(3, Path.of("/run/forkd/a sandbox"));
        state.write();

        assertThat(NetworkState.read(folder.resolve("state")).used()).containsEntry(3, "/run/forkd/a sandbox");
    }

    @Test
    void who_only_looks_writes_nothing() throws IOException {
        Path file = folder.resolve("state");
        Files.writeString(file, "pool 2\nnet 1 -\n");
        Files.createDirectory(folder.resolve(".state")); // where it would be written first

        NetworkState state = NetworkState.read(file);
        state.write();
        state.give(1, Path.of("/run/forkd/one"));

        assertThatThrownBy(state::write).isInstanceOf(ForkdException.class);
        assertThat(file).hasContent("pool 2\nnet 1 -\n");
    }

    @Test
    void where_there_is_nothing_to_tell_nothing_is_left_of_a_writer_that_was_killed() throws IOException {
        Path file = folder.resolve("state");
        Files.writeString(file, "net 1 /run/forkd/gone\n");
        Files.writeString(folder.resolve(".state"), "net 1 /run/for");

        NetworkState state = NetworkState.read(file);
        state.remove(1);
        state.write();

        assertThat(folder).isEmptyDirectory();
    }
}
