package io.forkd.hub;

import static org.assertj.core.api.Assertions.assertThat;

import com.sun.net.httpserver.HttpServer;
import io.forkd.ForkdException;
import io.forkd.image.RealRegistry;
import java.io.IOException;
import java.io.InputStream;
import java.net.HttpURLConnection;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.Executors;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Disks that are full, and a registry that breaks off, is slow, or sends something else. */
class HubFaultsTest {
    private static final int STEP_KIB = 512;

    @TempDir
    Path folder;

    private RealRegistry registry;
    private Host source;
    private Path small;
    private String ref;

    @BeforeEach
    void start() throws Exception {
        registry = new RealRegistry(Files.createDirectory(folder.resolve("registry-of-test")));
        source = new Host(folder.resolve("source"));
        source.boot();
        ref = registry.host() + "/team/warm:1";
        source.push("base", ref);
        small = Files.createDirectory(folder.resolve("small"));
        run("mount", "-t", "tmpfs", "-o", "size=64k", "forkd-test", small.toString());
    }

    @AfterEach
    void stop() throws Exception {
        run("umount", small.toString());
        registry.close();
    }

    private static void run(String... command) throws Exception {
        assertThat(new ProcessBuilder(command).inheritIO().start().waitFor())
                .as("needs root: " + String.join(" ", command))
                .isZero();
    }

    /** Tried with ever more room; each time it goes on where it ended. */
    @Test
    void pull_to_a_disk_that_is_full_leaves_no_tag_and_goes_on_when_there_is_room() throws Exception {
        Host target = new Host(small.resolve("target"));
        List<String> why = new ArrayList<>();
        for (int kib = STEP_KIB; ; kib += STEP_KIB) {
            run("mount", "-o", "remount,size=" + kib + "k", small.toString());
            try {
                target.pull(ref);
                break;
            } catch (ForkdException e) {
                why.add(e.sentence());
                assertThat(target.tags()).isEmpty();
                assertThat(Pull.leftovers(target.engine)).hasSizeLessThan(2);
                assertThat(kib).as(why.toString()).isLessThan(64 << 10);
            }
        }
        assertThat(why)
                .isNotEmpty()
                .allMatch(sentence -> sentence.matches("(?s).*(No space left|there is no room for).*"));
        assertThat(target.hash("base")).isEqualTo(source.hash("base"));
    }

    /** Of a MiB, all of it zero, for which there is no room but for its holes. */
    @Test
    void root_disk_is_sparse_in_a_cache_on_another_file_system() throws Exception {
        Host target = new Host(folder.resolve("target"));
        Files.createSymbolicLink(target.home.resolve("cache"), Files.createDirectory(small.resolve("cache")));
        target.pull(ref);
        assertThat(target.images()).hasSize(1);
        assertThat(target.hash("base")).isEqualTo(source.hash("base"));
    }

    @Test
    void cache_on_another_file_system_without_room_is_found_before_anything_is_fetched() throws Exception {
        byte[] noise = new byte[1 << 20];
        new java.util.Random(3).nextBytes(noise);
        Path disk = source.home.resolve("disk.ext4");
        java.nio.file.attribute.FileTime time = Files.getLastModifiedTime(disk);
        Files.write(disk, noise);
        Files.setLastModifiedTime(disk, time);
        Files.delete(source.engine
                .store()
                .directory(new io.forkd.snapshot.SnapshotTag("base"))
                .resolve(".root-disk"));
        String noisy = registry.host() + "/team/noisy:1";
        source.push("base", noisy);
        Host target = new Host(folder.resolve("target"));
        Files.createSymbolicLink(target.home.resolve("cache"), Files.createDirectory(small.resolve("cache")));
        run("mount", "-o", "remount,size=512k", small.toString());
        assertThat(refused(() -> target.pull(noisy)))
                .contains("there is no room for its root disk: 1048576 bytes are needed, and "
                        + target.home.resolve("cache"));
        run("mount", "-o", "remount,size=4m", small.toString());
        assertThat(target.pull(noisy).tag()).hasToString("base");
    }

