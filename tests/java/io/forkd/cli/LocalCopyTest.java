package io.forkd.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.forkd.ForkdException;
import io.forkd.cli.Copy.Item;
import io.forkd.cli.Copy.Type;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.time.Instant;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Files as a guest tells of them that means no good. */
class LocalCopyTest {
    private static final Instant NOW = Instant.ofEpochSecond(1_500_000_000);

    @TempDir
    Path directory;

    private Path home;

    @BeforeEach
    void make_home() throws IOException {
        home = Files.createDirectory(directory.resolve("home"));
        Files.createDirectory(home.resolve(".ssh"));
        for (Path each : List.of(home, home.resolve(".ssh"))) {
            Files.setPosixFilePermissions(each, PosixFilePermissions.fromString("rwx------"));
        }
    }

    private static Item item(Type type, Instant modified, String... names) {
        return new Item(List.of(names), type, 1, 07777, 0, 0, modified, Optional.of("f"));
    }

    private static InputStream nothing() {
        return InputStream.nullInputStream();
    }

    private static String mode(Path path) throws IOException {
        return PosixFilePermissions.toString(Files.getPosixFilePermissions(path));
    }

    @Test
    void who_may_enter_a_directory_that_is_there_is_not_for_the_guest_to_say() throws IOException {
        try (LocalCopy.Sink sink = new LocalCopy.Sink(home, false)) {
            sink.take(item(Type.DIRECTORY, NOW), nothing());
            sink.take(item(Type.DIRECTORY, NOW, ".ssh"), nothing());
            sink.take(item(Type.DIRECTORY, NOW, "new"), nothing());
        }
        assertThat(mode(home)).isEqualTo("rwx------");
        assertThat(mode(home.resolve(".ssh"))).isEqualTo("rwx------");
        assertThat(mode(home.resolve("new"))).isEqualTo("rwxrwxrwx");
    }

    /** As far as a clock goes, and further than a disk's does. */
    @ParameterizedTest
    @ValueSource(longs = {Long.MIN_VALUE, -1, Long.MAX_VALUE})
    void a_file_may_be_of_any_age(long millis) throws IOException {
        Instant then = Instant.ofEpochMilli(millis);
        ByteArrayOutputStream tar = new ByteArrayOutputStream();
        for (Copy.Sink each : List.of(new LocalCopy.Sink(home, false), new TarCopy.Sink(tar, "home"))) {
            try (Copy.Sink sink = each) {
                sink.take(item(Type.DIRECTORY, then, "new"), nothing());
                sink.take(item(Type.FILE, then, "new", "f"), new ByteArrayInputStream(new byte[] {'x'}));
                sink.take(item(Type.SYMLINK, then, "link"), nothing());
            }
        }
        assertThat(home.resolve("new/f")).hasContent("x");
        assertThat(tar.size()).isPositive();
    }

    @Test
    void a_name_does_nothing_to_the_terminal_that_it_is_shown_on() throws IOException {
        String name = "\u001b]0;title\u0007\u009b2J\r";
        ByteArrayOutputStream screen = new ByteArrayOutputStream();
        try (LocalCopy.Sink sink = new LocalCopy.Sink(home, false);
                PrintStream to = new PrintStream(screen, true, StandardCharsets.UTF_8)) {
            sink.take(item(Type.FILE, NOW, name), nothing());
            assertThatThrownBy(() -> sink.take(item(Type.FILE, NOW, name, "f"), nothing()))
                    .isInstanceOfSatisfying(ForkdException.class, e -> Shell.print(e, false, to));
            new Screen(to, false).warn(name + " is left out");
            new Screen(to, false).step(name);
        }
        assertThat(screen.toString(StandardCharsets.UTF_8))
                .contains("]0;title")
                .doesNotContainPattern("[\\p{Cc}&&[^\\n]]");
    }
}
