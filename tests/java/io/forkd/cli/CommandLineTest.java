package io.forkd.cli;

import static org.assertj.core.api.Assertions.assertThat;

import io.forkd.Json;
import io.forkd.snapshot.SnapshotTag;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import picocli.CommandLine;
import tools.jackson.databind.JsonNode;

/** Arguments in, fields, output and exit status out; no process. */
class CommandLineTest {
    @TempDir
    Path directory;

    private final ByteArrayOutputStream out = new ByteArrayOutputStream();
    private final ByteArrayOutputStream err = new ByteArrayOutputStream();

    private Shell shell() {
        return Shell.of(
                new PrintStream(out, true, StandardCharsets.UTF_8),
                new PrintStream(err, true, StandardCharsets.UTF_8),
                false,
                Map.of(
                        "XDG_DATA_HOME", directory.toString(),
                        "XDG_RUNTIME_DIR", directory.toString()));
    }

    private int run(String... arguments) {
        return Main.run(shell(), arguments);
    }

    private <T> T parsed(Class<T> type, String... arguments) {
        CommandLine.ParseResult result = Main.commandLine(shell(), arguments).parseArgs(arguments);
        return type.cast(result.subcommand().commandSpec().userObject());
    }

    private Path snapshotFolder(String tag) throws IOException {
        return Files.createDirectories(directory.resolve("forkd/snapshots").resolve(tag));
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "snapshot",
                "fork",
                "exec",
                "eval",
                "ping",
                "run",
                "images",
                "rmi",
                "bench",
                "spawn",
                "ls",
                "kill",
                "pause",
                "resume",
                "reset",
                "timeout",
                "rename",
                "label",
                "wait",
                "logs",
                "events",
                "top",
                "snapshot-info",
                "snapshot-diff",
                "snapshot-compact",
                "workspace",
                "doctor",
                "quickstart",
                "daemon",
                "token",
                "e2b",
                "where",
                "cleanup",
                "kernel",
                "completion",
                "version"
            })
    void every_verb_has_help(String verb) {
        assertThat(run(verb, "--help")).isZero();
        assertThat(out.toString(StandardCharsets.UTF_8)).startsWith("Usage: forkd " + verb);
        assertThat(err.size()).isZero();
    }

    /** It may be a name that somebody else gave to who calls this, and the file none of theirs. */
    @Test
    void an_argument_with_at_is_no_file_of_arguments() throws IOException {
        Path file = Files.writeString(directory.resolve("file"), "secret");
        assertThat(parsed(PullCommand.class, "pull", "--tag", "x", "--", "@" + file).reference)
                .isEqualTo("@" + file);
    }

    @Test
    void help_lists_every_verb() {
        assertThat(run("--help")).isZero();
        assertThat(out.toString(StandardCharsets.UTF_8)).contains("snapshot", "fork", "kernel", "completion");
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "                                       | 2 | Missing required subcommand",
                "nonsense                               | 2 | nonsense",
                "images --nonsense                      | 2 | --nonsense",
                "fork                                   | 2 | --tag",
                "fork --tag x                           | 2 | -n",
                "fork --tag x -n 0                      | 2 | -n 0 is out of range: 1 to 10000",
                "fork --tag x -n 100000                 | 2 | -n 100000 is out of range",
                "fork --tag x -n many                   | 2 | many",
                "fork --tag ../x -n 1                   | 2 | it must begin",
                "fork --tag x -n 1 --hugepages          | 2 | --live-fork",
                "fork --tag x -n 1 --eval 1 -- true     | 2 | exclude each other",
                "fork --tag x -n 1                      | 1 | there is no snapshot 'x'",
                "snapshot --rootfs r                    | 2 | missing: --tag",
                "snapshot --tag x                       | 2 | missing: --rootfs",
                "snapshot --tag ../x --rootfs r         | 2 | it must begin",
                "snapshot --tag x --no-wait             | 2 | --no-wait is for --from-sandbox",
                "snapshot --from-sandbox s              | 1 | there is no sandbox 's'",
                "snapshot --from-sandbox sb-00000000 --diff --live | 2 | exclude each other",
                "snapshot --from-sandbox sb-00000000    | 1 | there is no sandbox 'sb-00000000'",
                "spawn --tag x -n 0                     | 2 | -n 0 is out of range: 1 to 10000",
                "spawn --tag x                          | 1 | there is no snapshot 'x'",
                "spawn --tag x --cpus half              | 2 | '--cpus': 'half' is not a number",
                "spawn --tag x --cpus 1e999999999       | 2 | --cpus 1E+999999999 is out of range: 0 to 1000",
                "kill                                   | 2 | --all",
                "kill a --all                           | 2 | --all",
                "kill sb-00000000                       | 1 | there is no sandbox 'sb-00000000'",
                "exec --child sb-00000000 -- true       | 1 | no running child or sandbox",
                "snapshot-info x                        | 1 | there is no snapshot 'x'",
                "snapshot-compact x                     | 1 | there is no snapshot 'x'",
                "snapshot-diff --from x --tag x --exec a | 2 | the same",
                "snapshot-diff --from x --tag y --exec 'a | 2 | is not closed",
                "snapshot-diff --from x --tag y --exec a | 1 | there is no snapshot 'x'",
                "snapshot --tag x --rootfs r --diff     | 1 | --from-sandbox",
                "snapshot --tag x --rootfs r --volume a | 2 | HOST:GUEST",
                "snapshot --tag x --rootfs r --kernel /nonexistent | 1 | the kernel /nonexistent does not exist",
                "snapshot --tag x --rootfs r --vcpus 33 | 2 | --vcpus 33 is out of range",
                "snapshot --tag x --rootfs r --mem-size-mib 1 | 2 | --mem-size-mib 1 is out of range",
                "exec                                   | 2 | there is no command",
                "exec --target a:1 --child b -- true    | 2 | mutually exclusive",
                "exec --child none -- true              | 1 | no running child or sandbox is called 'none'",
                "eval                                   | 2 | there is no expression",
                "run --image none.ext4 -- true          | 1 | there is no disk image none.ext4",
                "run --image a:b:c --kernel /bin/true -- true | 2 | a:b:c",
                "run --image none                       | 2 | there is no command",
                "parent build none --size-mib 15        | 2 | --size-mib 15 is out of range: 16 to 8388608",
                "rmi                                    | 2 | TAG",
                "rmi x                                  | 1 | there is no snapshot 'x'",
                "rmi x --cascade --force                | 2 | exclude each other",
                "kernel                                 | 2 | install",
                "kernel install --deb /nonexistent      | 1 | /nonexistent",
                "bench                                  | 1 | there is no snapshot to measure",
                "bench --rounds 3                       | 2 | --rounds and --plot are for",
                "bench fork --per-child-netns true      | 2 | with nothing named",
                "bench fork --daemon-url http://x       | 2 | with nothing named",
                "bench swim                             | 2 | swim",
                "bench eval -n 3                        | 2 | -n is for fork and idle",
                "bench fork -n 0                        | 2 | -n 0 is out of range",
                "bench fork --rounds 0                  | 2 | --rounds 0 is out of range",
                "bench fork                             | 1 | there is no snapshot to measure",
                "bench restore --tag x                  | 1 | there is no snapshot 'x'",
                "quickstart -n 0                        | 2 | -n 0 is out of range",
                "completion fish                        | 2 | fish",
                "e2b                                    | 2 | env",
                "e2b env --daemon-url unix:/x           | 2 | no Unix sockets",
                "e2b env --daemon-url ftp://x           | 2 | not a daemon's URL",
                "e2b env --proxy-domain .               | 2 | . is no domain",
            })
    void failure_has_its_status_and_says_why(String line, int status, String message) {
        String[] arguments = line == null ? new String[0] : line.strip().split(" +");
        assertThat(run(arguments)).isEqualTo(status);
        assertThat(err.toString(StandardCharsets.UTF_8))
                .startsWith("Error: ")
                .contains(message)
                .doesNotContain("\tat ");
        assertThat(out.size()).isZero();
    }

    @ParameterizedTest
    @CsvSource({"frok, fork", "frk, fork", "snaphsot, snapshot", "lss, ls", "sl, ls", "exce, exec"})
    void verb_with_a_mistake_in_it_is_recognised(String typed, String meant) {
        assertThat(run(typed)).isEqualTo(2);
        assertThat(err.toString(StandardCharsets.UTF_8)).contains("Did you mean: forkd " + meant + "?");
    }

    @Test
    void other_word_is_no_verb_with_mistakes() {
        assertThat(run("nonsense")).isEqualTo(2);
        assertThat(err.toString(StandardCharsets.UTF_8)).doesNotContain("Did you mean");
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "snapshot-info x --json        | 1 | not_found",
                "images --json --tree          | 2 | usage",
                "where --json --nonsense       | 2 | usage",
                "exec --json                   | 2 | usage",
                "eval --json                   | 2 | usage",
                "exec --json --child x -- true | 1 | not_found",
                "ping --json --child x         | 1 | not_found",
                "rmi --json a --cascade --force | 2 | usage",
                "snapshot-compact x --json     | 1 | not_found",
                "run --json --image x -- true  | 1 | not_found",
                "images --json --nonsense      | 2 | usage",
                "spawn --tag x --json          | 1 | not_found",
            })
    void error_is_json_when_the_result_would_be(String line, int status, String code) {
        assertThat(run(line.split(" +"))).isEqualTo(status);
        assertThat(out.size()).isZero();
        JsonNode error = Json.parse(err.toByteArray()).path("error");
        assertThat(error.path("code").asString()).isEqualTo(code);
        assertThat(error.path("message").asString()).isNotEmpty();
        assertThat(error.path("remedy").isString()).isTrue();
    }

    /** But the one that prints a script, and those that print nothing. */
    @Test
    void every_verb_that_prints_has_json() {
        Deque<CommandLine> all =
                new ArrayDeque<>(Main.commandLine(shell()).getSubcommands().values());
        while (!all.isEmpty()) {
            CommandLine verb = all.pop();
            all.addAll(verb.getSubcommands().values());
            boolean prints = verb.getSubcommands().isEmpty()
                    && !List.of("completion", "daemon", "cp").contains(verb.getCommandName());
            assertThat(verb.getCommandSpec().optionsMap().containsKey("--json"))
                    .as(verb.getCommandSpec().qualifiedName())
                    .isEqualTo(prints);
        }
    }

    @Test
    void error_of_a_command_in_children_is_for_people() {
        assertThat(run("fork", "--tag", "x", "-n", "1", "--", "ls", "--json")).isEqualTo(1);
        assertThat(err.toString(StandardCharsets.UTF_8)).startsWith("Error: ");
    }

    @Test
    void fork_takes_the_rest_as_the_command() {
        ForkCommand fork = parsed(ForkCommand.class, "fork", "--tag", "py", "-n", "3", "--", "ls", "-l", "--json");
        assertThat(fork.options.tag).isEqualTo(new SnapshotTag("py"));
        assertThat(fork.count).isEqualTo(3);
        assertThat(fork.command).containsExactly("ls", "-l", "--json");
        assertThat(fork.options.json).isFalse();
        assertThat(fork.allOrNothing).isFalse();
        assertThat(parsed(ForkCommand.class, "fork", "--tag", "py", "-n", "3", "--all-or-nothing").allOrNothing)
                .isTrue();
    }

    @Test
    void snapshot_reads_its_options() {
        SnapshotCommand snapshot = parsed(
                SnapshotCommand.class,
                "snapshot",
                "--tag",
                "py",
                "--rootfs",
                "r.ext4",
                "--volume",
                "/a:/b",
                "--volume",
                "/c:/d:ro",
                "--warm",
                "import numpy",
                "--tap",
                "t0",
                "--mem-size-mib",
                "256");
        assertThat(snapshot.volumes).containsExactly("/a:/b", "/c:/d:ro");
        assertThat(snapshot.machine.warm).contains("import numpy");
        assertThat(snapshot.machine.tap).contains("t0");
        assertThat(snapshot.machine.memSizeMib).isEqualTo(256);
        assertThat(snapshot.machine.vcpus).isEqualTo(2);
        assertThat(snapshot.machine.bootWaitSecs).isEqualTo(60);
    }

    @Test
    void images_lists_every_folder_usable_or_not() throws IOException {
        Files.write(snapshotFolder("py").resolve("memory.bin"), new byte[3 << 20]);
        snapshotFolder("empty");
        snapshotFolder(".staging-x-1");
        assertThat(run("images")).isZero();
        assertThat(out.toString(StandardCharsets.UTF_8).lines())
                .hasSize(4)
                .anyMatch(line -> line.matches("py +3\\.0 MiB +3\\.0 MiB +\\d+s ago +no +failed"))
                .anyMatch(line -> line.startsWith("2 snapshots, 3.0 MiB"));
    }

    @Test
    void images_as_json_is_an_array() throws IOException {
        assertThat(run("images", "--json")).isZero();
        assertThat(out.toString(StandardCharsets.UTF_8).strip()).isEqualTo("[ ]");
    }

    @Test
    void rmi_removes_all_or_when_one_is_refused_none() throws IOException {
        Path a = snapshotFolder("a");
        Path b = snapshotFolder("b");
        assertThat(run("rmi", "a", "none", "b")).isEqualTo(1);
        assertThat(out.size()).isZero();
        assertThat(err.toString(StandardCharsets.UTF_8)).contains("'none'").contains("Nothing was removed.");
        assertThat(a).exists();
        assertThat(b).exists();
        assertThat(run("rmi", "b", "a", "b")).isZero();
        assertThat(out.toString(StandardCharsets.UTF_8)).isEqualTo("removed b (disk)\nremoved a (disk)\n");
        assertThat(a).doesNotExist();
    }

    private JsonNode printed() {
        JsonNode document = Json.parse(out.toByteArray());
        out.reset();
        return document;
    }

    @Test
    void rmi_as_json_says_what_became_of_each() throws IOException {
        snapshotFolder("a");
        assertThat(run("rmi", "a", "none", "--json")).isEqualTo(1);
        JsonNode refused = printed();
        assertThat(refused.findValuesAsString("tag")).containsExactly("none", "a");
        assertThat(refused.path(0).path("error").path("code").asString()).isEqualTo("not_found");
        assertThat(refused.path(1).path("error").path("code").asString()).isEqualTo("conflict");
        assertThat(run("rmi", "a", "--json")).isZero();
        assertThat(Json.text(printed())).isEqualTo("[{\"tag\":\"a\",\"success\":true}]");
        assertThat(err.size()).isZero();
    }

    @Test
    void kill_as_json_says_what_became_of_each() {
        assertThat(run("kill", "--json", "sb-00000000")).isEqualTo(1);
        JsonNode one = printed().path(0);
        assertThat(one.path("id").asString()).isEqualTo("sb-00000000");
        assertThat(one.path("success").asBoolean()).isFalse();
        assertThat(one.path("error").path("code").asString()).isEqualTo("not_found");
        assertThat(run("kill", "--json", "--all")).isZero();
        assertThat(Json.text(printed())).isEqualTo("[]");
    }

    @Test
    void cleanup_as_json_says_what_became_of_each() throws IOException {
        Path staging = snapshotFolder(".staging-x-1");
        assertThat(run("cleanup", "--json")).isZero();
        assertThat(outcome(staging)).isEqualTo("found");
        assertThat(run("cleanup", "--json", "--yes")).isZero();
        assertThat(outcome(staging)).isEqualTo("deleted");
    }

    private String outcome(Path path) {
        return printed()
                .valueStream()
                .filter(one -> one.path("path").asString().equals(path.toString()))
                .findFirst()
                .orElseThrow()
                .path("outcome")
                .asString();
    }

    @Test
    void cleanup_says_that_it_put_a_replaced_snapshot_back() throws IOException {
        Path replaced = snapshotFolder(".replaced-py-1");
        assertThat(run("cleanup", "--yes")).isZero();
        assertThat(out.toString(StandardCharsets.UTF_8))
                .contains("put back  0 KiB  " + replaced + " as " + directory.resolve("forkd/snapshots/py"))
                .contains("1 put back")
                .doesNotContain("deleted  0 KiB  " + replaced);
        assertThat(directory.resolve("forkd/snapshots/py")).exists();
    }

    @Test
    void cache_as_json_is_an_array_and_what_was_pruned() {
        String cache = directory.resolve("cache").toString();
        assertThat(run("cache", "ls", "--cache", cache, "--json")).isZero();
        assertThat(printed().isArray()).isTrue();
        assertThat(run("cache", "prune", "--cache", cache, "--dry-run", "--json"))
                .isZero();
        assertThat(Json.text(printed())).isEqualTo("{\"dry_run\":true,\"bytes\":0,\"images\":[],\"pulled\":[]}");
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '`',
            value = {
                "a b  c          | a,b,c",
                "sh -c 'a b'     | sh,-c,a b",
                "a\"b 'c\"d       | ab 'cd",
                "a '' b          | a,,b",
            })
    void exec_is_split_at_blanks_except_in_quotes(String text, String words) {
        assertThat(String.join(",", SnapshotDiffCommand.words(text))).isEqualTo(words);
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '"',
            value = {
                "                                  | http://127.0.0.1:8889 | localhost:8889 | zeros",
                "--daemon-url https://api.x.org/   | https://api.x.org     | localhost      | zeros",
                "--daemon-url https://h --proxy-domain x.org                 | https://h      | x.org    | zeros",
                "--daemon-url https://h:84 --proxy-domain x.org              | https://h:84   | x.org:84 | zeros",
                "--daemon-url http://h --proxy-domain x.org --daemon-token a'$b | http://h    | x.org:80 | 'a'\\''$b'",
            })
    void variables_of_e2b_are_for_a_shell(String options, String url, String domain, String key) throws Exception {
        String line = "e2b env" + (options == null ? "" : " " + options);
        assertThat(run(line.split(" +"))).isZero();
        String script = out.toString(StandardCharsets.UTF_8);
        assertThat(script).contains("export E2B_API_KEY=" + key.replace("zeros", "e2b_" + "0".repeat(40)) + "\n");
        Process shell = new ProcessBuilder(
                        "env", "-i", "sh", "-c", script + "printf '%s ' $E2B_API_URL $E2B_SANDBOX_URL $E2B_DOMAIN")
                .start();
        assertThat(new String(shell.getInputStream().readAllBytes(), StandardCharsets.UTF_8))
                .isEqualTo(url + " " + url + " " + domain + " ");
        out.reset();
        assertThat(run((line + " --json").split(" +"))).isZero();
        assertThat(Json.parse(out.toByteArray()).path("E2B_DOMAIN").asString()).isEqualTo(domain);
    }

    @Test
    void where_prints_the_data_folder() {
        assertThat(run("where")).isZero();
        assertThat(out.toString(StandardCharsets.UTF_8)).isEqualTo(directory.resolve("forkd") + "\n");
    }

    @Test
    void cleanup_lists_and_then_deletes_what_the_dead_left() throws IOException {
        Path staging = snapshotFolder(".staging-x-1");
        assertThat(run("cleanup")).isZero();
        assertThat(out.toString(StandardCharsets.UTF_8)).contains(staging.toString());
        assertThat(staging).exists();
        assertThat(run("cleanup", "--yes")).isZero();
        assertThat(staging).doesNotExist();
    }

    @Test
    void cleanup_touches_only_what_is_ours_and_goes_on_after_a_failure() throws Exception {
        Path foreign = Files.createDirectory(
                Path.of("/tmp/forkd-fork-test-" + ProcessHandle.current().pid()));
        Path stuck = snapshotFolder(".trash-stuck-1").resolve("mounted");
        Path other = snapshotFolder(".trash-x-1");
        Path target = Files.createDirectory(directory.resolve("target"));
        Path link = Files.createSymbolicLink(foreign.resolveSibling(foreign.getFileName() + "-link"), target);
        Files.createDirectory(stuck);
        try {
            tool("chown", "12345", foreign.toString());
            tool("mount", "-t", "tmpfs", "none", stuck.toString()); // A mount point cannot be removed.
            assertThat(run("cleanup", "--yes")).isEqualTo(1);
            assertThat(out.toString(StandardCharsets.UTF_8))
                    .contains("skipped (another user's)")
                    .containsPattern("failed +.*\\.trash-stuck-1")
                    .containsPattern("deleted +.*\\.trash-x-1")
                    .contains("1 deleted");
            assertThat(err.toString(StandardCharsets.UTF_8)).contains("Error: ").contains(".trash-stuck-1: ");
            assertThat(foreign).exists();
            assertThat(link).exists();
            assertThat(other).doesNotExist();
        } finally {
            tool("umount", stuck.toString());
            Files.deleteIfExists(foreign);
            Files.deleteIfExists(link);
        }
    }

    /** To say that there are none would be wrong. */
    @Test
    void networks_of_root_are_not_for_others_to_see() throws Exception {
        apart("mount -t tmpfs none /run && mkdir -m 0 /run/forkd-net || exit 1\n"
                + "for verb in setup status teardown; do\n"
                + "  said=$(setpriv --bounding-set=-all --inh-caps=-all -- \"$@\" net $verb 2>&1)\n"
                + "  [ $? = 1 ] && case $said in *'permission denied'*'Do it as root.'*) ;; *) false ;; esac ||\n"
                + "    { echo \"$verb: $said\"; exit 1; }\n"
                + "done");
    }

    @Test
    void doctor_says_that_there_are_no_taps() throws Exception {
        apart(
                "mount -t tmpfs none /dev/net || exit 1\n"
                        + "said=$(\"$@\" doctor | grep -A1 '^warn  networks')\n"
                        + "case $said in *'/dev/net/tun, which is not there'*'modprobe tun'*) ;; *) echo \"$said\"; exit 1 ;; esac");
    }

    @Test
    void doctor_says_that_settings_are_read_only() throws Exception {
        apart("mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys || exit 1\n"
                + "said=$(\"$@\" doctor | grep -A1 '^warn  networks')\n"
                + "case $said in *'ip_forward cannot be written to'*'/proc/sys writable'*) ;;"
                + " *) echo \"$said\"; exit 1 ;; esac");
    }

    /** A script with a mount namespace of its own, whose arguments are forkd. */
    private void apart(String script) throws Exception {
        tool(
                "unshare",
                "--mount",
                "sh",
                "-c",
                script,
                "sh",
                "env",
                "XDG_DATA_HOME=" + directory,
                "XDG_RUNTIME_DIR=" + directory,
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "-cp",
                System.getProperty("java.class.path"),
                "io.forkd.cli.Main");
    }

    /** As root, as all that mounts in these tests. */
    private static void tool(String... command) throws Exception {
        Process process = new ProcessBuilder(command).redirectErrorStream(true).start();
        String said = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        assertThat(process.waitFor()).as(said).isZero();
    }

    @Test
    void completion_knows_verbs_and_options() {
        assertThat(run("completion", "bash")).isZero();
        assertThat(out.toString(StandardCharsets.UTF_8)).contains("snapshot", "--mem-size-mib", "install");
    }

    @ParameterizedTest
    @CsvSource({
        "/images/a.ext4, run-a",
        "python:3.12-slim, run-python-3-12-slim",
        "/images/python:3.12-slim.ext4, run-python-3-12-slim",
        "--x--.squashfs, run-x"
    })
    void run_names_its_snapshot_after_the_image(String image, String tag) {
        assertThat(RunCommand.tag(image).value()).isEqualTo(tag);
    }

    @Test
    void tag_like_an_option_is_not_made_here_and_can_be_removed() throws IOException {
        Path made = snapshotFolder("-x");
        assertThat(run("snapshot", "--tag=-x", "--kernel", "k", "--rootfs", "r"))
                .isEqualTo(2);
        assertThat(err.toString(StandardCharsets.UTF_8)).contains("it must begin with a letter");
        assertThat(run("rmi", "--", "-x")).isZero();
        assertThat(made).doesNotExist();
    }

    @ParameterizedTest
    @CsvSource({"0, 0 KiB", "2048, 2 KiB", "1572864, 1.5 MiB", "1610612736, 1.50 GiB"})
    void sizes_are_for_people(long bytes, String text) {
        assertThat(Format.size(bytes)).isEqualTo(text);
    }

    @Test
    void verbs_are_the_same_whether_one_or_all_are_read() {
        assertThat(List.copyOf(Main.commandLine(shell()).getSubcommands().keySet()))
                .allMatch(
                        verb -> Main.commandLine(shell(), verb).getSubcommands().containsKey(verb));
    }
}
