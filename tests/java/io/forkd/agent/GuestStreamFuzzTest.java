package io.forkd.agent;

import static org.assertj.core.api.Assertions.assertThat;

import io.forkd.ForkdException;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.Channels;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** What a guest says, with faults in it: whatever they are, the client gives a result or says what is wrong, and ends. */
@Timeout(value = 5, unit = TimeUnit.MINUTES)
class GuestStreamFuzzTest {
    private static final int ROUNDS = 4000;
    private static final String ENTRY = "{\"name\":\"x\",\"path\":\"/d/x\",\"type\":\"file\",\"size\":3,\"mode\":420,"
            + "\"uid\":0,\"gid\":0,\"user\":\"root\",\"mtime_ms\":1700000000000}";

    @TempDir
    Path directory;

    private interface Operation {
        void run(GuestStreams guest) throws IOException;
    }

    private record Case(byte[] says, Operation operation) {}

    private static byte[] says(String line, byte[]... frames) {
        ByteArrayOutputStream all = new ByteArrayOutputStream();
        all.writeBytes((line + "\n").getBytes(StandardCharsets.UTF_8));
        for (byte[] frame : frames) {
            all.writeBytes(frame);
        }
        return all.toByteArray();
    }

    private static byte[] frame(int type, String text) {
        byte[] payload = text.getBytes(StandardCharsets.UTF_8);
        return ByteBuffer.allocate(8 + payload.length)
                .order(ByteOrder.LITTLE_ENDIAN)
                .putInt(type)
                .putInt(payload.length)
                .put(payload)
                .array();
    }

    private static final GuestProcess.Output NOWHERE = new GuestProcess.Output() {
        @Override
        public void stdout(ByteBuffer bytes) {}

        @Override
        public void stderr(ByteBuffer bytes) {}
    };

    private static Map<String, Case> cases() {
        Map<String, Case> cases = new LinkedHashMap<>();
        byte[] end = frame(5, "{\"exit_code\":0,\"timed_out\":true}");
        cases.put(
                "run",
                new Case(
                        says("{\"pid\":7}", frame(2, "out"), frame(3, "err"), frame(2, ""), frame(3, ""), end),
                        guest -> {
                            try (GuestProcess process = guest.run(RunRequest.of("x"))) {
                                process.await(NOWHERE);
                            }
                        }));
        cases.put(
                "attach",
                new Case(
                        says(
                                "{\"pid\":7,\"tag\":\"t\",\"from\":[5,6],\"pty\":true,\"stdin\":false}",
                                frame(2, "x"),
                                end),
                        guest -> {
                            try (GuestProcess process = guest.attach(
                                    new ProcessName.Tag("t"), Optional.of(new GuestProcess.Position(5, 6)))) {
                                process.await(NOWHERE);
                            }
                        }));
        cases.put(
                "processes",
                new Case(
                        says(
                                "{\"processes\":[{\"pid\":7,\"tag\":\"t\",\"argv\":[\"a\",\"b\"],\"cwd\":\"/\",\"pty\":false,"
                                        + "\"started_ms\":5,\"exit_code\":-9}]}"),
                        GuestStreams::processes));
        cases.put("stat", new Case(says(ENTRY), guest -> guest.files().stat(GuestPath.of("/d/x"), true)));
        cases.put("list", new Case(says("{}", frame(4, ENTRY), frame(4, ENTRY), frame(5, "{}")), guest -> {
            try (GuestEvents<GuestEntry> list = guest.files().list(GuestPath.of("/d"), 1)) {
                while (list.next().isPresent()) {
                    // the next
                }
            }
        }));
        cases.put(
                "watch",
                new Case(
                        says(
                                "{}",
                                frame(4, "{\"change\":\"move\",\"path\":\"/a\",\"to\":\"/b\"}"),
                                frame(4, "{\"change\":\"lost\"}")),
                        guest -> {
                            try (GuestEvents<GuestChange> watch = guest.files().watch(GuestPath.of("/d"), true)) {
                                while (watch.next().isPresent()) {
                                    // the next
                                }
                            }
                        }));
        cases.put("read", new Case(says(ENTRY, frame(2, "abc"), frame(2, ""), frame(5, "{\"bytes\":3}")), guest -> {
            try (GuestFileReader file = guest.files().read(GuestPath.of("/d/x"), 0, OptionalLong.of(3))) {
                Channels.newInputStream(file).readAllBytes();
            }
        }));
        cases.put("write", new Case(says("{}", frame(5, ENTRY)), guest -> {
            try (GuestFileWriter file = guest.files().write(GuestPath.of("/d/x"), FileOptions.DEFAULT)) {
                file.finish();
            }
        }));
        cases.put("connect", new Case(says("{}", frame(2, "abc"), frame(2, ""), frame(5, "{}")), guest -> {
            try (GuestPort port = guest.connect(new GuestAddress.Port(80))) {
                Channels.newInputStream(port).readAllBytes();
                port.awaitEnd();
            }
        }));
        cases.put(
                "metrics",
                new Case(
                        says(
                                "{\"cpus\":1,\"cpu_us\":2,\"memory_bytes\":3,\"memory_used_bytes\":4,\"memory_cache_bytes\":5,"
                                        + "\"disk_bytes\":6,\"disk_used_bytes\":7,\"processes\":8,\"uptime_ms\":9}"),
                        GuestStreams::metrics));
        return cases;
    }

