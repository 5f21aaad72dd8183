package io.forkd.agent;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.catchThrowableOfType;

import io.forkd.ForkdException;
import io.forkd.agent.GuestException.Absent;
import io.forkd.agent.GuestException.Broken;
import io.forkd.agent.GuestException.Late;
import io.forkd.agent.GuestException.Lost;
import io.forkd.agent.GuestException.Refused;
import io.forkd.agent.GuestProcess.Event;
import io.forkd.agent.GuestProcess.Exit;
import io.forkd.agent.GuestProcess.Position;
import io.forkd.engine.AgentSandbox;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.InputStream;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.Channels;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.Random;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import org.assertj.core.api.ThrowableAssert.ThrowingCallable;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * Against a guest of our own in a VM: {@code tests/native/guests/agent/streams.h} and {@code hostile.c} say what it can
 * do, well and badly.
 */
@Timeout(value = 2, unit = TimeUnit.MINUTES)
class GuestStreamsTest {
    private static final byte[] PATTERN = "0123456789abcdefghijklmnopqrstuv".getBytes(StandardCharsets.UTF_8);
    private static final GuestPath TMP = GuestPath.of("/tmp");

    private static AgentSandbox sandbox;
    private static GuestStreams guest;

    private final ExecutorService others = Executors.newCachedThreadPool();

    @BeforeAll
    static void start() throws Exception {
        sandbox = new AgentSandbox();
        guest = new GuestStreams(sandbox.socket());
    }

    @AfterAll
    static void end() throws Exception {
        sandbox.close();
    }

    @AfterEach
    void stop() {
        others.shutdownNow();
    }

    /** What a program wrote, and how it ended. */
    private static final class Collected implements GuestProcess.Output {
        private final ByteArrayOutputStream out = new ByteArrayOutputStream();
        private final ByteArrayOutputStream err = new ByteArrayOutputStream();

        @Override
        public void stdout(ByteBuffer bytes) {
            out.write(bytes.array(), bytes.arrayOffset() + bytes.position(), bytes.remaining());
        }

        @Override
        public void stderr(ByteBuffer bytes) {
            err.write(bytes.array(), bytes.arrayOffset() + bytes.position(), bytes.remaining());
        }
    }

    private static String run(RunRequest request) {
        try (GuestProcess process = guest.run(request)) {
            Collected collected = new Collected();
            Exit exit = process.await(collected);
            return collected.out.toString(StandardCharsets.UTF_8)
                    + "|" + collected.err.toString(StandardCharsets.UTF_8)
                    + "|" + exit.code() + (exit.timedOut() ? " late" : "");
        }
    }

    /** Reads until there is at least so much, and returns what there is. */
    private static String readUntil(GuestProcess process, String end) {
        StringBuilder text = new StringBuilder();
        while (text.indexOf(end) < 0) {
            Event event = process.next();
            if (!(event instanceof Event.Stdout out)) {
                throw new AssertionError(event + " after " + text);
            }
            text.append(StandardCharsets.UTF_8.decode(out.bytes()));
        }
        return text.toString();
    }

    private static void assertPattern(byte[] bytes, long from) {
        byte[] expected = new byte[bytes.length];
        for (int i = 0; i < expected.length; i++) {
            expected[i] = PATTERN[(int) ((from + i) % PATTERN.length)];
        }
        assertThat(Arrays.equals(bytes, expected))
                .as("the pattern from " + from)
                .isTrue();
    }

    private static void assertRefused(String code, ThrowingCallable job) {
        assertThatThrownBy(job)
                .isInstanceOfSatisfying(Refused.class, e -> assertThat(e.code()).isEqualTo(code));
    }

    private static void write(ByteBuffer bytes, GuestProcess to) {
        to.write(bytes);
    }

    private static void type(String text, GuestProcess to) {
        write(ByteBuffer.wrap(text.getBytes(StandardCharsets.UTF_8)), to);
    }

    // --- programs ---

