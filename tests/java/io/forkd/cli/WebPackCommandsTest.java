package io.forkd.cli;

import static org.assertj.core.api.Assertions.assertThat;

import io.forkd.Json;
import io.forkd.files.Trees;
import io.forkd.image.Digest;
import io.forkd.image.WebServer;
import io.forkd.pack.Sample;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import tools.jackson.databind.JsonNode;

/** Packs at addresses of the web, as {@code push} and {@code pull} put and get them, with servers that are not what they should be. */
class WebPackCommandsTest {
    private static final String PACK = "/team/it.forkd-snapshot.tar.zst";

    @TempDir
    Path folder;

    private WebServer server;
    private WebServer secure;
    private Map<String, String> theirs;
    private Map<String, String> ours;
    private Path store;
    private byte[] pack = {};
    private String sidecar = "";
    private final ByteArrayOutputStream out = new ByteArrayOutputStream();
    private final ByteArrayOutputStream err = new ByteArrayOutputStream();

    @BeforeEach
    void start() throws Exception {
        server = WebServer.plain();
        secure = WebServer.secure(folder);
        Sample source = new Sample(folder.resolve("source"));
        source.chain();
        theirs = source.environment();
        ours = new HashMap<>(new Sample(folder.resolve("target")).environment());
        ours.putAll(secure.trust());
        store = folder.resolve("target/data/forkd/snapshots");
        assertThat(run(
                        theirs,
                        "pack",
                        "--tag",
                        "top",
                        "-o",
                        folder.resolve("it").toString()))
                .isZero();
        pack = Files.readAllBytes(folder.resolve("it"));
        try (var all = Files.list(folder)) {
            Path disk = all.filter(file -> file.toString().endsWith(".rootfs.zst"))
                    .findFirst()
                    .orElseThrow();
            sidecar = "/team/" + disk.getFileName();
            for (WebServer each : List.of(server, secure)) {
                each.put(PACK, pack);
                each.put(sidecar, Files.readAllBytes(disk));
            }
        }
    }

    @AfterEach
    void stop() throws IOException {
        server.close();
        secure.close();
    }

    private int run(Map<String, String> environment, String... arguments) {
        out.reset();
        err.reset();
        return Main.run(
                Shell.of(
                        new PrintStream(out, true, StandardCharsets.UTF_8),
                        new PrintStream(err, true, StandardCharsets.UTF_8),
                        false,
                        environment),
                arguments);
    }

    private int pull(String... arguments) {
        List<String> all = new ArrayList<>(List.of("pull"));
        all.addAll(List.of(arguments));
        return run(ours, all.toArray(new String[0]));
    }

    private String said() {
        return err.toString(StandardCharsets.UTF_8);
    }

    private JsonNode json() {
        return Json.parse(out.toByteArray());
    }

    private List<String> tags() throws IOException {
        return Trees.list(store).stream()
                .map(path -> String.valueOf(path.getFileName()))
                .filter(name -> !name.equals(".lock"))
                .sorted()
                .toList();
    }

    private void assertRefused(String address, int status, String why) throws IOException {
        assertThat(pull(address)).as(said()).isEqualTo(status);
        assertThat(said()).contains(why);
        assertThat(tags()).as("of %s", said()).isEmpty();
    }

    @Test
    void pack_is_put_with_its_root_disk_and_got_elsewhere() throws Exception {
        WebServer empty = WebServer.plain();
        try (empty) {
            String to = empty.url() + "/hub/x.forkd-snapshot.tar.zst";
            assertThat(run(theirs, "push", "--tag", "top", to, "--description", "a chain", "--json"))
                    .as(said())
                    .isZero();
            JsonNode pushed = json();
            String digest =
                    Digest.sha256(empty.file("/hub/x.forkd-snapshot.tar.zst")).toString();
            assertThat(pushed.path("digest").asString("")).isEqualTo(digest);
            assertThat(pushed.path("rootfs_state").asString("")).isEqualTo("sent");
            assertThat(empty.paths()).hasSize(2);
            List<WebServer.Request> puts = empty.requests().stream()
                    .filter(request -> request.method().equals("PUT"))
                    .toList();
            assertThat(puts).extracting(WebServer.Request::path).last().isEqualTo("/hub/x.forkd-snapshot.tar.zst");
            assertThat(puts)
                    .allSatisfy(request -> assertThat(request.headers())
                            .containsKey("content-length")
                            .doesNotContainKey("content-type"));

            assertThat(pull(to, "--json")).as(said()).isZero();
            assertThat(json().path("tags").toString()).isEqualTo("[\"base\",\"middle\",\"top\"]");
            assertThat(json().path("digest").asString("")).isEqualTo(digest);
            assertThat(json().path("rootfs_missing").asBoolean(true)).isFalse();
            assertThat(tags()).containsExactly("base", "middle", "top");

            assertThat(run(theirs, "push", "--tag", "top", to)).isZero();
            assertThat(said()).contains(", was there");
            assertThat(empty.requests().stream()
                            .filter(request -> request.method().equals("PUT")))
                    .hasSize(3);
        }
        assertThat(Files.exists(folder.resolve("source/data/forkd/snapshots")))
                .as("nothing but snapshots is left")
                .isTrue();
        assertThat(Trees.list(folder.resolve("source/data/forkd/snapshots")))
                .noneMatch(path -> path.getFileName().toString().startsWith(".staging"));
    }

