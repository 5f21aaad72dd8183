package io.forkd.daemon;

import static org.assertj.core.api.Assertions.assertThat;

import io.forkd.Remedy;
import io.forkd.engine.AgentSnapshot;
import io.forkd.engine.Call;
import io.forkd.engine.Engine;
import io.forkd.engine.Progress;
import io.forkd.files.Trees;
import io.forkd.http.HttpOptions;
import io.forkd.http.Limits;
import io.forkd.snapshot.SnapshotTag;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.InetSocketAddress;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.junit.jupiter.api.extension.AfterAllCallback;
import org.junit.jupiter.api.extension.AfterEachCallback;
import org.junit.jupiter.api.extension.BeforeAllCallback;
import org.junit.jupiter.api.extension.ExtensionContext;
import tools.jackson.databind.JsonNode;

/**
 * A daemon in this process, on folders of its own, with a snapshot "py" of the guest with an agent, for the tests of a class:
 * each finds nothing but that snapshot.
 */
final class Service implements BeforeAllCallback, AfterEachCallback, AfterAllCallback {
    private static final int CAP = 2;

    /** With fewer connections, so that a test can have all streams that there are then. */
    private static final Limits LIMITS = new Limits(
            Limits.STANDARD.callsAtOnce(),
            Limits.STANDARD.callsWaiting(),
            Limits.STANDARD.bodyBytes(),
            Limits.STANDARD.allBodyBytes(),
            Limits.STANDARD.allAnswerBytes(),
            Limits.STANDARD.bodyTime(),
            Limits.STANDARD.headTime(),
            Limits.STANDARD.idleTime(),
            512,
            Limits.STANDARD.drainTime());

    private final Path directory;
    private final int memoryMib;
    private final Map<String, String> environment;
    private Path state;
    private List<String> userRegistries = List.of("docker.io");
    private long userImagesBytes = 1 << 30;
    private Optional<Daemon> running = Optional.empty();

    Service() {
        this(64);
    }