    /** Bytes that are others, missing, too many, or doubled. */
    private static byte[] mutate(byte[] bytes, Random random) {
        byte[] result = bytes.clone();
        for (int i = random.nextInt(3); i >= 0; i--) {
            int at = random.nextInt(result.length + 1);
            int count = Math.min(result.length - at, 1 + random.nextInt(8));
            switch (random.nextInt(5)) {
                case 0 -> {
                    if (at < result.length) {
                        result[at] = (byte) random.nextInt(256);
                    }
                }
                case 1 -> {
                    if (at < result.length) {
                        result[at] ^= (byte) (1 << random.nextInt(8));
                    }
                }
                case 2 -> result = Arrays.copyOf(result, at);
                case 3 -> result = join(result, at, new byte[0], at + count);
                default -> result = join(result, at, Arrays.copyOfRange(result, at, at + count), at);
            }
        }
        return result;
    }

    /** The first {@code end} bytes, more, and those from {@code start} on. */
    private static byte[] join(byte[] bytes, int end, byte[] more, int start) {
        ByteArrayOutputStream all = new ByteArrayOutputStream();
        all.write(bytes, 0, end);
        all.writeBytes(more);
        all.write(bytes, start, bytes.length - start);
        return all.toByteArray();
    }

    /** Answers one, as a VM does, and takes the rest until it has left. */
    private static void serve(ServerSocketChannel server, byte[] says) {
        try (SocketChannel client = server.accept()) {
            InputStream in = Channels.newInputStream(client);
            for (int lines = 0; lines < 2; ) {
                lines += in.read() == '\n' ? 1 : 0;
            }
            client.write(ByteBuffer.wrap("OK 1\n".getBytes(StandardCharsets.UTF_8)));
            client.write(ByteBuffer.wrap(says));
            client.shutdownOutput();
            in.readAllBytes();
        } catch (IOException e) {
            // It has left.
        }
    }

    @Test
    void whatever_a_guest_says_the_client_ends() throws Exception {
        long seed = System.nanoTime();
        Random random = new Random(seed);
        Path socket = directory.resolve("s");
        GuestStreams guest = new GuestStreams(socket, Duration.ofSeconds(20));
        try (ServerSocketChannel server = ServerSocketChannel.open(StandardProtocolFamily.UNIX)) {
            server.bind(UnixDomainSocketAddress.of(socket));
            for (Map.Entry<String, Case> each : cases().entrySet()) {
                Case one = each.getValue();
                for (int round = 0; round < ROUNDS / 10; round++) {
                    byte[] says = round == 0 ? one.says() : mutate(one.says(), random);
                    Thread serving = new Thread(() -> serve(server, says));
                    serving.start();
                    String what = each.getKey() + ", seed " + seed + ", round " + round + ": "
                            + new String(says, StandardCharsets.ISO_8859_1);
                    try {
                        one.operation().run(guest);
                        // Some faults are none.
                    } catch (ForkdException e) {
                        // A watch has no end but that of its connection.
                        assertThat(round > 0 || each.getKey().equals("watch"))
                                .as(what)
                                .isTrue();
                        assertThat(e.sentence()).as(what).doesNotContainPattern("\\p{Cc}");
                    } catch (RuntimeException e) {
                        throw new AssertionError(what, e);
                    }
                    serving.join();
                }
            }
        }
    }
}
