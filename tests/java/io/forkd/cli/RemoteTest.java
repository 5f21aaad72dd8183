package io.forkd.cli;

import static org.assertj.core.api.Assertions.assertThat;

import com.sun.net.httpserver.HttpServer;
import io.forkd.Json;
import io.forkd.daemon.Daemon;
import io.forkd.daemon.DaemonOptions;
import io.forkd.engine.AgentSnapshot;
import io.forkd.engine.Call;
import io.forkd.engine.Engine;
import io.forkd.files.FileLock;
import io.forkd.http.HttpOptions;
import io.forkd.http.Limits;
import io.forkd.image.OciImage;
import io.forkd.vmm.Guests;
import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;
import tools.jackson.databind.JsonNode;

/** The verbs on the folders, and through a daemon that serves them, on this machine's /dev/kvm: both do the same. */
class RemoteTest {
    private static final String TOKEN = "a-token-for-the-test";

    @TempDir
    static Path scratch;

    private static String url = "";
    private static Daemon daemon;

    private final ByteArrayOutputStream out = new ByteArrayOutputStream();
    private final ByteArrayOutputStream err = new ByteArrayOutputStream();

    /** How a verb comes to its sandboxes. */
    private enum Way {
        FOLDERS,
        TCP,
        UNIX;

        private Map<String, String> environment() {
            Map<String, String> environment = new HashMap<>(folders());
            if (this == TCP) {
                environment.put("FORKD_URL", url + "/");
                environment.put("FORKD_TOKEN", TOKEN);
            } else if (this == UNIX) {
                environment.put("FORKD_URL", "unix:" + scratch.resolve("forkd/daemon.sock"));
            }
            return environment;
        }
    }

    private static Map<String, String> folders() {
        return Map.of(
                "XDG_DATA_HOME",
                scratch.toString(),
                "XDG_RUNTIME_DIR",
                scratch.toString(),
                "FORKD_RUN_CACHE",
                scratch.resolve("cache").toString(),
                // Networks are the host's: none are made of this one's.
                "FORKD_NET_RANGE",
                "none for tests");
    }

    @BeforeAll
    static void start() throws Exception {
        Engine engine = Engine.of(folders());
        AgentSnapshot.make(engine, scratch, "py");
        Path token = Files.writeString(scratch.resolve("token"), TOKEN);
        daemon = Daemon.start(
                engine,
                new DaemonOptions(
                        new HttpOptions(
                                Optional.of(new InetSocketAddress("127.0.0.1", 0)),
                                Optional.of(engine.runtime().made().resolve("daemon.sock")),
                                Optional.empty(),
                                Optional.of(token),
                                Optional.of(scratch.resolve("audit.log")),
                                Limits.STANDARD),
                        scratch.resolve("state.json"),
                        "localhost",
                        4,
                        List.of(),
                        1 << 30));
        url = "http://127.0.0.1:" + daemon.address().orElseThrow().getPort();
    }

    @AfterAll
    static void stop() {
        daemon.close();
    }

    @AfterEach
    void end() {
        run(Way.FOLDERS, "kill", "--all");
        for (JsonNode snapshot : json(Way.FOLDERS, "images", "--json")) {
            if (!snapshot.path("tag").stringValue().equals("py")) {
                run(Way.FOLDERS, "rmi", "--force", snapshot.path("tag").stringValue());
            }
        }
    }

    private int run(Map<String, String> environment, String... arguments) {
        return run(false, environment, arguments);
    }

    private int run(boolean shown, Map<String, String> environment, String... arguments) {
        out.reset();
        err.reset();
        Shell shell = Shell.of(
                new PrintStream(out, true, StandardCharsets.UTF_8),
                new PrintStream(err, true, StandardCharsets.UTF_8),
                shown,
                false,
                environment);
        return Main.run(shell, arguments);
    }

    private int run(Way way, String... arguments) {
        return run(way.environment(), arguments);
    }

    private String said() {
        return err.toString(StandardCharsets.UTF_8);
    }

    private String printed(Way way, String... arguments) {
        int status = run(way, arguments);
        assertThat(status).as("%s: %s", Arrays.toString(arguments), err).isZero();
        return out.toString(StandardCharsets.UTF_8).strip();
    }