    Service(int memoryMib) {
        try {
            this.directory = Files.createTempDirectory("forkd-");
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
        this.memoryMib = memoryMib;
        // Networks are the host's: none are made of this one's.
        this.environment = Map.of(
                "XDG_DATA_HOME",
                directory.toString(),
                "XDG_RUNTIME_DIR",
                directory.toString(),
                "FORKD_NET_RANGE",
                "none for tests",
                "FORKD_RUN_CACHE",
                directory.resolve("cache").toString());
        this.state = directory.resolve("state").resolve("state.json");
    }

    @Override
    public void beforeAll(ExtensionContext tests) throws IOException, InterruptedException {
        AgentSnapshot.make(beside(), directory, "py", memoryMib);
        start();
    }

    @Override
    public void afterEach(ExtensionContext test) {
        for (JsonNode each : api().get("/v1/workspaces").json()) {
            api().delete("/v1/workspaces/" + each.path("name").stringValue());
        }
        killAll();
        for (JsonNode each : api().get("/v1/snapshots").json()) {
            if (!each.path("tag").stringValue().equals("py")) {
                api().delete("/v1/snapshots/" + each.path("tag").stringValue() + "?force=true");
            }
        }
    }

    /** What a command line beside the daemon has. */
    Engine beside() {
        return Engine.of(environment);
    }

    Map<String, String> environment() {
        return environment;
    }

    static Call call() {
        return new Call(
                new Progress() {
                    @Override
                    public void step(String what) {}

                    @Override
                    public void warn(String what, Remedy remedy) {}
                },
                Optional.empty());
    }

    void start() {
        running = Optional.of(Daemon.start(beside(), options(Optional.empty())));
    }

    DaemonOptions options(Optional<Path> tokenFile) {
        return new DaemonOptions(
                new HttpOptions(
                        Optional.of(HttpOptions.address("127.0.0.1:0")),
                        Optional.empty(),
                        Optional.empty(),
                        tokenFile,
                        Optional.of(directory.resolve("audit.log")),
                        LIMITS),
                state,
                "localhost",
                tokenFile.isPresent() ? 2 * CAP : CAP, // of which a user has half
                userRegistries,
                userImagesBytes);
    }

    /** From its next start on. */
    void keepStateIn(Path file) {
        state = file;
    }

    /** For daemons that are started from now on. */
    void letUsersKeep(long imagesBytes) {
        userImagesBytes = imagesBytes;
    }

    /** For daemons that are started from now on. */
    void letUsersPullFrom(String registry) {
        userRegistries = List.of(registry);
    }

    void stop() {
        running.ifPresent(Daemon::close);
        running = Optional.empty();
    }

    void restart() {
        stop();
        start();
    }

    Api api() {
        return new Api(address());
    }

    InetSocketAddress address() {
        return running.orElseThrow().address().orElseThrow();
    }

    Path state() {
        return state;
    }

    Path directory() {
        return directory;
    }

    Path snapshots() {
        return beside().store().root();
    }

    /** Makes one sandbox of "py", and tells its id. */
    String sandbox() {
        return sandbox("py");
    }

    String sandbox(String tag) {
        Api.Answer made = api().post("/v1/sandboxes", "{'snapshot_tag':'" + tag + "'}");
        assertThat(made.status()).as(made.text()).isEqualTo(201);
        return made.json().get(0).path("id").stringValue();
    }

    List<String> ids() {
        return api().get("/v1/sandboxes")
                .json()
                .valueStream()
                .map(each -> each.path("id").stringValue())
                .toList();
    }

    /** What a command in a sandbox writes. */
    String exec(String id, String... words) {
        Api.Answer answer =
                api().post("/v1/sandboxes/" + id + "/exec", "{'args':['" + String.join("','", words) + "']}");
        assertThat(answer.status()).as(answer.text()).isEqualTo(200);
        return answer.text("stdout").strip();
    }

    Optional<JsonNode> listed(String tag) {
        List<JsonNode> found = api().get("/v1/snapshots")
                .json()
                .valueStream()
                .filter(each -> each.path("tag").stringValue().equals(tag))
                .toList();
        assertThat(found).hasSizeLessThanOrEqualTo(1);
        return found.stream().findFirst();
    }

    String status(String tag) {
        return listed(tag).map(each -> each.path("status").stringValue()).orElse("none");
    }

    void branch(String id, String tag) {
        Api.Answer made = api().post("/v1/sandboxes/" + id + "/branch", "{'tag':'" + tag + "'}");
        assertThat(made.status()).as(made.text()).isEqualTo(201);
    }

    /** Who writes a snapshot into a folder, as against the fork server that it was made by, which has files open there, too. */
    static List<Long> writers(Path folder) {
        List<Long> found = open(folder);
        return found.stream()
                .filter(pid -> ProcessHandle.of(pid)
                        .flatMap(ProcessHandle::parent)
                        .filter(parent -> found.contains(parent.pid()))
                        .isPresent())
                .toList();
    }

    private static List<Long> open(Path folder) {
        List<Long> found = new ArrayList<>();
        try (Stream<ProcessHandle> all = ProcessHandle.allProcesses()) {
            for (ProcessHandle process : all.toList()) {
                if (writes(process.pid(), folder)) {
                    found.add(process.pid());
                }
            }
        }
        return found;
    }

    private static boolean writes(long pid, Path folder) {
        Path files = Path.of("/proc", Long.toString(pid), "fd");
        try (Stream<Path> open = Files.list(files)) {
            for (Path each : open.toList()) {
                Path file = Files.readSymbolicLink(each);
                if (file.startsWith(folder)
                        && !file.getFileName().toString().startsWith(".")
                        && Files.isWritable(each)
                        && pid != ProcessHandle.current().pid()) {
                    return true;
                }
            }
        } catch (IOException e) {
            // It has ended.
        }
        return false;
    }

    static void signal(String name, long pid) throws IOException, InterruptedException {
        Process kill = new ProcessBuilder("kill", "-" + name, Long.toString(pid)).start();
        assertThat(kill.waitFor(10, TimeUnit.SECONDS)).isTrue();
        while (name.equals("STOP") && !isStopped(pid)) {
            Thread.onSpinWait();
        }
    }

    private static boolean isStopped(long pid) throws IOException {
        String stat = Files.readString(Path.of("/proc", Long.toString(pid), "stat"));
        return stat.substring(stat.lastIndexOf(')') + 2).startsWith("T");
    }

    SnapshotTag tag(String tag) {
        return new SnapshotTag(tag);
    }

    void killAll() {
        Engine engine = beside();
        engine.sandboxes().kill(engine.sandboxes().list(), call());
    }

    @Override
    public void afterAll(ExtensionContext tests) throws IOException {
        stop();
        killAll();
        Trees.delete(directory);
    }
}