    @Test
    void a_program_has_its_output_and_its_end() {
        assertThat(run(RunRequest.of("sh", "-c", "echo out; stderr err; exit 3")))
                .isEqualTo("out\n|err\n|3");
        assertThat(run(RunRequest.of("true"))).isEqualTo("||0");
    }

    @Test
    void a_program_has_what_it_is_to_have() {
        RunRequest request = new RunRequest(
                List.of("sh", "-c", "echo $A; pwd; whoami"),
                Map.of("A", "ä"),
                Optional.of("/tmp"),
                Optional.of("app:29"),
                false,
                Optional.empty(),
                Optional.empty(),
                Optional.empty(),
                false);
        assertThat(run(request)).isEqualTo("ä\n/tmp\napp:29\n||0");
    }

    @Test
    void a_program_that_is_not_there_is_refused() {
        assertRefused("ENOENT", () -> guest.run(RunRequest.of("nothing")));
        assertThatThrownBy(() -> guest.run(RunRequest.of("nothing")))
                .hasMessage("cannot run 'nothing' in the guest: No such file or directory (ENOENT)");
        assertThatThrownBy(() -> guest.run(RunRequest.of())).isInstanceOf(ForkdException.class);
    }

    @Test
    void input_goes_in_and_comes_back() throws Exception {
        byte[] bytes = new byte[1_000_003];
        new Random(7).nextBytes(bytes);
        try (GuestProcess process = guest.run(RunRequest.of("cat").withStdin())) {
            Future<?> fed = others.submit(() -> {
                process.feed(new ByteArrayInputStream(bytes));
                return null;
            });
            Collected collected = new Collected();
            assertThat(process.await(collected)).isEqualTo(new Exit(0, false));
            fed.get();
            assertThat(Arrays.equals(collected.out.toByteArray(), bytes)).isTrue();
        }
    }

    @Test
    void feeding_ends_with_the_program() throws Exception {
        try (GuestProcess process = guest.run(RunRequest.of("head", "-c", "5").withStdin())) {
            Future<?> fed = others.submit(() -> {
                process.feed(new Endless());
                return null;
            });
            Collected collected = new Collected();
            assertThat(process.await(collected).code()).isZero();
            assertThat(collected.out).hasToString("xxxxx");
            fed.get();
        }
    }

    private static final class Endless extends InputStream {
        @Override
        public int read() {
            return 'x';
        }

        @Override
        public int read(byte[] into, int offset, int length) {
            Arrays.fill(into, offset, offset + length, (byte) 'x');
            return length;
        }
    }

    @Test
    void a_program_without_input_takes_none() {
        assertThat(run(RunRequest.of("cat"))).isEqualTo("||0");
        try (GuestProcess process = guest.run(RunRequest.of("sleep", "1"))) {
            assertThatThrownBy(process::endInput).hasMessageContaining("takes no input");
        }
    }

    @Test
    void a_program_ends_for_its_time() {
        assertThat(run(RunRequest.of("sleep", "1000").withTimeout(Duration.ofMillis(300))))
                .isEqualTo("||-9 late");
    }

    @Test
    void a_signal_ends_a_program_or_is_heard_by_it() {
        try (GuestProcess process = guest.run(RunRequest.of("sleep", "1000"))) {
            process.signal(15, true);
            assertThat(process.await(new Collected())).isEqualTo(new Exit(-15, false));
        }
        try (GuestProcess process = guest.run(RunRequest.of("trap"))) {
            process.signal(1, false);
            assertThat(readUntil(process, "\n")).isEqualTo("signal 1\n");
            process.signal(9, false);
            assertThat(process.next()).isEqualTo(new Event.Ended(new Exit(-9, false)));
            assertThat(process.next()).isEqualTo(new Event.Ended(new Exit(-9, false)));
        }
    }