    private JsonNode json(Way way, String... arguments) {
        return Json.parse(printed(way, arguments).getBytes(StandardCharsets.UTF_8));
    }

    private List<String> spawn(Way way, int count) {
        return json(way, "spawn", "--tag", "py", "-n", Integer.toString(count), "--json")
                .valueStream()
                .map(each -> each.path("id").stringValue())
                .toList();
    }

    private static List<String> fields(JsonNode node) {
        return node.propertyStream().map(Map.Entry::getKey).sorted().toList();
    }

    @ParameterizedTest
    @EnumSource
    void sandboxes_have_names_labels_and_times_and_are_paused(Way way) {
        JsonNode made = json(
                        way, "spawn", "--tag", "py", "--name", "web", "--label", "tier=one", "--ttl", "1h", "--json")
                .get(0);
        String id = made.path("id").stringValue();
        assertThat(made.path("name").stringValue()).isEqualTo("web");
        assertThat(made.path("ttl_secs").intValue()).isEqualTo(3600);
        spawn(way, 1);
        for (String filter : List.of("label=tier", "label=tier=one")) {
            assertThat(json(way, "ls", "--filter", filter, "--json")).hasSize(1);
        }
        assertThat(json(way, "ls", "--filter", "label=tier=two", "--json")).isEmpty();
        assertThat(run(way, "ls", "--filter", "tier")).isEqualTo(2);
        assertThat(run(way, "spawn", "--tag", "py", "--name", "web")).isEqualTo(1);
        assertThat(said()).contains("the name 'web' is that of the sandbox " + id);
        assertThat(printed(way, "exec", "--child", "web", "--", "set", "x", "1"))
                .isEmpty();

        assertThat(printed(way, "reset", "web")).isEqualTo("reset web");
        assertThat(run(way, "exec", "--child", "web", "--", "get", "x")).isEqualTo(1); // it knows no x any more
        assertThat(printed(way, "exec", "--child", "web", "--", "set", "x", "1"))
                .isEmpty();
        assertThat(printed(way, "pause", "web")).isEqualTo("paused web");
        assertThat(printed(way, "ls", "--filter", "label=tier"))
                .contains("paused")
                .doesNotContain("running");
        assertThat(run(way, "exec", "--child", id, "--", "true")).isEqualTo(1);
        assertThat(said()).contains("is paused");
        assertThat(printed(way, "timeout", "web", "--idle", "2h", "--on-timeout", "pause", "--wake"))
                .contains("web has a new time");
        assertThat(printed(way, "exec", "--child", "web", "--", "get", "x")).isEqualTo("1");
        assertThat(printed(way, "rename", "web", "db")).isEqualTo(id + "  db");
        assertThat(printed(way, "label", "db", "tier-", "a=b", "c=")).isEqualTo(id + "  a=b c=");
        assertThat(printed(way, "pause", "db")).isEqualTo("paused db");
        assertThat(printed(way, "resume", "db", id)).isEqualTo("resumed db\nresumed " + id);
        JsonNode shown = json(way, "ls", "--filter", "label=a", "--json").get(0);
        assertThat(shown.path("idle_secs").intValue()).isEqualTo(7200);
        assertThat(shown.path("on_timeout").stringValue()).isEqualTo("pause");
        assertThat(shown.path("wake").booleanValue()).isTrue();
        assertThat(printed(way, "snapshot", "--from-sandbox", "db", "--tag", "of-db"))
                .contains("of-db");
        assertThat(run(way, "rmi", "of-db", "--force")).isZero();
        JsonNode forks = json(way, "fork", "db", "-n", "2", "--label", "of=db", "--json");
        assertThat(forks).hasSize(2);
        for (JsonNode fork : forks) {
            assertThat(printed(way, "exec", "--child", fork.path("id").stringValue(), "--", "get", "x"))
                    .isEqualTo("1");
            assertThat(fork.path("snapshot").stringValue()).isEqualTo("py");
        }
        assertThat(json(way, "ls", "--filter", "label=of=db", "--json")).hasSize(2);
        assertThat(printed(way, "images")).doesNotContain("fork-");
        assertThat(printed(way, "pause", forks.get(0).path("id").stringValue())).startsWith("paused");
        JsonNode top = json(way, "top", "--interval", "1", "--json");
        assertThat(top).hasSize(4);
        assertThat(top.valueStream().filter(each -> each.path("own_bytes").asLong(0) > 0))
                .hasSize(3)
                .allMatch(each -> each.path("cpu_percent").isNumber());
        assertThat(printed(way, "kill", "db")).isEqualTo("killed db");
        assertThat(run(way, "pause", "db")).isEqualTo(1);
        assertThat(run(way, "kill", "--all")).isZero();
    }