    @Test
    void address_that_is_good_for_one_file_leaves_the_root_disk_to_its_owner() {
        String signed = server.url() + "/signed/x.tar.zst?X-Signature=secret";
        assertThat(run(theirs, "push", "top", signed, "--json")).as(said()).isZero();
        assertThat(json().path("rootfs_state").asString("")).isEqualTo("left");
        assertThat(said()).contains("the root disk has to be put beside it").doesNotContain("secret");
        assertThat(out.toString(StandardCharsets.UTF_8)).doesNotContain("secret");
        assertThat(server.paths())
                .contains("/signed/x.tar.zst?X-Signature=secret")
                .hasSize(3);
    }

    /** Who does not say what there is gets it. */
    @Test
    void root_disk_is_put_where_nobody_may_look() {
        server.on("/x", (request, answer) -> WebServer.head(answer, "201 Created", "Content-Length: 0"));
        server.on(
                sidecar.substring(5),
                (request, answer) -> WebServer.head(
                        answer, request.method().equals("PUT") ? "201 Created" : "403 Forbidden", "Content-Length: 0"));
        assertThat(run(theirs, "push", "top", server.url() + "/x", "--json"))
                .as(said())
                .isZero();
        assertThat(json().path("rootfs_state").asString("")).isEqualTo("sent");
    }

    @ParameterizedTest
    @CsvSource({
        "405, takes nothing (HTTP 405)",
        "413, it is larger than",
        "403, refuses access (HTTP 403)",
        "507, failed (HTTP 507)"
    })
    void server_that_takes_nothing_is_said(int status, String why) {
        server.on("/x", (request, answer) -> WebServer.head(answer, status + " No", "Content-Length: 0"));
        assertThat(run(theirs, "push", "top", server.url() + "/x")).isEqualTo(1);
        assertThat(said())
                .contains("cannot send it to " + server.url() + "/x: ")
                .contains(why);
    }

    @Test
    void pack_comes_by_tls_from_whom_is_trusted() throws Exception {
        assertThat(pull(secure.url() + PACK)).as(said()).isZero();
        assertThat(tags()).containsExactly("base", "middle", "top");
        ours.remove("SSL_CERT_FILE");
        assertThat(pull(secure.url() + PACK, "--force")).isEqualTo(1);
        assertThat(said()).contains("cannot get " + secure.url() + PACK);
    }

    @Test
    void tag_that_is_taken_needs_force_and_stays_when_it_fails() throws Exception {
        assertThat(pull(server.url() + PACK)).isZero();
        assertThat(pull(server.url() + PACK)).isEqualTo(1);
        assertThat(said()).contains("the snapshot 'base' exists already");
        byte[] damaged = pack.clone();
        damaged[damaged.length / 2] ^= 1;
        server.put(PACK, damaged);
        assertThat(pull(server.url() + PACK, "--force")).isEqualTo(1);
        assertThat(tags()).containsExactly("base", "middle", "top");
        server.put(PACK, pack);
        assertThat(pull(server.url() + PACK, "--force")).as(said()).isZero();
    }

    @Test
    void hash_that_is_given_counts() throws Exception {
        String hash = Digest.sha256(pack).hex();
        assertThat(pull(server.url() + PACK, "--sha256", "0".repeat(64))).isEqualTo(1);
        assertThat(said()).contains(PACK + " has the SHA-256 " + hash + ", and should have 0000");
        assertThat(tags()).isEmpty();
        assertThat(pull(server.url() + PACK, "--sha256", hash.toUpperCase(java.util.Locale.ROOT)))
                .as(said())
                .isZero();
        assertThat(pull(server.url() + PACK, "--sha256", "abc")).isEqualTo(2);
        assertThat(pull("localhost:1/team/x:1", "--sha256", hash)).isEqualTo(2);
        assertThat(said()).contains("--sha256 is for a pack");
    }

