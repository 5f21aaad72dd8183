package io.forkd.cli;

import static org.assertj.core.api.Assertions.assertThat;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.Remedy;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeSet;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import picocli.CommandLine;

/** Verbs and options are words of the command line. The engine, which a daemon's clients use as well, has none. */
class WordsTest {
    private static final Path SOURCES = Path.of("java/io/forkd");

    /** What mount(8), unshare(1) and systemd-run(1) are given, which is called as one of ours. */
    private static final Map<String, Set<String>> OF_OTHERS =
            Map.of("rootfs/ExtraPackages.java", Set.of("--bind", "--user"), "cgroup/Tree.java", Set.of("--user"));

    private static final Pattern OPTION = Pattern.compile("(?<![\\w-])--[a-z][a-z-]*");
    private static final Pattern VERB = Pattern.compile("(?<![\\w-])forkd ([a-z][a-z-]*)");

    /** Comments and character literals are matched as well, so that no quote in them begins a string. */
    private static final Pattern LITERAL = Pattern.compile(
            "/\\*.*?\\*/|//[^\\n]*|'(?:\\\\.|[^'\\\\])+'|\"\"\"(?<block>.*?)\"\"\"|\"(?<text>(?:\\\\.|[^\"\\\\\\n])*)\"",
            Pattern.DOTALL);

    private final ByteArrayOutputStream out = new ByteArrayOutputStream();
    private final ByteArrayOutputStream err = new ByteArrayOutputStream();
    private final Shell shell =
            Shell.of(new PrintStream(out), new PrintStream(err), false, Map.of("XDG_DATA_HOME", "/nonexistent"));
    private final Set<String> options = new TreeSet<>();
    private final Set<String> verbs = new TreeSet<>();

    WordsTest() {
        CommandLine root = Main.commandLine(shell);
        verbs.addAll(root.getSubcommands().keySet());
        Deque<CommandLine> all = new ArrayDeque<>(List.of(root));
        while (!all.isEmpty()) {
            CommandLine command = all.pop();
            command.getCommandSpec().options().forEach(option -> options.addAll(List.of(option.names())));
            all.addAll(command.getSubcommands().values());
        }
    }

    /** Packages that are not below it; an agent of Kubernetes runs its verbs, and has options of its own. */
    private static final List<String> ABOVE = List.of("cli", "bench", "kubernetes");

    /** The options and verbs of ours that a text has. */
    private Set<String> words(String text) {
        return Stream.concat(
                        OPTION.matcher(text)
                                .results()
                                .map(found -> found.group())
                                .filter(options::contains),
                        VERB.matcher(text)
                                .results()
                                .filter(found -> verbs.contains(found.group(1)))
                                .map(found -> found.group()))
                .collect(Collectors.toCollection(TreeSet::new));
    }

    private static List<String> literals(String source) {
        List<String> literals = new ArrayList<>();
        Matcher matcher = LITERAL.matcher(source.replaceAll("\"\\s*\\+\\s*\"", ""));
        while (matcher.find()) {
            Optional.ofNullable(matcher.group("block"))
                    .or(() -> Optional.ofNullable(matcher.group("text")))
                    .ifPresent(literals::add);
        }
        return literals;
    }

    @Test
    void nothing_below_the_command_line_speaks_its_words() throws IOException {
        List<String> found = new ArrayList<>();
        try (Stream<Path> files = Files.walk(SOURCES)) {
            for (Path file : files.filter(file -> file.toString().endsWith(".java"))
                    .filter(file -> ABOVE.stream().noneMatch(each -> file.startsWith(SOURCES.resolve(each))))
                    .toList()) {
                for (String literal : literals(Files.readString(file))) {
                    Set<String> words = words(literal);
                    words.removeAll(
                            OF_OTHERS.getOrDefault(SOURCES.relativize(file).toString(), Set.of()));
                    words.forEach(word -> found.add(file + ": " + word + " in: " + literal));
                }
            }
        }
        assertThat(found).as("options and verbs, for which there is Remedy").isEmpty();
    }