    @ParameterizedTest
    @EnumSource
    void console_is_shown_and_followed(Way way) {
        String id = spawn(way, 1).get(0);
        assertThat(printed(way, "logs", id)).isEmpty();
        printed(way, "exec", "--child", id, "--", "console", "one");
        printed(way, "exec", "--child", id, "--", "console", "two");
        assertThat(printed(way, "logs", id)).isEqualTo("one\ntwo");
        assertThat(printed(way, "logs", "-n", "1", id)).isEqualTo("two");
        assertThat(json(way, "logs", "--tail=all", id, "--json").path("log").stringValue())
                .isEqualTo("one\ntwo\n");
        Thread killer = new Thread(() -> {
            while (!out.toString(StandardCharsets.UTF_8).equals("two\n")) {
                Thread.onSpinWait();
            }
            Engine engine = Engine.of(folders());
            engine.sandboxes()
                    .kill(
                            List.of(engine.sandboxes().findAny(id)),
                            new Call(new Screen(System.err, false), Optional.empty()));
        });
        killer.start();
        assertThat(printed(way, "logs", "-f", "--tail", "1", id)).isEqualTo("two");
        assertThat(run(way, "logs", "--tail", "-1", id)).isEqualTo(2);
        assertThat(run(way, "logs", "--json", "-f", id)).isEqualTo(2);
        assertThat(run(way, "logs", id)).isEqualTo(1);
        assertThat(said()).contains(id);
    }

    @ParameterizedTest
    @EnumSource
    void console_does_nothing_to_the_terminal_that_it_is_shown_at(Way way) {
        String id = spawn(way, 1).get(0);
        String text = "\u001b]0;x\u0007\u001b[2Jgr\u00fcn\t\r";
        printed(way, "exec", "--child", id, "--", "console", text);
        assertThat(run(true, way.environment(), "logs", id)).isZero();
        assertThat(out.toString(StandardCharsets.UTF_8)).isEqualTo("?]0;x??[2Jgr\u00fcn\t\n");
        // And is as it was for a program.
        assertThat(run(false, way.environment(), "logs", id)).isZero();
        assertThat(out.toString(StandardCharsets.UTF_8)).isEqualTo(text + "\n");
    }

    @ParameterizedTest
    @EnumSource
    void image_becomes_a_snapshot(Way way) throws Exception {
        Path layout = Files.createDirectories(scratch.resolve("layout"));
        if (!Files.exists(layout.resolve("index.json"))) {
            new OciImage(layout)
                    .layer(OciImage.Packing.GZIP, new OciImage.Members().file("f", "x"))
                    .write();
        }
        String kernel = Guests.compile("agent", scratch).toString();
        List<String> line = List.of(
                "from-image",
                "oci:" + layout + ":1",
                "--tag",
                "img",
                "--kernel",
                kernel,
                "--size-mib",
                "32",
                "--mem-size-mib",
                "64",
                "--vcpus",
                "1",
                "--json");
        JsonNode made = json(way, line.toArray(String[]::new));
        assertThat(fields(made))
                .containsExactly("boot_ms", "cached", "dir", "image", "rootfs", "rootfs_ms", "snapshot_ms", "tag");
        assertThat(Path.of(made.path("dir").stringValue()).resolve("vmstate")).exists();
        assertThat(Path.of(made.path("rootfs").stringValue())).exists();
        assertThat(said()).contains("Looking up", "Rootfs: ", "Booting the guest", "gets no network");
        assertThat(run(way, line.toArray(String[]::new))).isEqualTo(1);
        assertThat(said()).contains("img");
        List<String> more = new ArrayList<>(line);
        more.add("--force");
        assertThat(json(way, more.toArray(String[]::new)).path("cached").booleanValue())
                .isTrue();
        assertThat(spawnOf(way, "img")).startsWith("sb-");
        if (way != Way.FOLDERS) {
            assertThat(run(way, "from-image", "x", "--tag", "y", "--kernel", kernel, "--cache", "/nowhere"))
                    .isEqualTo(2);
            assertThat(run(way, "from-image", "x", "--tag", "y", "--kernel", kernel, "--keep-workdir"))
                    .isEqualTo(2);
        }
        assertThat(run(way, "from-image", "oci:/nowhere", "--tag", "y", "--kernel", kernel))
                .isEqualTo(1);
        assertThat(said()).contains("/nowhere");
    }