    @Test
    void root_disk_that_is_not_there_is_a_warning_and_one_that_is_another_is_not() throws Exception {
        server.on(sidecar, (request, answer) -> WebServer.head(answer, "404 Not Found", "Content-Length: 0"));
        assertThat(pull(server.url() + PACK, "--json")).as(said()).isZero();
        assertThat(said()).contains("the root disk is missing").contains(server.url() + sidecar);
        assertThat(json().path("rootfs_missing").asBoolean(false)).isTrue();
        assertThat(run(ours, "rmi", "top", "middle", "base")).isZero();
        for (byte[] other : List.of(pack, "x".getBytes(StandardCharsets.US_ASCII))) {
            server.on(sidecar, (request, answer) -> {
                WebServer.head(answer, "200 OK", "Content-Length: " + other.length);
                answer.write(other);
            });
            assertThat(pull(server.url() + PACK)).as(said()).isEqualTo(1);
            assertThat(tags()).isEmpty();
        }
        server.on(sidecar, WebPackCommandsTest::endless);
        assertRefused(server.url() + PACK, 1, "has no end, and what it says of itself takes");
    }

    private static void endless(WebServer.Request request, OutputStream answer) throws IOException {
        WebServer.head(answer, "200 OK");
        for (byte[] block = new byte[1 << 16]; ; ) {
            answer.write(block);
        }
    }

    // --- servers that lie

    @ParameterizedTest
    @ValueSource(strings = {"http://", "file:///etc/passwd", "ftp://", "gopher://", "//:x", "jar:file:/x!/"})
    void redirect_to_what_is_less_secure_is_not_followed(String to) throws Exception {
        String target = to.equals("http://") ? server.url() + PACK : to.endsWith("//") ? to + "localhost/x" : to;
        secure.redirect("/x", target);
        assertRefused(secure.url() + "/x", 1, "cannot get " + secure.url() + "/x: it redirects to ");
        assertThat(server.requests()).isEmpty();
    }

    @Test
    void redirect_to_what_is_as_secure_is_followed_and_the_root_disk_is_where_it_was_asked_for() throws Exception {
        server.redirect("/a/x", secure.url() + PACK);
        server.redirect("/a" + sidecar.substring(5), "/there");
        server.put("/there", server.file(sidecar));
        assertThat(pull(server.url() + "/a/x")).as(said()).isZero();
        assertThat(tags()).containsExactly("base", "middle", "top");
        assertThat(secure.requests()).extracting(WebServer.Request::path).containsExactly(PACK);
    }

    @Test
    void redirects_without_an_end_have_one() throws Exception {
        secure.redirect("/x", secure.url() + "/y");
        secure.redirect("/y", "/x");
        assertRefused(secure.url() + "/x", 1, "it redirects too often");
        assertThat(secure.requests()).hasSizeLessThan(10);
    }

    @Test
    void what_breaks_goes_on_where_it_was() throws Exception {
        AtomicInteger times = new AtomicInteger();
        byte[] long1 = server.file(PACK);
        secure.put("/y", long1);
        secure.on("/x", (request, answer) -> {
            int from = Integer.parseInt(
                    "0" + request.headers().getOrDefault("range", "").replaceAll("[^0-9]", ""));
            int count = times.incrementAndGet() < 4 ? 100 : long1.length - from;
            String[] headers = {
                "ETag: \"a\"",
                "Content-Length: " + (long1.length - from),
                "Content-Range: bytes " + from + "-" + (long1.length - 1) + "/" + long1.length
            };
            WebServer.head(answer, from > 0 ? "206 Partial Content" : "200 OK", headers);
            answer.write(long1, from, count);
        });
        secure.put("/" + sidecar.substring(6), server.file(sidecar));
        assertThat(pull(secure.url() + "/x")).as(said()).isZero();
        assertThat(secure.requests().stream()
                        .filter(request -> request.path().equals("/x"))
                        .map(request -> request.headers().getOrDefault("range", "")))
                .containsExactly("", "bytes=100-", "bytes=200-", "bytes=300-");
    }

    /** The second half is of another file than the first. */
    @Test
    void what_is_another_when_it_goes_on_begins_anew() throws Exception {
        AtomicInteger times = new AtomicInteger();
        server.on("/team/x", (request, answer) -> {
            boolean first = times.incrementAndGet() == 1;
            byte[] content = first ? new byte[pack.length] : pack;
            if (first) {
                System.arraycopy(pack, 0, content, 0, 200);
            }
            WebServer.head(answer, "200 OK", "ETag: \"" + first + "\"", "Content-Length: " + content.length);
            answer.write(content, 0, first ? 200 : content.length);
        });
        assertThat(pull(server.url() + "/team/x")).as(said()).isZero();
        assertThat(times.get()).isEqualTo(2);
    }