    @Test
    void another_attaches_and_misses_nothing() {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        Position seen;
        try (GuestProcess process = guest.run(RunRequest.of("write", "1000000").withTag("misses-nothing"))) {
            while (process.position().stdout() < 300_000) {
                if (process.next() instanceof Event.Stdout out) {
                    bytes.write(
                            out.bytes().array(),
                            out.bytes().arrayOffset(),
                            out.bytes().remaining());
                }
            }
            seen = process.position();
        }
        assertThat(seen).isEqualTo(new Position(bytes.size(), 0));
        try (GuestProcess process = guest.attach(new ProcessName.Tag("misses-nothing"), Optional.of(seen))) {
            assertThat(process.tag()).contains("misses-nothing");
            assertThat(process.hasTerminal()).isFalse();
            assertThat(process.position()).isEqualTo(seen);
            Collected rest = new Collected();
            assertThat(process.await(rest).code()).isZero();
            bytes.writeBytes(rest.out.toByteArray());
        }
        assertThat(bytes.size()).isEqualTo(1_000_000);
        assertPattern(bytes.toByteArray(), 0);
    }

    @Test
    void a_detached_program_goes_on_and_what_it_wrote_first_is_lost() throws Exception {
        ProcessName name;
        try (GuestProcess process = guest.run(RunRequest.of("write", "1000000").detached())) {
            name = process.name();
        }
        while (guest.processes().stream()
                .noneMatch(entry -> new ProcessName.Pid(entry.pid()).equals(name)
                        && entry.exitCode().isPresent())) {
            Thread.sleep(5);
        }
        try (GuestProcess process = guest.attach(name, Optional.of(Position.START))) {
            long from = process.position().stdout();
            assertThat(from).isBetween(1L, 999_999L);
            Collected rest = new Collected();
            process.await(rest);
            assertThat(from + rest.out.size()).isEqualTo(1_000_000);
            assertPattern(rest.out.toByteArray(), from);
        }
    }

    @Test
    void all_who_are_attached_get_everything_and_may_send_input() throws Exception {
        try (GuestProcess first = guest.run(RunRequest.of("cat").withStdin());
                GuestProcess second = guest.attach(first.name(), Optional.empty())) {
            type("one ", first);
            assertThat(readUntil(first, "one ")).isEqualTo("one ");
            type("two", second);
            assertThat(readUntil(second, "two")).isEqualTo("one two");
            assertThat(readUntil(first, "two")).isEqualTo("two");
            guest.feed(first.name(), new ByteArrayInputStream("three".getBytes(StandardCharsets.UTF_8)));
            assertThat(readUntil(first, "three")).isEqualTo("three");
            assertThat(readUntil(second, "three")).isEqualTo("three");
            for (GuestProcess each : List.of(first, second)) {
                assertThat(each.next()).isEqualTo(new Event.Ended(new Exit(0, false)));
            }
        }
    }

    @Test
    void a_terminal_echoes_has_a_size_and_keys() {
        RunRequest request = RunRequest.of("winch").withTerminal(new TerminalSize(24, 80));
        try (GuestProcess process = guest.run(request)) {
            assertThat(process.hasTerminal()).isTrue();
            assertThat(readUntil(process, "\n")).isEqualTo("24 80\r\n");
            process.resize(new TerminalSize(50, 132));
            assertThat(readUntil(process, "\n")).isEqualTo("50 132\r\n");
            type("a\u0003", process);
            assertThat(readUntil(process, "^C")).isEqualTo("a^C");
            assertThat(process.next()).isEqualTo(new Event.Ended(new Exit(-2, false)));
        }
        try (GuestProcess process = guest.run(RunRequest.of("sh").withTerminal(new TerminalSize(1, 65535)))) {
            assertThat(readUntil(process, "$ ")).isEqualTo("$ ");
            type("echo hi\r", process);
            assertThat(readUntil(process, "$ ")).isEqualTo("echo hi\r\nhi\r\n$ ");
            type("exit 4\r", process);
            assertThat(process.await(new Collected()).code()).isEqualTo(4);
        }
    }

