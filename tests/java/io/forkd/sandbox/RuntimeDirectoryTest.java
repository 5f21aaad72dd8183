package io.forkd.sandbox;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.forkd.files.OwnedDirectory;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class RuntimeDirectoryTest {
    @TempDir
    Path temporary;

    private RuntimeDirectory runtime() {
        return RuntimeDirectory.of(Map.of("XDG_RUNTIME_DIR", temporary.toString()));
    }

    @Test
    void directory_is_closed_to_others() throws IOException {
        try (OwnedDirectory run = runtime().open("fork")) {
            assertThat(PosixFilePermissions.toString(Files.getPosixFilePermissions(temporary.resolve("forkd"))))
                    .isEqualTo("rwx------");
            assertThat(run.path().getFileName().toString())
                    .startsWith("fork-" + ProcessHandle.current().pid() + "-");
        }
    }

    @Test
    void running_child_is_found_by_its_name() throws IOException {
        try (OwnedDirectory run = runtime().open("fork")) {
            Path socket = Files.createFile(RuntimeDirectory.socket(run.path(), "py-1"));
            assertThat(runtime().find("py-1")).isEqualTo(socket);
            assertThatThrownBy(() -> runtime().find("py-2"))
                    .hasMessageContaining("no running child or sandbox is called 'py-2'");
            assertThatThrownBy(() -> runtime().find("../x/py-1")).hasMessageContaining("no running child");
        }
        assertThatThrownBy(() -> runtime().find("py-1")).hasMessageContaining("no running child");
    }

    @Test
    void name_of_two_children_is_ambiguous() throws IOException {
        try (OwnedDirectory one = runtime().open("fork");
                OwnedDirectory two = runtime().open("fork")) {
            Files.createFile(RuntimeDirectory.socket(one.path(), "py-1"));
            Files.createFile(RuntimeDirectory.socket(two.path(), "py-1"));
            assertThatThrownBy(() -> runtime().find("py-1"))
                    .hasMessageContaining("several")
                    .hasMessageContaining("unix:");
        }
    }

    @Test
    void longest_name_fits_the_socket_address_and_one_more_does_not() {
        Path run = Path.of("/run/user/1000/forkd/fork-1-00000000");
        int longest = RuntimeDirectory.MAX_SOCKET_PATH - run.toString().length() - "/.vsock".length();
        assertThat(RuntimeDirectory.socket(run, "x".repeat(longest)).toString())
                .hasSize(RuntimeDirectory.MAX_SOCKET_PATH);
        assertThatThrownBy(() -> RuntimeDirectory.socket(run, "x".repeat(longest + 1)))
                .hasMessageContaining("too long");
        assertThat(RuntimeDirectory.maxNameLength(run)).isEqualTo(Math.min(63, longest));
    }
}
