package io.forkd.engine;

import static org.assertj.core.api.Assertions.assertThat;

import io.forkd.Remedy;
import io.forkd.files.Trees;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class WorkDirectoryTest {
    @TempDir
    Path run;

    private final List<String> warnings = new ArrayList<>();
    private final Progress progress = new Progress() {
        @Override
        public void step(String what) {}

        @Override
        public void warn(String what, Remedy remedy) {
            warnings.add(what);
        }
    };

    @Test
    void files_are_kept_and_the_place_is_said() throws IOException {
        Files.writeString(run.resolve("console.log"), "hello");
        String name = "forkd-test-" + ProcessHandle.current().pid();
        Path kept = Path.of(System.getProperty("java.io.tmpdir"), name);
        try {
            WorkDirectory.keep(run, name, progress);
            assertThat(kept.resolve("console.log")).hasContent("hello");
            assertThat(warnings).containsExactly("kept " + kept);
        } finally {
            Trees.delete(kept);
        }
    }

    @Test
    void that_they_cannot_be_kept_is_said_and_nothing_more() {
        WorkDirectory.keep(run, "no-such-folder/forkd-test", progress);
        assertThat(warnings)
                .singleElement()
                .asString()
                .contains("is not kept in")
                .contains("no such file");
    }
}