    private String spawnOf(Way way, String tag) {
        return json(way, "spawn", "--tag", tag, "--json").get(0).path("id").stringValue();
    }

    @ParameterizedTest
    @EnumSource
    void guests_say_what_they_take(Way way) {
        List<String> ids = spawn(way, 2);
        printed(way, "pause", ids.get(1));
        JsonNode top = json(way, "top", "--guests", "--interval", "1", "--json");
        assertThat(top).hasSize(2);
        for (JsonNode each : top) {
            if (each.path("id").stringValue().equals(ids.get(0))) {
                assertThat(each.path("guest").path("memory_used_bytes").longValue())
                        .isEqualTo(32 << 20);
            } else {
                assertThat(each.has("guest")).isFalse();
            }
        }
        assertThat(printed(way, "top", "--guests", "--interval", "1", "--once"))
                .contains("GUEST_MEMORY", "32 of 64 MiB");
        assertThat(printed(way, "top", "--interval", "1", "--once")).doesNotContain("GUEST_MEMORY");
    }

    @ParameterizedTest
    @EnumSource
    void sandboxes_live_and_end(Way way) {
        List<String> ids = spawn(way, 3);
        assertThat(ids).hasSize(3);
        assertThat(printed(way, "ls")).contains(ids).contains("3 sandboxes", "running");
        JsonNode here = json(Way.FOLDERS, "ls", "--json").get(0);
        // A daemon lists them by id, which is by age only from one second to the next.
        JsonNode listed = json(way, "ls", "--json")
                .valueStream()
                .filter(each -> each.path("id").equals(here.path("id")))
                .findFirst()
                .orElseThrow();
        assertThat(fields(listed)).isEqualTo(fields(here));
        for (String field : List.of("id", "snapshot", "pid", "branches", "state")) {
            assertThat(listed.path(field)).isEqualTo(here.path(field));
        }
        assertThat(printed(way, "kill", ids.get(0))).isEqualTo("killed " + ids.get(0));
        assertThat(run(way, "kill", ids.get(0), ids.get(1))).isEqualTo(1);
        assertThat(out.toString(StandardCharsets.UTF_8)).isEqualTo("killed " + ids.get(1) + "\n");
        assertThat(said()).contains(ids.get(0));
        assertThat(printed(way, "kill", "--tag", "py")).isEqualTo("killed " + ids.get(2));
        assertThat(printed(way, "kill", "--all")).isEmpty();
        assertThat(said()).contains("No sandbox runs");
        assertThat(json(way, "ls", "--json")).isEmpty();
    }

    @ParameterizedTest
    @EnumSource
    void one_that_is_stopped_or_without_its_volumes_is_listed_as_that(Way way) throws Exception {
        List<String> ids = spawn(way, 3).stream().sorted().toList();
        Path folder = scratch.resolve("forkd/sandboxes").resolve(ids.get(1));
        long pid = json(way, "ls", "--json")
                .valueStream()
                .filter(each -> each.path("id").stringValue().equals(ids.get(2)))
                .findFirst()
                .orElseThrow()
                .path("pid")
                .longValue();
        Files.createFile(folder.resolve("volumes.away"));
        new ProcessBuilder("kill", "-STOP", Long.toString(pid)).start().waitFor();
        try (FileLock branch = FileLock.exclusive(folder.resolve(".volumes"))) {
            assertThat(json(way, "ls", "--json")
                            .valueStream()
                            .sorted(Comparator.comparing(each -> each.path("id").stringValue()))
                            .map(each -> each.path("state").stringValue()))
                    .containsExactly("running", "unmounted", "stopped");
        }
    }

