package io.forkd.daemon;

import static org.assertj.core.api.Assertions.assertThat;

import io.forkd.Json;
import io.forkd.daemon.Api.Answer;
import io.forkd.http.Caller.Quotas;
import io.forkd.http.Caller.Role;
import io.forkd.http.TokenFile;
import io.forkd.image.RealRegistry;
import io.forkd.vmm.Guests;
import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.function.BooleanSupplier;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import tools.jackson.databind.JsonNode;

/** Snapshots of container images, from a real registry, booted on a kernel of our own. */
class ImagesApiTest {
    @RegisterExtension
    static final Service service = new Service();

    @TempDir
    static Path scratch;

    private static RealRegistry registry;

    @BeforeAll
    static void start() throws IOException, InterruptedException {
        registry = new RealRegistry(scratch);
        Path kernels = Files.createDirectories(service.beside().dataDirectory().resolve("kernels"));
        Files.move(Guests.compile("agent", scratch), kernels.resolve("vmlinux"));
    }

    @AfterAll
    static void stop() throws InterruptedException {
        registry.close();
    }

    private static String body(String tag, String image, String more) {
        return "{'tag':'" + tag + "','image':'" + image + "','memory_mib':64,'vcpus':1,'size_mib':32" + more + "}";
    }

    private static Answer create(Api api, String tag, String more) {
        return api.post("/v1/snapshots", body(tag, registry.image(), more));
    }

    private static void require(int status, Answer answer) {
        assertThat(answer.status()).as(answer.text()).isEqualTo(status);
    }

    private static List<JsonNode> lines(Answer answer) {
        require(200, answer);
        return answer.text()
                .lines()
                .map(line -> Json.parse(line.getBytes(StandardCharsets.UTF_8)))
                .toList();
    }

    private static JsonNode last(List<JsonNode> lines) {
        return lines.get(lines.size() - 1);
    }

    private static void await(BooleanSupplier condition) throws InterruptedException {
        long end = System.nanoTime() + Duration.ofSeconds(60).toNanos();
        while (!condition.getAsBoolean()) {
            assertThat(System.nanoTime()).isLessThan(end);
            Thread.sleep(50);
        }
    }

    private static List<String> names(Path directory) {
        try (Stream<Path> entries = Files.list(directory)) {
            return entries.map(entry -> entry.getFileName().toString()).toList();
        } catch (IOException e) {
            return List.of();
        }
    }

    @Test
    void image_becomes_a_snapshot() {
        Answer made = create(service.api(), "img", ",'disk_limit_mib':100,'warm':'1'");
        require(201, made);
        assertThat(made.text("status")).isEqualTo("ready");
        assertThat(service.listed("img")).contains(made.json());
        assertThat(service.api()
                        .get("/v1/snapshots/img/info")
                        .json()
                        .path("memory_logical_bytes")
                        .longValue())
                .isEqualTo(64 << 20);
        assertThat(service.exec(service.sandbox("img"), "echo", "hello")).isEqualTo("hello");
        Answer again = create(service.api(), "img", "");
        require(409, again);
        assertThat(again.error()).contains("img exists");
        require(201, create(service.api(), "img", ",'force':true"));
        require(201, service.api().post("/v1/snapshots", body("layout", "oci:" + registry.layout() + ":1", "")));
    }

    private static E2bClient e2b() {
        return new E2bClient(service.address().getPort(), List.of("X-API-KEY", "any"));
    }

    /** How a template's build of that image ended. */
    private static JsonNode build(String name, String image, String more) throws InterruptedException {
        E2bClient.Answer made = e2b().post("/v3/templates", "{'name':'" + name + "','memoryMB':64,'cpuCount':1}");
        assertThat(made.status()).as(made.text()).isEqualTo(202);
        String path = name + "/builds/" + made.json().path("buildID").stringValue();
        E2bClient.Answer started = e2b().post("/v2/templates/" + path, "{'fromImage':'" + image + "'" + more + "}");
        assertThat(started.status()).as(started.text()).isEqualTo(202);
        await(() -> !e2b().get("/templates/" + path + "/status").text().matches(".*\"(waiting|building)\".*"));
        return e2b().get("/templates/" + path + "/status").json();
    }