    @Test
    void processes_are_listed_and_others_are_not_known() {
        try (GuestProcess process = guest.run(RunRequest.of("sleep", "1000").withTag("listed"))) {
            GuestProcessEntry entry = guest.processes().stream()
                    .filter(one -> one.pid() == process.pid())
                    .findFirst()
                    .orElseThrow();
            assertThat(entry.argv()).containsExactly("sleep", "1000");
            assertThat(entry.tag()).contains("listed");
            assertThat(entry.exitCode()).isEmpty();
            assertRefused("EEXIST", () -> guest.run(RunRequest.of("true").withTag("listed")));
            assertRefused("ENOTTY", () -> process.resize(new TerminalSize(1, 1)));
            process.signal(9, false);
        }
        assertRefused("ESRCH", () -> guest.signal(new ProcessName.Pid(1), 15, false));
        assertRefused("ESRCH", () -> guest.attach(new ProcessName.Tag("nobody"), Optional.empty()));
    }

    @Test
    void closing_ends_who_waits() throws Exception {
        GuestProcess process = guest.run(RunRequest.of("sleep", "1000").withStdin());
        Future<ForkdException> reader = others.submit(() -> catchThrowableOfType(Lost.class, process::next));
        Future<ForkdException> writer = others.submit(() -> catchThrowableOfType(Lost.class, () -> {
            while (true) {
                process.write(ByteBuffer.allocate(65536));
            }
        }));
        Thread.sleep(200); // until the writer has to wait; when it need not yet, it is ended as well
        assertThat(reader.isDone()).isFalse();
        assertThat(writer.isDone()).isFalse();
        process.close();
        assertThat(reader.get(20, TimeUnit.SECONDS)).hasMessageContaining("its connection was closed");
        assertThat(writer.get(20, TimeUnit.SECONDS)).hasMessageContaining("its connection was closed");
        guest.signal(process.name(), 9, false);
    }

    @Test
    void an_interrupt_ends_who_waits() throws Exception {
        try (GuestProcess process = guest.run(RunRequest.of("sleep", "1000"))) {
            Callable<Throwable> waiting = () -> catchThrowableOfType(ForkdException.class, () -> {
                Thread.currentThread().interrupt();
                process.next();
            });
            assertThat(others.submit(waiting).get(20, TimeUnit.SECONDS)).hasMessageContaining("interrupted");
            process.signal(9, false);
        }
    }

    @Test
    void many_streams_at_once() throws Exception {
        List<Future<String>> all = new ArrayList<>();
        for (int i = 0; i < 200; i++) {
            String word = "word " + i;
            all.add(others.submit(() -> {
                synchronized (PLACES) {
                    while (PLACES[0] == 0) {
                        PLACES.wait();
                    }
                    PLACES[0]--;
                }
                try {
                    return run(RunRequest.of("echo", word));
                } finally {
                    synchronized (PLACES) {
                        PLACES[0]++;
                        PLACES.notifyAll();
                    }
                }
            }));
        }
        for (int i = 0; i < all.size(); i++) {
            assertThat(all.get(i).get()).isEqualTo("word " + i + "\n||0");
        }
    }

    /** The guest has no more processes. */
    private static final int[] PLACES = {10};

    // --- files ---

    private static void write(GuestPath path, FileOptions options, byte[] bytes) {
        try (GuestFileWriter file = guest.files().write(path, options)) {
            file.write(ByteBuffer.wrap(bytes));
            GuestEntry entry = file.finish();
            assertThat(entry.path()).isEqualTo(path);
            assertThat(entry.size()).isEqualTo(bytes.length);
        }
    }

    private static byte[] read(GuestPath path) throws Exception {
        try (GuestFileReader file = guest.files().read(path, 0, OptionalLong.empty())) {
            return Channels.newInputStream(file).readAllBytes();
        }
    }

    private static List<GuestEntry> list(GuestPath path, int depth) {
        List<GuestEntry> all = new ArrayList<>();
        try (GuestEvents<GuestEntry> events = guest.files().list(path, depth)) {
            for (Optional<GuestEntry> next = events.next(); next.isPresent(); next = events.next()) {
                all.add(next.get());
            }
        }
        return all;
    }