    /** A daemon that answers only when all have asked. */
    @Test
    void many_are_killed_at_once() throws Exception {
        List<String> ids =
                IntStream.range(0, 20).mapToObj(i -> "sb-0000000" + i).toList();
        CountDownLatch asked = new CountDownLatch(ids.size());
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", 0), 0);
        ExecutorService threads = Executors.newCachedThreadPool();
        server.setExecutor(threads);
        server.createContext("/v1/sandboxes/", exchange -> {
            asked.countDown();
            try {
                exchange.sendResponseHeaders(asked.await(10, TimeUnit.SECONDS) ? 204 : 500, -1);
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            }
            exchange.close();
        });
        server.start();
        try {
            List<String> line = new ArrayList<>(List.of("kill"));
            line.add("--daemon-url=http://127.0.0.1:" + server.getAddress().getPort());
            line.addAll(ids);
            assertThat(run(folders(), line.toArray(String[]::new))).as(said()).isZero();
            assertThat(out.toString(StandardCharsets.UTF_8).lines())
                    .containsExactlyElementsOf(
                            ids.stream().map(id -> "killed " + id).toList());
        } finally {
            server.stop(0);
            threads.shutdownNow();
        }
    }

    @ParameterizedTest
    @EnumSource
    void guests_answer(Way way) {
        String id = spawn(way, 1).get(0);
        assertThat(printed(way, "exec", "--child", id, "--", "echo", "hello")).isEqualTo("hello");
        printed(way, "exec", "--child", id, "--", "sh", "-c", "echo one; echo two >&2");
        assertThat(out.toString(StandardCharsets.UTF_8)).isEqualTo("one\n");
        assertThat(said()).isEqualTo("two\n");
        assertThat(run(way, "exec", "--child", id, "--", "sh", "-c", "exit 7")).isEqualTo(7);
        assertThat(run(way, "exec", "--child", id, "--", "nope")).isEqualTo(127);
        assertThat(said()).startsWith("Error: the guest could not run the command: ");
        assertThat(run(way, "exec", "--child", id, "--timeout-secs", "1", "--", "slow", "100"))
                .isEqualTo(124);
        assertThat(out.toString(StandardCharsets.UTF_8)).startsWith("....");
        assertThat(said())
                .isEqualTo("Error: the command took longer than 1 s, and was ended\n" + TimeLimit.REMEDY + "\n");
        assertThat(printed(way, "eval", "--child", id, "count")).isEqualTo("1");
        assertThat(json(way, "eval", "--json", "--child", id, "6 * 7").path("result"))
                .isEqualTo(json(Way.FOLDERS, "eval", "--json", "--child", id, "6 * 7")
                        .path("result"));
        assertThat(run(way, "eval", "--child", id, "--timeout-secs", "1", "sleep 100"))
                .isEqualTo(124);
        assertThat(printed(way, "ping", "--child", id)).contains("\"pong\" : true");
    }

