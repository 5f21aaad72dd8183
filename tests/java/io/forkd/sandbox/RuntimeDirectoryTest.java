package io.forkd.sandbox;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.forkd.files.OwnedDirectory;
import io.forkd.files.Trees;
import java.io.IOException;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.List;
import java.util.Map;
import org.assertj.core.api.ThrowableAssert.ThrowingCallable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

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

    /** Somebody else has made it first, with links in place of what forkd makes there. */
    @ParameterizedTest
    @ValueSource(strings = {"foreign", "link", "open"})
    void directory_that_others_may_have_filled_is_not_even_read(String how) throws Exception {
        Path root = Files.createDirectory(temporary.resolve(how.equals("link") ? "elsewhere" : "forkd"));
        Files.createSymbolicLink(
                Files.createDirectory(root.resolve("sandboxes")).resolve(".lock"), temporary.resolve("made"));
        Files.createDirectory(root.resolve("fork-1-00000000"));
        switch (how) {
            case "foreign" -> Files.setAttribute(root, "unix:uid", 12345);
            case "link" -> Files.createSymbolicLink(temporary.resolve("forkd"), root);
            default -> Files.setPosixFilePermissions(root, PosixFilePermissions.fromString("rwxrwxrwx"));
        }
        for (ThrowingCallable use : List.<ThrowingCallable>of(
                () -> runtime().open("fork"),
                () -> runtime().sandboxes(),
                () -> runtime().list("sandboxes"),
                () -> runtime().leftovers(),
                () -> runtime().find("sb-00000000"))) {
            assertThatThrownBy(use)
                    .hasMessageContaining(temporary.resolve("forkd")
                            + (how.equals("open") ? " can be written to by others" : " belongs to somebody else"));
        }
        assertThat(temporary.resolve("made")).doesNotExist();
        assertThat(root.resolve("fork-1-00000000")).exists();
    }

    @Test
    void root_has_one_directory_whatever_session_it_has() throws IOException {
        Path session =
                RuntimeDirectory.of(Map.of("XDG_RUNTIME_DIR", "/run/user/0")).root();
        Path none = RuntimeDirectory.of(Map.of()).root();
        if (Trees.ourUid() == 0) {
            assertThat(session).isEqualTo(none).isEqualTo(Path.of("/run/forkd"));
        } else {
            assertThat(session).isEqualTo(Path.of("/run/user/0/forkd"));
            assertThat(none).isEqualTo(Path.of("/tmp/forkd-" + Trees.ourUid()));
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
            Path first = Files.createFile(RuntimeDirectory.socket(one.path(), "py-1"));
            Path second = Files.createFile(RuntimeDirectory.socket(two.path(), "py-1"));
            assertThatThrownBy(() -> runtime().find("py-1"))
                    .hasMessageContaining("several")
                    .hasMessageContaining(first.toString())
                    .hasMessageContaining(second.toString());
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

    @Test
    void longest_socket_path_can_be_connected_to(@TempDir Path run) throws IOException {
        int longest = RuntimeDirectory.MAX_SOCKET_PATH - run.toString().length() - "/.vsock".length();
        UnixDomainSocketAddress address = UnixDomainSocketAddress.of(RuntimeDirectory.socket(run, "x".repeat(longest)));
        try (ServerSocketChannel server = ServerSocketChannel.open(StandardProtocolFamily.UNIX);
                SocketChannel client = SocketChannel.open(StandardProtocolFamily.UNIX)) {
            server.bind(address);
            assertThat(client.connect(address)).isTrue();
        }
    }
}
