package io.forkd.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Processes whose environment is not this one's. */
class LocalesTest {
    @TempDir
    Path scratch;

    private record Ended(int status, String out, String err) {}

    private Ended run(Map<String, String> environment, String... arguments) throws IOException, InterruptedException {
        List<String> command = new ArrayList<>(List.of(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "-XX:TieredStopAtLevel=1",
                "-cp",
                System.getProperty("java.class.path"),
                Main.class.getName()));
        command.addAll(List.of(arguments));
        ProcessBuilder builder = new ProcessBuilder(command);
        builder.environment().keySet().removeIf(name -> !name.equals("PATH"));
        builder.environment().put("XDG_RUNTIME_DIR", scratch.toString());
        builder.environment().putAll(environment);
        Process process = builder.start();
        process.getOutputStream().close();
        String out = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        String err = new String(process.getErrorStream().readAllBytes(), StandardCharsets.UTF_8);
        return new Ended(process.waitFor(), out, err);
    }

    @Test
    void arguments_are_read_as_they_were_given() throws Exception {
        Map<String, String> environment = Map.of("LC_ALL", "C", "XDG_DATA_HOME", scratch.toString());
        assertThat(run(environment, "kill", "größe→"))
                .isEqualTo(new Ended(1, "", "Error: there is no sandbox 'größe→'\nforkd ls lists those that run.\n"));
    }

    @Test
    void home_that_the_locale_cannot_name_is_refused_with_a_remedy() throws Exception {
        Ended ended = run(Map.of("LC_ALL", "C", "HOME", "/höme"), "where");
        assertThat(ended.status()).isEqualTo(1);
        assertThat(ended.err()).contains("/höme").contains("LC_ALL=C.UTF-8");
        assertThat(run(Map.of("LC_ALL", "C.UTF-8", "HOME", "/höme"), "where"))
                .isEqualTo(new Ended(0, "/höme/.local/share/forkd\n", ""));
    }

    @Test
    void without_home_the_user_database_says_where_it_is() throws Exception {
        String home = new String(
                        new ProcessBuilder("sh", "-c", "getent passwd \"$(id -u)\" | cut -d: -f6")
                                .start()
                                .getInputStream()
                                .readAllBytes(),
                        StandardCharsets.UTF_8)
                .strip();
        assertThat(run(Map.of(), "where")).isEqualTo(new Ended(0, home + "/.local/share/forkd\n", ""));
    }
}
