package io.forkd;

import static org.assertj.core.api.Assertions.assertThat;

import io.forkd.engine.AgentSnapshot;
import io.forkd.engine.Engine;
import java.io.File;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/** The programs of docs/sdk-jvm.md print what stands below them. */
@Timeout(value = 2, unit = TimeUnit.MINUTES)
class JvmPageTest {
    private static final Pattern PROGRAM =
            Pattern.compile("```java\\n(.*?public class (\\w+) .*?)```\\n\\n```text\\n(.*?)```", Pattern.DOTALL);

    @TempDir
    static Path folder;

    private static Map<String, String> environment() {
        return Map.of(
                "XDG_DATA_HOME",
                folder.toString(),
                "XDG_RUNTIME_DIR",
                folder.toString(),
                "FORKD_SERVER_IDLE_SECS",
                "0",
                "FORKD_NET_RANGE",
                "none for tests");
    }

    @BeforeAll
    static void makeSnapshot() throws IOException, InterruptedException {
        AgentSnapshot.make(Engine.of(environment()), folder, "py");
    }

    static Stream<Arguments> programs() throws IOException {
        Matcher program = PROGRAM.matcher(Files.readString(Path.of("docs/sdk-jvm.md")));
        List<Arguments> all = program.results()
                .map(found -> Arguments.of(found.group(2), found.group(1), found.group(3)))
                .toList();
        assertThat(all).hasSize(2);
        return all.stream();
    }

    @ParameterizedTest(name = "{0}")
    @MethodSource("programs")
    void program_of_the_page_prints_what_the_page_says(String name, String source, String printed)
            throws IOException, InterruptedException {
        Path file = Files.writeString(folder.resolve(name + ".java"), source);
        String classes = System.getProperty("java.class.path");
        run("javac", "-cp", classes, "-d", folder.toString(), file.toString());
        assertThat(run("java", "-cp", classes + File.pathSeparator + folder, name))
                .isEqualTo(printed);
    }

    private static String run(String program, String... arguments) throws IOException, InterruptedException {
        Path tool = Path.of(System.getProperty("java.home"), "bin", program);
        ProcessBuilder builder = new ProcessBuilder(Stream.concat(Stream.of(tool.toString()), Stream.of(arguments))
                        .toList())
                .redirectErrorStream(true);
        builder.environment().putAll(environment());
        Process process = builder.start();
        String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        assertThat(process.waitFor()).as(output).isZero();
        return output;
    }
}