    @ParameterizedTest
    @ValueSource(strings = {"truncated", "drip", "elsewhere", "nothing"})
    void what_never_comes_whole_is_given_up(String how) throws Exception {
        AtomicInteger times = new AtomicInteger();
        server.on("/x", (request, answer) -> {
            times.incrementAndGet();
            switch (how) {
                case "truncated" -> {
                    WebServer.head(answer, "200 OK", "Content-Length: " + pack.length);
                    answer.write(pack, 0, pack.length - 1);
                }
                case "drip" -> {
                    int from = Integer.parseInt(
                            "0" + request.headers().getOrDefault("range", "").replaceAll("[^0-9]", ""));
                    WebServer.head(
                            answer,
                            from > 0 ? "206 Partial Content" : "200 OK",
                            "ETag: \"a\"",
                            "Content-Length: " + (pack.length - from),
                            "Content-Range: bytes " + from + "-9/*");
                    answer.write(pack, from, 1);
                }
                case "elsewhere" -> {
                    WebServer.head(answer, "206 Partial Content", "Content-Length: 9", "Content-Range: bytes 7-15/99");
                    answer.write(pack, 0, 9);
                }
                default -> WebServer.head(answer, "200 OK", "Content-Length: " + pack.length);
            }
        });
        assertRefused(server.url() + "/x", 1, "the connection breaks again and again");
        assertThat(times.get()).isEqualTo(5);
    }

    @Test
    void what_has_no_end_is_got_no_further_than_it_may_go() throws Exception {
        server.on("/x", (request, answer) -> {
            WebServer.head(answer, "200 OK");
            answer.write(pack);
            for (byte[] block = new byte[1 << 16]; ; ) {
                answer.write(block);
            }
        });
        assertRefused(server.url() + "/x", 1, "has no end, and what it says of itself takes");
        server.on("/y", WebPackCommandsTest::endless);
        assertRefused(server.url() + "/y", 1, server.url() + "/y");
        assertThat(said()).contains("it is not packed by zstd");
    }

    @Test
    void length_that_is_a_lie_is_found_before_it_comes() throws Exception {
        server.on("/x", (request, answer) -> {
            WebServer.head(answer, "200 OK", "Content-Length: " + (1L << 40));
            answer.write(Arrays.copyOf(pack, 3 << 20));
            answer.flush();
            try {
                Thread.sleep(60_000);
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            }
        });
        long begun = System.nanoTime();
        assertThat(pull(server.url() + "/x")).isEqualTo(1);
        assertThat(said()).containsAnyOf("has 1099511627776 bytes, and what it says", "there is no room for");
        assertThat(System.nanoTime() - begun).isLessThan(30_000_000_000L);
        assertThat(tags()).isEmpty();
    }

    @ParameterizedTest
    @CsvSource({
        "404, there is nothing (HTTP 404)",
        "410, there is nothing (HTTP 410)",
        "401, refuses access (HTTP 401)",
        "418, failed (HTTP 418)",
        "501, failed (HTTP 501)"
    })
    void refusal_is_said(int status, String why) throws Exception {
        server.on("/x", (request, answer) -> WebServer.head(answer, status + " No", "Content-Length: 0"));
        assertRefused(server.url() + "/x", 1, why);
        assertThat(server.requests()).hasSize(1);
    }

    @Test
    void failure_that_may_pass_is_tried_again() throws Exception {
        AtomicInteger times = new AtomicInteger();
        server.on("/team/x", (request, answer) -> {
            if (times.incrementAndGet() < 3) {
                WebServer.head(answer, "503 Later", "Content-Length: 0");
            } else {
                WebServer.head(answer, "200 OK", "Content-Length: " + pack.length);
                answer.write(pack);
            }
        });
        assertThat(pull(server.url() + "/team/x")).as(said()).isZero();
    }

    @ParameterizedTest
    @CsvSource({
        "http://forkd.invalid/x, is not secure: it has no TLS",
        "https://user:secret@localhost/x, there is a user or a password in an address of localhost",
        "https:///x, not an address of https:// or http://",
        "https://localhost, an address of a folder",
        "https://localhost/x/, an address of a folder",
        "https://a b/x, not an address"
    })
    void address_that_is_none_is_wrong(String address, String why) throws Exception {
        assertRefused(address, 2, why);
        assertThat(said()).doesNotContain(":secret@");
    }