    @ParameterizedTest
    @EnumSource
    void branches_and_layers_are_made_and_told_of(Way way) {
        String id = spawn(way, 1).get(0);
        printed(way, "exec", "--child", id, "--", "set", "colour", "red");
        JsonNode branch = json(way, "snapshot", "--from-sandbox", id, "--tag", "later", "--json");
        assertThat(fields(branch))
                .containsExactly(
                        "branched_from",
                        "dir",
                        "pause_ms",
                        "pause_us",
                        "physical_bytes",
                        "state",
                        "tag",
                        "total_ms",
                        "way");
        assertThat(branch.path("branched_from").stringValue()).isEqualTo(id);
        assertThat(branch.path("dir").stringValue()).isEqualTo(scratch + "/forkd/snapshots/later");
        assertThat(printed(Way.FOLDERS, "fork", "--tag", "later", "-n", "1", "--", "get", "colour"))
                .contains("later-1: red");
        assertThat(printed(way, "snapshot", "--from-sandbox", id, "--diff", "--tag", "less"))
                .contains("tag:      less", "parent_tag: py", "branched_from: " + id);
        printed(way, "snapshot-diff", "--from", "py", "--tag", "with", "--exec", "sh -c 'echo made'");
        assertThat(out.toString(StandardCharsets.UTF_8)).startsWith("made\n").contains("parent_tag: py");
        assertThat(run(way, "snapshot-diff", "--from", "py", "--tag", "not", "--exec", "sh -c 'exit 3'"))
                .isEqualTo(1);
        assertThat(said()).contains("the command ended with the exit code 3; no snapshot was made");
        assertThat(printed(way, "ls", "--json")).contains(id);
        assertThat(json(way, "ls", "--json")).hasSize(1);

        JsonNode here = json(Way.FOLDERS, "snapshot-info", "with", "--json");
        JsonNode there = json(way, "snapshot-info", "with", "--json");
        assertThat(fields(there)).isEqualTo(fields(here));
        for (String field : List.of("tag", "dir", "state", "memory_bytes", "parent_tag", "ancestors", "files")) {
            assertThat(there.path(field)).as(field).isEqualTo(here.path(field));
        }
        assertThat(printed(way, "snapshot-info", "py")).contains("dependents:  ", "less", "with");
        printed(way, "snapshot-compact", "--from", "with", "--to", "whole");
        assertThat(printed(way, "snapshot-info", "whole")).contains("chain depth: 0");
        assertThat(printed(way, "snapshot-info", "with")).contains("chain depth: 1");
        assertThat(run(way, "snapshot-compact", "--from", "with", "--to", "whole"))
                .isEqualTo(1);
        assertThat(run(way, "snapshot-info", "none")).isEqualTo(1);
        assertThat(said()).startsWith("Error: ").contains("none");
    }

    @ParameterizedTest
    @CsvSource({
        "FOLDERS, daemon", // this user's own, by its socket
        "TCP, daemon",
        "UNIX, daemon"
    })
    void rmi_asks_the_daemon_first(Way way, String who) {
        printed(Way.FOLDERS, "snapshot-diff", "--from", "py", "--tag", "a", "--exec", "echo");
        printed(Way.FOLDERS, "snapshot-diff", "--from", "a", "--tag", "b", "--exec", "echo");
        assertThat(run(way, "rmi", "a", "none")).isEqualTo(1);
        assertThat(said()).contains("a").contains("b").contains("none");
        assertThat(run(way, "rmi", "a")).isEqualTo(1);
        if (way != Way.FOLDERS) {
            assertThat(said()).contains("HTTP 409");
        }
        assertThat(printed(way, "rmi", "--cascade", "a")).contains("removed ", " (" + who + ")");
        assertThat(printed(Way.FOLDERS, "images")).doesNotContain("b ");
    }

    @Test
    void rmi_removes_from_the_disk_what_no_daemon_can_be_asked_about() {
        printed(Way.FOLDERS, "snapshot-diff", "--from", "py", "--tag", "a", "--exec", "echo");
        Map<String, String> unreachable = new HashMap<>(folders());
        unreachable.put("FORKD_URL", "http://127.0.0.1:1");
        assertThat(run(unreachable, "rmi", "a")).isZero();
        assertThat(out.toString(StandardCharsets.UTF_8)).isEqualTo("removed a (disk)\n");
        assertThat(said()).contains("cannot reach the daemon at http://127.0.0.1:1: Connection refused");
        assertThat(run(unreachable, "ls")).isEqualTo(1);
        assertThat(said()).startsWith("Error: cannot reach the daemon at http://127.0.0.1:1: ");
    }

    @ParameterizedTest
    @EnumSource
    void workspace_sleeps_and_wakes(Way way) {
        assertThat(printed(way, "workspace", "list")).isEqualTo("(no workspaces)");
        String made = printed(way, "workspace", "create", "w", "--snapshot", "py");
        assertThat(made).matches("w  running  py  -  sb-\\S+");
        String id = made.substring(made.lastIndexOf(' ') + 1);
        printed(way, "eval", "--child", id, "count");
        assertThat(printed(way, "workspace", "suspend", "w")).isEqualTo("w  suspended  py  ws-w-state  -");
        assertThat(run(way, "workspace", "suspend", "w")).isEqualTo(1);
        assertThat(said()).contains("HTTP 400", "is not running");
        JsonNode awake = json(way, "workspace", "resume", "w", "--json");
        assertThat(printed(way, "eval", "--child", awake.path("live_sandbox_id").stringValue(), "count"))
                .isEqualTo("2");
        assertThat(json(way, "workspace", "list", "--json")).hasSize(1);
        assertThat(printed(way, "workspace", "list")).contains("NAME", "running");
        assertThat(printed(way, "workspace", "delete", "w")).isEqualTo("deleted w");
        assertThat(run(way, "workspace", "delete", "w")).isEqualTo(1);
        assertThat(said()).contains("HTTP 404");
    }