    @Test
    void a_file_is_written_and_read() throws Exception {
        byte[] bytes = new byte[60_000];
        new Random(8).nextBytes(bytes);
        GuestPath path = TMP.resolve("written");
        FileOptions options = new FileOptions(
                java.util.OptionalInt.of(0750),
                false,
                OptionalLong.of(5),
                OptionalLong.of(6),
                Optional.of(Instant.ofEpochMilli(1_600_000_000_123L)));
        write(path, options, bytes);
        assertThat(Arrays.equals(read(path), bytes)).isTrue();
        GuestEntry entry = guest.files().stat(path, true);
        assertThat(entry.type()).isEqualTo(GuestEntry.Type.FILE);
        assertThat(entry.mode()).isEqualTo(0750);
        assertThat(entry.uid()).isEqualTo(5);
        assertThat(entry.gid()).isEqualTo(6);
        assertThat(entry.modified()).isEqualTo(Instant.ofEpochMilli(1_600_000_000_123L));
        assertThat(entry.user()).isEmpty();
        try (GuestFileReader file = guest.files().read(path, 10, OptionalLong.of(20))) {
            assertThat(file.entry().size()).isEqualTo(60_000);
            assertThat(Channels.newInputStream(file).readAllBytes()).isEqualTo(Arrays.copyOfRange(bytes, 10, 30));
        }
        guest.files().remove(path, false);
        assertRefused("ENOENT", () -> guest.files().stat(path, true));
    }

    @Test
    void a_large_file_comes_and_goes() throws Exception {
        try (GuestFileReader file = guest.files().read(GuestPath.of("/pattern"), 5, OptionalLong.of(20_000_000))) {
            byte[] bytes = Channels.newInputStream(file).readAllBytes();
            assertThat(bytes).hasSize(20_000_000);
            assertPattern(bytes, 5);
        }
        try (GuestFileWriter file = guest.files().write(GuestPath.of("/sink"), FileOptions.DEFAULT)) {
            ByteBuffer bytes = ByteBuffer.allocate(1 << 20);
            for (int i = 0; i < 20; i++) {
                file.write(bytes.clear());
            }
            assertThat(file.finish().size()).isEqualTo(20 << 20);
        }
    }

    @Test
    void a_file_that_is_not_finished_is_as_before() throws Exception {
        GuestPath path = TMP.resolve("unfinished");
        write(path, FileOptions.DEFAULT, new byte[] {1, 2, 3});
        try (GuestFileWriter file = guest.files().write(path, FileOptions.DEFAULT)) {
            file.write(ByteBuffer.wrap(new byte[1000]));
        }
        assertThat(read(path)).isEqualTo(new byte[] {1, 2, 3});
        guest.files().remove(path, false);
    }

    @Test
    void a_full_disk_is_said_while_the_file_is_sent() {
        try (GuestFileWriter file = guest.files().write(TMP.resolve("full"), FileOptions.DEFAULT)) {
            assertRefused("ENOSPC", () -> {
                while (true) {
                    file.write(ByteBuffer.allocate(60_000));
                }
            });
        }
        assertRefused("ENOENT", () -> guest.files().stat(TMP.resolve("full"), true));
    }

    @Test
    void a_tree_is_made_listed_and_removed() {
        GuestFiles files = guest.files();
        GuestPath root = TMP.resolve("tree");
        assertThat(files.makeDirectory(root.resolve("a").resolve("b"), FileOptions.DEFAULT.withParents()))
                .isTrue();
        assertThat(files.makeDirectory(root, FileOptions.DEFAULT.withParents())).isFalse();
        assertRefused("EEXIST", () -> files.makeDirectory(root, FileOptions.DEFAULT));
        GuestPath odd = root.resolve(GuestPath.of(new byte[] {(byte) 0xff, 'x'}));
        write(odd, FileOptions.DEFAULT, new byte[] {9});
        files.link(root.resolve("link"), odd, OptionalLong.empty(), OptionalLong.empty());
        assertThat(list(root, 1))
                .extracting(GuestEntry::path)
                .containsExactly(root.resolve("a"), odd, root.resolve("link"));
        assertThat(list(GuestPath.of("/tmp/tree/"), 2)).hasSize(4);
        assertThat(files.stat(root.resolve("link"), true).path()).isEqualTo(odd);
        GuestEntry link = files.stat(root.resolve("link"), false);
        assertThat(link.type()).isEqualTo(GuestEntry.Type.SYMLINK);
        assertThat(link.target()).contains(odd);
        assertRefused("ENOTEMPTY", () -> files.remove(root, false));
        assertRefused("EISDIR", () -> files.read(root, 0, OptionalLong.empty()));
        assertRefused("ENOTDIR", () -> list(odd, 1));
        assertRefused("EINVAL", () -> files.stat(GuestPath.of("relative"), true));
        files.remove(root, true);
        assertRefused("ENOENT", () -> files.stat(root, true));
        assertRefused("ENOSYS", () -> files.move(root, TMP));
    }