    @Test
    void template_is_built_of_an_image_and_nothing_is_left_beside_it() throws Exception {
        JsonNode built = build(
                "of-image",
                registry.image(),
                ",'steps':[{'type':'WORKDIR','args':['/made']}],"
                        + "'fromImageRegistry':{'type':'registry','username':'a','password':'b'}");
        assertThat(built.path("status").stringValue()).as(built.toString()).isEqualTo("ready");
        assertThat(built.path("logEntries").toString())
                .contains("[base] FROM " + registry.image(), "Rootfs: ", "The image has no shell");
        assertThat(service.status("of-image")).isEqualTo("ready");
        assertThat(service.exec(service.sandbox("of-image"), "echo", "hello")).isEqualTo("hello");
        Path data = service.beside().dataDirectory();
        assertThat(names(data.resolve("drafts"))).isSubsetOf(".lock", ".tap");
        try (Stream<Path> files = Files.walk(data.resolve("e2b"))) {
            assertThat(files.filter(file -> file.toString().contains("login"))).isEmpty();
        }
        JsonNode none = build("of-image", registry.host() + "/team/py:2", "");
        assertThat(none.path("status").stringValue()).isEqualTo("error");
        assertThat(none.path("reason").path("step").stringValue()).isEqualTo("base");
        assertThat(none.path("reason").path("message").stringValue()).contains("team/py:2");
        assertThat(service.status("of-image")).isEqualTo("ready");
        assertThat(names(data.resolve("drafts"))).isSubsetOf(".lock", ".tap");
    }

    @Test
    void progress_is_told_in_lines_and_the_last_says_how_it_ended() {
        List<JsonNode> lines = lines(service.api()
                .post("/v1/snapshots?progress=true", body("told", registry.image(), ",'platform':'linux/amd64'")));
        assertThat(lines)
                .anyMatch(line -> line.path("step").asString("").startsWith("Looking up"))
                .anyMatch(line -> line.path("step").asString("").startsWith("Booting"))
                .anyMatch(line -> line.path("note").asString("").startsWith("Rootfs: "));
        JsonNode made = last(lines);
        assertThat(made.path("snapshot")).isEqualTo(service.listed("told").orElseThrow());
        assertThat(made.path("image").stringValue()).startsWith("sha256:");
        assertThat(Path.of(made.path("rootfs").stringValue())).isRegularFile();
        List<JsonNode> cached =
                lines(service.api().post("/v1/snapshots?progress=true", body("told2", registry.image(), "")));
        assertThat(last(cached).path("cached").booleanValue()).isTrue();

        Answer none = service.api().post("/v1/snapshots", body("none", registry.host() + "/team/py:2", ""));
        JsonNode failed = last(lines(
                service.api().post("/v1/snapshots?progress=true", body("none", registry.host() + "/team/py:2", ""))));
        assertThat(failed.path("error").stringValue()).isEqualTo(none.error()).contains("team/py:2");
        assertThat(failed.path("status").intValue()).isEqualTo(none.status());
        require(409, service.api().post("/v1/snapshots?progress=true", body("told", registry.image(), "")));
        assertThat(service.status("none")).isEqualTo("none");
    }