    @Test
    void push_to_a_registry_that_is_full_is_told_and_leaves_what_was_there() throws Exception {
        try (RealRegistry full = new RealRegistry(folder.resolve("small"))) {
            throw new AssertionError("it has room for " + full.image());
        } catch (IOException | AssertionError e) {
            // Its own image does not fit.
        }
        run("mount", "-o", "remount,size=1500k", small.toString());
        try (RealRegistry full = new RealRegistry(Files.createDirectory(small.resolve("more")))) {
            String there = full.host() + "/team/warm:1";
            byte[] noise = new byte[3 << 20];
            new java.util.Random(3).nextBytes(noise);
            Path disk = source.home.resolve("disk.ext4");
            java.nio.file.attribute.FileTime time = Files.getLastModifiedTime(disk);
            byte[] content = Files.readAllBytes(disk);
            System.arraycopy(noise, 0, content, 0, content.length);
            Files.delete(source.engine
                    .store()
                    .directory(new io.forkd.snapshot.SnapshotTag("base"))
                    .resolve(".root-disk"));
            Files.write(disk, content);
            Files.setLastModifiedTime(disk, time);
            run("mount", "-o", "remount,size=1200k", small.toString());
            assertThat(refused(() -> source.push("base", there))).contains("the registry failed");
            run("mount", "-o", "remount,size=16m", small.toString());
            source.push("base", there);
            assertThat(new Host(folder.resolve("target")).pull(there).tag()).hasToString("base");
        }
    }

    private static String refused(Runnable job) {
        try {
            job.run();
        } catch (ForkdException e) {
            return e.sentence();
        }
        throw new AssertionError("it was done");
    }

    /** What comes of a blob that the registry has sent. */
    interface Fault {
        byte[] of(byte[] blob, int time);
    }

    /** In front of the real one, with a fault in each blob that is no document. */
    private HttpServer front(Fault fault, AtomicInteger blobs) throws IOException {
        HttpServer server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
        server.setExecutor(Executors.newCachedThreadPool());
        server.createContext("/", exchange -> {
            try (exchange) {
                HttpURLConnection real =
                        (HttpURLConnection) URI.create("http://" + registry.host() + exchange.getRequestURI())
                                .toURL()
                                .openConnection();
                real.setRequestMethod(exchange.getRequestMethod());
                exchange.getRequestHeaders()
                        .getOrDefault("Accept", List.of())
                        .forEach(accept -> real.setRequestProperty("Accept", accept));
                int status = real.getResponseCode();
                byte[] body = {};
                if (status == 200) {
                    try (InputStream in = real.getInputStream()) {
                        body = in.readAllBytes();
                    }
                }
                long length = body.length;
                boolean blob =
                        exchange.getRequestURI().getPath().contains("/blobs/") && body.length > 0 && body[0] != '{';
                byte[] sent = blob ? fault.of(body, blobs.incrementAndGet()) : body;
                exchange.sendResponseHeaders(status, blob && sent.length < length ? length : sent.length);
                exchange.getResponseBody().write(sent);
            }
        });
        server.start();
        return server;
    }

    private Host target(String name) throws Exception {
        return new Host(folder.resolve(name));
    }

    private static String through(HttpServer server) {
        return "localhost:" + server.getAddress().getPort() + "/team/warm:1";
    }

    @Test
    void connection_that_breaks_is_taken_up_again() throws Exception {
        AtomicInteger blobs = new AtomicInteger();
        HttpServer server =
                front((blob, time) -> time % 3 == 0 ? java.util.Arrays.copyOf(blob, blob.length / 2) : blob, blobs);
        try {
            Host target = target("target");
            target.pull(through(server));
            assertThat(target.hash("base")).isEqualTo(source.hash("base"));
            assertThat(blobs.get()).isGreaterThan(3);
        } finally {
            server.stop(0);
        }
    }

    @Test
    void registry_that_sends_something_else_is_not_believed() throws Exception {
        AtomicInteger blobs = new AtomicInteger();
        HttpServer server = front(
                (blob, time) -> {
                    blob[blob.length / 2] ^= 1;
                    return blob;
                },
                blobs);
        try {
            Host target = target("target");
            assertThat(refused(() -> target.pull(through(server))))
                    .contains("it has other content than its digest says");
            assertThat(target.tags()).isEmpty();
        } finally {
            server.stop(0);
        }
    }

    @Test
    void registry_that_sends_without_end_is_not_read_further_than_said() throws Exception {
        AtomicInteger blobs = new AtomicInteger();
        HttpServer server = front((blob, time) -> java.util.Arrays.copyOf(blob, blob.length + (4 << 20)), blobs);
        try {
            Host target = target("target");
            assertThat(refused(() -> target.pull(through(server)))).contains("it is longer than its manifest says");
            assertThat(target.pull(ref, Optional.empty(), false).tag()).hasToString("base");
        } finally {
            server.stop(0);
        }
    }
}