    // --- ports ---

    @Test
    void a_port_carries_both_ways_and_is_shut_down_in_one() throws Exception {
        try (GuestPort port = guest.connect(new GuestAddress.Port(7))) {
            byte[] bytes = new byte[200_000];
            new Random(9).nextBytes(bytes);
            Future<?> sent = others.submit(() -> {
                port.write(ByteBuffer.wrap(bytes));
                port.endOutput();
            });
            assertThat(Arrays.equals(Channels.newInputStream(port).readAllBytes(), bytes))
                    .isTrue();
            sent.get();
            port.awaitEnd();
        }
    }

    @Test
    void a_web_server_is_reached() throws Exception {
        try (GuestPort port = guest.connect(new GuestAddress.Port(80))) {
            port.write(ByteBuffer.wrap("GET /x HTTP/1.1\r\nHost: guest\r\n\r\n".getBytes(StandardCharsets.UTF_8)));
            assertThat(new String(Channels.newInputStream(port).readAllBytes(), StandardCharsets.UTF_8))
                    .startsWith("HTTP/1.1 200 OK\r\n")
                    .endsWith("\r\n\r\nhello from the guest: GET /x HTTP/1.1");
        }
    }

    @Test
    void a_port_where_nothing_listens_is_refused_and_a_reset_is_told() {
        assertRefused("ECONNREFUSED", () -> guest.connect(new GuestAddress.Port(9)));
        assertRefused("ECONNREFUSED", () -> guest.connect(new GuestAddress.Unix("/run/x")));
        try (GuestPort port = guest.connect(new GuestAddress.Port(81))) {
            port.write(ByteBuffer.wrap(new byte[] {1}));
            assertRefused("ECONNRESET", () -> port.read(ByteBuffer.allocate(1)));
        }
    }

    @Test
    void figures_are_told() {
        GuestMetrics metrics = guest.metrics();
        assertThat(metrics.cpus()).isEqualTo(1);
        assertThat(metrics.memoryBytes()).isEqualTo(64 << 20);
        assertThat(metrics.uptimeMillis()).isEqualTo(5000);
    }

    // --- guests that lie ---

    private static void runHostile(String kind) {
        runHostile(kind, Duration.ofMinutes(1)); // More than a busy machine takes.
    }