    @ParameterizedTest
    @EnumSource
    void bench_measures_a_life_and_leaves_nothing(Way way) {
        assertThat(printed(way, "bench", "--tag", "py", "-n", "2").lines())
                .satisfiesExactly(
                        line -> assertThat(line).matches("STEP +MS"),
                        line -> assertThat(line).matches("spawn 1 +[0-9.]+"),
                        line -> assertThat(line).matches("exec +[0-9.]+"),
                        line -> assertThat(line).matches("branch --diff +[0-9.]+"),
                        line -> assertThat(line).matches("spawn 2 of the branch +[0-9.]+"),
                        line -> assertThat(line).matches("kill 3 +[0-9.]+"),
                        line -> assertThat(line).matches("total +[0-9.]+"));
        JsonNode result = json(way, "bench", "--json", "-n", "1");
        assertThat(result.path("steps")).hasSize(5);
        assertThat(result.path("tag").stringValue()).isEqualTo("py");
        assertThat(json(Way.FOLDERS, "ls", "--json")).isEmpty();
        assertThat(json(Way.FOLDERS, "images", "--json")).hasSize(1);
    }

    @Test
    void token_is_asked_for_and_never_shown() {
        assertThat(run(folders(), "ls", "--daemon-url", url)).isEqualTo(1);
        assertThat(said()).contains("HTTP 401").contains("--daemon-token");
        assertThat(run(folders(), "ls", "--daemon-url", url, "--daemon-token", TOKEN))
                .isZero();
        for (String verb : List.of("spawn", "ls", "kill", "exec", "snapshot", "rmi")) {
            assertThat(run(Way.TCP, verb, "--help")).isZero();
            assertThat(out.toString(StandardCharsets.UTF_8))
                    .contains("--daemon-url", "--daemon-token")
                    .doesNotContain(TOKEN);
        }
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "ls --daemon-url ftp://x                             | is not a daemon's URL",
                "ls --daemon-url http://                             | is not a daemon's URL",
                "exec --daemon-url http://x -- true                  | --daemon-url is for sandboxes",
                "snapshot --tag x --rootfs r --daemon-url http://x   | --daemon-url is for --from-sandbox",
                "snapshot --from-sandbox x --force --daemon-url http://x | --force is not for",
                "spawn --tag x --volume-conflict private --daemon-url http://x | --volume-conflict private is not",
                "snapshot-compact py --daemon-url http://x           | without --from and --to is not for",
                "snapshot-compact --from a --to a                    | are the same",
                "snapshot-compact a --to b                           | give the snapshot, or",
            })
    void wrong_use_is_told(String line, String message) {
        List<String> arguments = new ArrayList<>(List.of(line.strip().split(" +")));
        assertThat(run(folders(), arguments.toArray(String[]::new))).isEqualTo(2);
        assertThat(said()).startsWith("Error: ").contains(message);
    }

    @ParameterizedTest
    @ValueSource(strings = {"ls", "spawn --tag none", "exec --child sb-00000000 -- true", "workspace suspend none"})
    void errors_are_json_when_asked_for(String line) {
        List<String> arguments = new ArrayList<>(List.of(line.split(" ")));
        arguments.add(line.startsWith("workspace") ? 2 : 1, "--json");
        arguments.add(line.startsWith("workspace") ? 2 : 1, "--daemon-url=http://127.0.0.1:1");
        assertThat(run(folders(), arguments.toArray(String[]::new))).isEqualTo(1);
        assertThat(out.size()).isZero();
        assertThat(Json.parse(err.toByteArray()).path("error").path("message").stringValue())
                .contains("http://127.0.0.1:1");
    }
}