    @Test
    void volume_is_mounted_and_has_to_be_there() throws IOException, InterruptedException {
        Path volume = scratch.resolve("volume.ext4");
        Process mkfs = new ProcessBuilder("mkfs.ext4", "-q", volume.toString(), "1M")
                .inheritIO()
                .start();
        assertThat(mkfs.waitFor()).isZero();
        require(201, create(service.api(), "vol", ",'volumes':['" + volume + ":/data:ro']"));
        require(400, create(service.api(), "vol2", ",'volumes':['/nowhere:/data']"));
        require(400, create(service.api(), "vol2", ",'volumes':['" + volume + "']"));
        require(422, create(service.api(), "vol2", ",'volumes':'" + volume + ":/data'"));
        require(422, create(service.api(), "vol2", ",'volume_conflict':'x'"));
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "'image':'UPPER/case'                    | 400",
                "'image':'a','rootfs':'/r'               | 400",
                "'image':'a','kernel':'/nowhere'         | 400",
                "'image':'a','initrd':'/nowhere'         | 400",
                "'image':'a','boot_wait_secs':86401      | 400",
                "'image':'a','platform':'x'              | 400",
                "'image':'a','packages':['-x']           | 400",
                "'image':7                               | 422",
                "'image':'a','memory_mib':63             | 422",
                "'image':'a','vcpus':33                  | 422",
                "'image':'a','size_mib':1                | 422",
                "'image':'a','packages':'x'              | 422",
                "'image':'a','force':'x'                 | 422",
                "'kernel':'/k'                           | 422",
            })
    void wrong_request_pulls_nothing(String fields, int status) {
        require(status, service.api().post("/v1/snapshots", "{'tag':'wrong'," + fields + "}"));
        assertThat(service.status("wrong")).isEqualTo("none");
    }

    private static Socket send(String target, String json) throws IOException {
        return send(service.address().getPort(), target, json);
    }

    private static Socket send(int port, String target, String json) throws IOException {
        byte[] body = json.replace('\'', '"').getBytes(StandardCharsets.UTF_8);
        Socket socket = new Socket(InetAddress.getLoopbackAddress(), port);
        socket.getOutputStream()
                .write(("POST " + target + " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                                + "Content-Length: " + body.length + "\r\n\r\n")
                        .getBytes(StandardCharsets.US_ASCII));
        socket.getOutputStream().write(body);
        return socket;
    }

    private static void requireNothingLeft(String tag) throws InterruptedException {
        long end = System.nanoTime() + Duration.ofSeconds(60).toNanos();
        for (Answer made = create(service.api(), tag, "");
                made.status() != 201;
                made = create(service.api(), tag, "")) {
            assertThat(System.nanoTime()).as(made.text()).isLessThan(end);
            Thread.sleep(50);
        }
        assertThat(names(service.snapshots()))
                .as("folders of the store")
                .filteredOn(name -> name.startsWith(".") && !name.equals(".lock"))
                .isEmpty();
        assertThat(names(service.directory().resolve("cache")))
                .as("folders of the cache")
                .noneMatch(name -> name.startsWith(".building-") || name.startsWith(".using-"));
        assertThat(names(service.beside().runtime().root()))
                .as("folders of runs")
                .noneMatch(name -> name.startsWith("snapshot-"));
    }

    @ParameterizedTest
    @ValueSource(strings = {"/v1/snapshots", "/v1/snapshots?progress=true"})
    void client_that_goes_away_while_it_is_pulled_gives_it_up(String target) throws Exception {
        try (ServerSocket deaf = new ServerSocket(0, 50, InetAddress.getLoopbackAddress())) {
            Socket client = send(target, body("left", "localhost:" + deaf.getLocalPort() + "/team/py:1", ""));
            deaf.accept();
            Answer second = create(service.api(), "left", "");
            require(409, second);
            assertThat(second.error()).contains("being made");
            client.close();
            requireNothingLeft("left");
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"/v1/snapshots", "/v1/snapshots?progress=true"})
    void client_that_goes_away_while_it_boots_gives_it_up(String target) throws Exception {
        Path mute = Guests.compile("mute", scratch);
        Socket client = send(target, body("left", registry.image(), ",'kernel':'" + mute + "'"));
        await(() -> names(service.beside().runtime().root()).stream().anyMatch(name -> name.startsWith("snapshot-")));
        client.close();
        requireNothingLeft("left");
    }

    /** Another daemon on the same folders, in a process of its own. */
    @Test
    void daemon_that_is_killed_while_it_boots_leaves_nothing_half_made() throws Exception {
        Path log = scratch.resolve("killed.log");
        ProcessBuilder command = new ProcessBuilder(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "-XX:TieredStopAtLevel=1",
                "-Xmx320m",
                "-cp",
                System.getProperty("java.class.path"),
                "io.forkd.cli.Main",
                "daemon",
                "--bind",
                "127.0.0.1:0",
                "--state",
                scratch.resolve("killed.json").toString(),
                "--audit-log",
                scratch.resolve("killed.audit").toString());
        command.environment().putAll(service.environment());
        Process daemon =
                command.redirectError(log.toFile()).redirectOutput(log.toFile()).start();
        try {
            await(() -> listening(log).isPresent());
            Path mute = Guests.compile("mute", scratch);
            Socket client = send(
                    listening(log).orElseThrow(),
                    "/v1/snapshots?progress=true",
                    body("left", registry.image(), ",'kernel':'" + mute + "'"));
            await(() -> runs() == 1);
            daemon.destroyForcibly().waitFor();
            client.close();
        } finally {
            daemon.destroyForcibly();
        }
        // As the next start, or the next that is made, does.
        service.beside().sweep();
        await(() -> runs() == 0);
        requireNothingLeft("left");
    }

    private static long runs() {
        return names(service.beside().runtime().root()).stream()
                .filter(name -> name.startsWith("snapshot-"))
                .count();
    }

    private static Optional<Integer> listening(Path log) {
        try {
            Matcher said = Pattern.compile("listening at http://127\\.0\\.0\\.1:([0-9]+)")
                    .matcher(Files.readString(log));
            return said.find() ? Optional.of(Integer.valueOf(said.group(1))) : Optional.empty();
        } catch (IOException e) {
            return Optional.empty();
        }
    }

    /** A daemon with callers of all roles, on the same folders. */
    private static final class Guarded implements AutoCloseable {
        private final Path file = service.directory().resolve("image-callers");
        private final Daemon daemon;

        Guarded(String registry) throws IOException {
            Files.deleteIfExists(file);
            TokenFile.add(file, "nobody", Role.READ, Quotas.NONE);
            service.keepStateIn(service.directory().resolve("image-callers.json"));
            service.letUsersPullFrom(registry);
            daemon = Daemon.start(service.beside(), service.options(Optional.of(file)));
        }

        Api user(String name, Quotas quotas) {
            String secret = TokenFile.add(file, name, Role.USER, quotas);
            assertThat(daemon.reload()).isEmpty();
            return new Api(daemon.address().orElseThrow(), "Authorization", "Bearer " + secret);
        }

        @Override
        public void close() {
            daemon.close();
        }
    }

    private static Quotas quotas(long sandboxes, long memoryMib, long snapshots) {
        return new Quotas(OptionalLong.of(sandboxes), OptionalLong.of(memoryMib), OptionalLong.of(snapshots));
    }

    @Test
    void user_has_images_of_its_own_within_its_quota() throws IOException {
        try (Guarded guarded = new Guarded(registry.host())) {
            Api anna = guarded.user("anna", quotas(2, 64, 1));
            Api bert = guarded.user("bert", Quotas.NONE);
            require(201, create(anna, "annas", ""));
            assertThat(names(service.directory().resolve("cache/users/anna/images")))
                    .isNotEmpty();
            require(404, bert.get("/v1/snapshots/annas/info"));
            require(404, bert.post("/v1/sandboxes", "{'snapshot_tag':'annas'}"));
            require(409, create(bert, "annas", ",'force':true"));
            require(409, create(bert, "py", ",'force':true"));
            Answer more = create(anna, "annas2", "");
            require(403, more);
            assertThat(more.error()).contains("quota of anna", "1 snapshots");
            require(201, create(anna, "annas", ",'force':true"));
            require(201, anna.post("/v1/sandboxes", "{'snapshot_tag':'annas'}"));
            // The guest that boots takes memory, too.
            assertThat(create(anna, "annas", ",'force':true").error()).contains("64 MiB of memory");
            require(403, create(bert, "ws-x-state", ""));
        }
    }

    @Test
    void images_of_one_user_take_no_more_than_they_may_and_nothing_from_another() throws IOException {
        // Room for one that is made, and not for another beside it.
        service.letUsersKeep(36 << 20);
        try (Guarded guarded = new Guarded(registry.host())) {
            Api carl = guarded.user("carl", Quotas.NONE);
            require(201, create(carl, "carls", ""));
            Answer more = carl.post(
                    "/v1/snapshots", body("carls2", registry.image(), "").replace("'size_mib':32", "'size_mib':33"));
            require(403, more);
            assertThat(more.error()).contains("36 MiB", "snapshots");
            // It is there, so it needs no room.
            require(201, create(carl, "carls3", ""));
            require(201, create(guarded.user("dora", Quotas.NONE), "doras", ""));
            for (String tag : List.of("carls", "carls3")) {
                require(204, carl.delete("/v1/snapshots/" + tag));
            }
            require(
                    201,
                    carl.post(
                            "/v1/snapshots",
                            body("carls2", registry.image(), "").replace("'size_mib':32", "'size_mib':33")));
            assertThat(names(service.directory().resolve("cache/users/carl/images")))
                    .filteredOn(name -> name.endsWith(".ext4"))
                    .hasSize(1);
        } finally {
            service.letUsersKeep(1 << 30);
        }
    }

    @Test
    void administrator_waits_longer_for_a_boot_than_a_user() throws IOException {
        try (Guarded guarded = new Guarded(registry.host())) {
            Answer refused = create(guarded.user("anna", Quotas.NONE), "late", ",'boot_wait_secs':61");
            require(400, refused);
            assertThat(refused.error()).contains("60");
            require(201, create(service.api(), "late", ",'boot_wait_secs':3600"));
        }
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "'kernel':'/k'",
                "'initrd':'/k'",
                "'rootfs':'/r'",
                "'tap':'eth0'",
                "'volumes':['/etc/passwd:/x:ro']",
                "'packages':['vim']",
                "'insecure_registry':true",
                "'disk_limit_mib':0",
                "'console_limit_kib':2048",
            })
    void user_names_nothing_of_the_host_and_takes_no_more_than_usual(String field) throws IOException {
        try (Guarded guarded = new Guarded(registry.host())) {
            Answer refused = create(guarded.user("anna", Quotas.NONE), "wide", "," + field);
            require(403, refused);
            assertThat(refused.error()).contains("administrators");
        }
    }

    @Test
    void user_has_images_from_nowhere_else() throws IOException {
        try (Guarded guarded = new Guarded("docker.io")) {
            Api anna = guarded.user("anna", Quotas.NONE);
            for (String image : List.of(
                    registry.image(),
                    "oci:" + registry.layout() + ":1",
                    "docker-archive:/etc/passwd",
                    "docker-daemon:x",
                    "169.254.169.254/a/b",
                    "docker.io.example.org/a/b")) {
                Answer refused = anna.post("/v1/snapshots", body("wide", image, ""));
                require(403, refused);
                assertThat(refused.error()).contains("docker.io");
            }
            require(422, anna.post("/v1/snapshots", "{'tag':'a','image':'docker.io/a/b','size_mib':10241}"));
        }
    }
}