    private static void runHostile(String kind, Duration patience) {
        RunRequest request = RunRequest.of("hostile", kind);
        try (GuestProcess process = new GuestStreams(sandbox.socket(), patience)
                .run(kind.equals("stderr") ? request.withTerminal(new TerminalSize(1, 1)) : request)) {
            process.await(new Collected());
        }
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "text",
                "array",
                "half",
                "line",
                "nested",
                "pid-negative",
                "pid-zero",
                "pid-large",
                "pid-text",
                "pid-none",
                "code-none",
                "code-odd",
                "error-number",
                "type",
                "in",
                "event",
                "zeros",
                "long",
                "negative",
                "over",
                "over-twice",
                "stderr",
                "after-end",
                "end-empty",
                "end-text",
                "end-none",
                "exit-large",
                "exit-small",
                "exit-text"
            })
    void what_breaks_the_protocol_is_said(String kind) {
        assertThatThrownBy(() -> runHostile(kind)).isInstanceOf(Broken.class);
    }

    @ParameterizedTest
    @ValueSource(strings = {"close", "no-end", "half-header", "half-frame", "half-end"})
    void what_ends_too_early_is_lost(String kind) {
        assertThatThrownBy(() -> runHostile(kind)).isInstanceOf(Lost.class);
    }

    @Test
    void what_says_nothing_is_late() {
        assertThatThrownBy(() -> runHostile("silent", Duration.ofMillis(500))).isInstanceOf(Late.class);
        GuestStreams impatient = new GuestStreams(sandbox.socket(), Duration.ofMillis(500));
        try (GuestFileWriter file = impatient.files().write(GuestPath.of("/hostile/stall"), FileOptions.DEFAULT)) {
            assertThatThrownBy(file::finish).isInstanceOf(Late.class);
        }
        try (GuestEvents<GuestEntry> list = impatient.files().list(GuestPath.of("/hostile/stall"), 1)) {
            assertThatThrownBy(list::next).isInstanceOf(Late.class);
        }
    }

    @Test
    void an_error_is_no_text_for_a_terminal() {
        assertThatThrownBy(() -> runHostile("screen"))
                .isInstanceOf(Refused.class)
                .hasMessage("cannot run 'hostile' in the guest: ?[2J?gone (EINVAL)");
        assertThatThrownBy(() -> runHostile("late-error"))
                .isInstanceOfSatisfying(Refused.class, e -> assertThat(e.code()).isEqualTo("EIO"));
    }

    @Test
    void output_without_end_is_taken_as_long_as_it_is_wanted() {
        try (GuestProcess process = guest.run(RunRequest.of("hostile", "endless"))) {
            while (process.position().stdout() < 3_000_000) {
                process.next();
            }
            process.signal(9, false);
        }
    }

    @Test
    void files_that_lie_are_not_believed() {
        GuestFiles files = guest.files();
        for (String kind : List.of("size", "mode", "type")) {
            assertThatThrownBy(() -> files.stat(GuestPath.of("/hostile/" + kind), true))
                    .isInstanceOf(Broken.class);
        }
        for (String kind : List.of("more", "less")) {
            assertThatThrownBy(() -> {
                        try (GuestFileReader file =
                                files.read(GuestPath.of("/hostile/" + kind), 0, OptionalLong.of(3))) {
                            Channels.newInputStream(file).readAllBytes();
                        }
                    })
                    .isInstanceOf(Broken.class);
        }
        assertThatThrownBy(() -> read(GuestPath.of("/hostile/cut"))).isInstanceOf(Lost.class);
        for (String kind : List.of("up", "beside", "deep", "name")) {
            assertThatThrownBy(() -> list(GuestPath.of("/hostile/" + kind), 1)).isInstanceOf(Broken.class);
        }
        assertRefused("ENOSPC", () -> write(GuestPath.of("/hostile/full"), FileOptions.DEFAULT, new byte[10]));
        assertThatThrownBy(() -> {
                    try (GuestFileWriter file = files.write(GuestPath.of("/hostile/early"), FileOptions.DEFAULT)) {
                        for (int i = 0; i < 1000; i++) {
                            file.write(ByteBuffer.allocate(65536));
                        }
                    }
                })
                .isInstanceOf(Broken.class);
    }

    // --- no guest ---

    @Test
    void an_agent_without_streams_is_absent_and_a_vm_that_is_gone_unreachable(@TempDir Path directory)
            throws Exception {
        Path socket = directory.resolve("s");
        assertThatThrownBy(() -> new GuestStreams(socket).metrics())
                .isInstanceOf(ForkdException.class)
                .isNotInstanceOf(Absent.class)
                .hasMessageContaining("cannot reach the agent");
        try (ServerSocketChannel server = ServerSocketChannel.open(StandardProtocolFamily.UNIX)) {
            server.bind(UnixDomainSocketAddress.of(socket));
            others.submit(() -> {
                try (SocketChannel client = server.accept()) {
                    return client.read(ByteBuffer.allocate(1000));
                }
            });
            assertThatThrownBy(() -> new GuestStreams(socket).metrics()).isInstanceOf(Absent.class);
        }
        assertThat(Files.exists(socket)).isTrue();
    }
}