    @Test
    void policy_that_wants_signatures_takes_no_pack() throws Exception {
        Path policy = folder.resolve("policy.json");
        Files.writeString(policy, "{\"default\":[{\"type\":\"reject\"}]}");
        assertThat(pull(server.url() + PACK, "--policy", policy.toString())).isEqualTo(1);
        assertThat(said()).contains("a pack has no signature, and the policy " + policy + " wants one");
        assertThat(server.requests()).isEmpty();
        Files.writeString(policy, "{\"default\":[{\"type\":\"insecureAcceptAnything\"}]}");
        assertThat(pull(server.url() + PACK, "--policy", policy.toString())).isZero();
    }

    // --- names of a hub

    private void hub(String json) {
        secure.put("/registry.json", json.replace('\'', '"').getBytes(StandardCharsets.UTF_8));
        ours.put("FORKD_HUB_URL", secure.url() + "/registry.json");
    }

    @Test
    void name_leads_to_a_pack_and_its_hash() throws Exception {
        String good = Digest.sha256(pack).hex();
        hub("{'_comment': 'x', 'schema_version': 1, 'packages': {'team/it': {'description': 'd', 'versions': {"
                + "'latest': {'url': '" + secure.url() + PACK + "', 'sha256': '"
                + good.toUpperCase(java.util.Locale.ROOT) + "', 'size_bytes': 1, 'memory_mib': 64},"
                + "'2': {'url': '." + PACK + "'}, 'bad': {'url': '." + PACK + "', 'sha256': '" + "0".repeat(64)
                + "'}}}}}");
        assertThat(pull("team/it", "--json")).as(said()).isZero();
        assertThat(json().path("digest").asString("")).isEqualTo("sha256:" + good);
        assertThat(pull("team/it@2", "--force")).as(said()).isZero();
        assertThat(pull("team/it@bad", "--force")).isEqualTo(1);
        assertThat(said()).contains("and should have 0000");
        assertThat(tags()).containsExactly("base", "middle", "top");
        assertThat(pull("team/other")).isEqualTo(1);
        assertThat(said()).contains("has no package 'team/other'").contains("It has team/it.");
        assertThat(pull("team/it@9")).isEqualTo(1);
        assertThat(said()).contains("has no version '9' of team/it").contains("It has 2, bad, latest.");
        // What is no name of a hub is looked for in a registry all the same.
        assertThat(pull("localhost:1/team/it:1")).isEqualTo(1);
        assertThat(said()).contains("localhost:1");
    }

    @Test
    void name_without_a_hub_is_said_to_be_one() {
        assertThat(pull("team/it@2")).isEqualTo(2);
        assertThat(said()).contains("'team/it@2' is a name in a hub, and there is none");
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "[] | it has no \"packages\"",
                "{ | it is not JSON",
                "{'schema_version': 2, 'packages': {}} | has schema_version 2",
                "{'packages': {'team/it': {'versions': {'latest': {}}}}} | it says no address of team/it@latest",
                "{'packages': {'team/it': {'versions': {'latest': {'url': 'http://localhost/x'}}}}} | is http://, which is not"
                        + " secure",
                "{'packages': {'team/it': {'versions': {'latest': {'url': 'file:///etc/passwd'}}}}} | the address of"
                        + " team/it@latest is none",
                "{'packages': {'team/it': {'versions': {'latest': {'url': 'https://u:p@localhost/x'}}}}} | the address of"
                        + " team/it@latest is none",
                "{'packages': {'team/it': {'versions': {'latest': {'url': 'https://localhost/x', 'sha256': 'abc'}}}}} | the"
                        + " sha256 of team/it@latest is none",
                "{'packages': {'team/it': {'versions': {'latest': 7}}}} | has no version 'latest'",
                "{'packages': {'team/it': []}} | has no package 'team/it'"
            })
    void hub_that_is_none_is_not_believed(String json, String why) throws Exception {
        hub(json);
        assertThat(pull("team/it")).as(said()).isEqualTo(1);
        assertThat(said()).contains(why);
        assertThat(tags()).isEmpty();
    }

    @Test
    void hub_without_an_end_is_not_read_to_it() throws Exception {
        ours.put("FORKD_HUB_URL", secure.url() + "/registry.json");
        secure.on("/registry.json", WebPackCommandsTest::endless);
        assertThat(pull("team/it")).isEqualTo(1);
        assertThat(said()).contains("is larger than 8388608 bytes");
        assertThat(tags()).isEmpty();
    }
}
