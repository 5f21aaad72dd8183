package io.forkd;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.regex.MatchResult;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;

/** What docs/threat-model.md says is shown is shown: each test that it names, with its file, is there. */
class ThreatModelTest {
    private static final Pattern NAMED =
            Pattern.compile("`([a-z_]+_(?:test|fuzz)\\.c|[A-Z][A-Za-z0-9]*Test)(?: ([a-z0-9_]+))?`");

    @Test
    void every_test_that_it_names_exists() throws IOException {
        Map<String, List<Path>> files;
        try (Stream<Path> all = Files.walk(Path.of("tests"))) {
            files = all.filter(file ->
                            file.toString().endsWith(".c") || file.toString().endsWith("Test.java"))
                    .collect(Collectors.groupingBy(
                            file -> String.valueOf(file.getFileName()).replace(".java", "")));
        }
        List<MatchResult> named = NAMED.matcher(Files.readString(Path.of("docs/threat-model.md")))
                .results()
                .toList();
        assertThat(named).hasSizeGreaterThan(40);
        for (MatchResult test : named) {
            List<Path> there = files.getOrDefault(test.group(1), List.of());
            assertThat(there).as(test.group()).isNotEmpty();
            String name = test.group(2);
            if (name != null) {
                assertThat(there)
                        .as(test.group())
                        .anySatisfy(file -> assertThat(Files.readString(file)).containsPattern("\\b" + name + "\\("));
            }
        }
    }
}