    private static Stream<Remedy> remedies() {
        return Stream.concat(
                Stream.of(Remedy.Action.values()),
                Stream.of(
                        new Remedy.ListOrMakeSnapshot("t"),
                        new Remedy.ReplaceSnapshot("t"),
                        new Remedy.RetakeSnapshot("t"),
                        new Remedy.EndSandbox("sb-1"),
                        new Remedy.EndSandboxes(List.of("sb-1", "sb-2"), true),
                        new Remedy.DetachImage(Optional.of("sb-1"), true),
                        new Remedy.MountAgain("sb-1"),
                        new Remedy.LongerBoot("panic"),
                        new Remedy.ImageOfSize(64),
                        new Remedy.ChoosePlatform("linux/arm64"),
                        new Remedy.ChooseSocket(List.of(Path.of("/a"), Path.of("/b")))));
    }

    @Test
    void remedies_name_only_what_the_command_line_has() {
        assertThat(remedies()).allSatisfy(remedy -> {
            String text = Remedies.warning("", remedy);
            assertThat(words(text)).isNotEmpty();
            assertThat(options)
                    .containsAll(OPTION.matcher(text)
                            .results()
                            .map(found -> found.group())
                            .toList());
            assertThat(verbs)
                    .containsAll(VERB.matcher(text)
                            .results()
                            .map(found -> found.group(1))
                            .toList());
        });
    }

    /** Of words that are to be copied none is the last: a full stop may be part of a tag. */
    @Test
    void remedies_are_sentences() {
        assertThat(remedies()).allSatisfy(remedy -> {
            String line = Remedies.remedy(new ForkdException(Kind.FAILED, "it is so", remedy));
            if (!line.isEmpty() && !(remedy instanceof Remedy.LongerBoot)) {
                assertThat(line).endsWith(".").doesNotMatch(".*( sb-1| sb-2| t)\\..*");
                // Each of several begins as one does.
                assertThat(line.split("(?<=[^.]\\.) "))
                        .allSatisfy(sentence -> assertThat(sentence).matches("([A-Z]|forkd |kill -|--).*\\."));
            }
        });
    }

    private String said(Remedy remedy, boolean json) {
        err.reset();
        shell.fail(new ForkdException(Kind.FAILED, "it is so", remedy), json);
        return err.toString(StandardCharsets.UTF_8);
    }

    @Test
    void error_has_its_remedy_on_a_line_of_its_own() {
        assertThat(said(Remedy.NONE, false)).isEqualTo("Error: it is so\n");
        assertThat(said(new Remedy.Advice("Try again."), false)).isEqualTo("Error: it is so\nTry again.\n");
        assertThat(said(new Remedy.EndSandboxes(List.of("sb-1", "sb-2"), true), false))
                .isEqualTo("Error: it is so\nforkd kill sb-1 sb-2 ends them. Or give --force: they keep running.\n");
        assertThat(said(Remedy.Action.LIST_SANDBOXES, true))
                .isEqualTo("{\"error\":{\"code\":\"failed\",\"message\":\"it is so\","
                        + "\"remedy\":\"forkd ls lists those that run.\"}}\n");
    }

    @Test
    void error_may_name_an_option_in_its_sentence() {
        assertThat(said(Remedy.Action.LARGER_IMAGE, false)).isEqualTo("Error: it is so (--size-mib)\n");
        assertThat(said(new Remedy.LongerBoot("panic"), false))
                .isEqualTo("Error: it is so (--boot-wait-secs allows it more)\npanic\n");
        assertThat(said(new Remedy.LongerBoot("panic"), true))
                .isEqualTo("{\"error\":{\"code\":\"failed\",\"message\":\"it is so (--boot-wait-secs allows it more)\","
                        + "\"remedy\":\"panic\"}}\n");
    }

    @Test
    void warning_is_one_line() {
        shell.call().warn("it is so");
        shell.call().warn("it is so", Remedy.Action.OWN_NETWORKS);
        shell.call().warn("it is so", Remedy.Action.CLOSE_FILES_OR_PRIVATE_VOLUMES);
        assertThat(err.toString(StandardCharsets.UTF_8)).isEqualTo("""
                        forkd: it is so
                        forkd: it is so (--per-child-netns gives each its own)
                        forkd: it is so. Take it again when no file is open; or give the guest a view of its own\
                         (--volume-conflict=private): a branch has that as of its instant.
                        """);
    }
}
