package io.forkd.cli;

import static org.assertj.core.api.Assertions.assertThat;

import io.forkd.Json;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.channels.Channels;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import tools.jackson.databind.JsonNode;

/** exec and eval as processes that get signals, lose their stdout and have something on stdin; the agent is a socket. */
class ExecProcessTest {
    private static final String CHUNK = "{\"stream\":\"stdout\",\"data_base64\":\"" + "eQp5".repeat(16384) + "\"}\n";

    @TempDir
    Path directory;

    private final List<Process> processes = new ArrayList<>();
    private ServerSocketChannel server;

    @BeforeEach
    void listen() throws IOException {
        server = ServerSocketChannel.open().bind(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0));
    }

    @AfterEach
    void end() throws IOException {
        server.close();
        processes.forEach(Process::destroyForcibly);
    }

    private interface Agent {
        void answer(InputStream in, OutputStream out) throws IOException;
    }

    private static Agent answering(String reply) {
        return (in, out) -> {
            in.readAllBytes(); // what is left unread would reset the connection, and the answer with it
            out.write(reply.getBytes(StandardCharsets.UTF_8));
        };
    }

    /** Whether the client closed the connection before {@code agent} was done with it. */
    private CompletableFuture<Boolean> serve(Agent agent) {
        return CompletableFuture.supplyAsync(() -> {
            try (SocketChannel client = server.accept()) {
                agent.answer(Channels.newInputStream(client), Channels.newOutputStream(client));
                return false;
            } catch (IOException e) {
                return true;
            }
        });
    }

    /** Forkd with these arguments, by a shell, in which FORKD stands for it. */
    private Process shell(String script) throws IOException {
        String java = Path.of(System.getProperty("java.home"), "bin", "java").toString();
        int port = ((InetSocketAddress) server.getLocalAddress()).getPort();
        ProcessBuilder builder = new ProcessBuilder(
                "bash",
                "-c",
                script.replace("TARGET", "--target 127.0.0.1:" + port)
                        .replace(
                                "FORKD",
                                "'" + java + "' -XX:TieredStopAtLevel=1 -Xmx320m -cp \"$CP\" io.forkd.cli.Main"));
        builder.environment().put("CP", System.getProperty("java.class.path"));
        builder.environment().put("XDG_DATA_HOME", directory.toString());
        builder.environment().put("XDG_RUNTIME_DIR", directory.toString());
        builder.redirectInput(ProcessBuilder.Redirect.from(Path.of("/dev/null").toFile()));
        processes.add(builder.start());
        return processes.get(processes.size() - 1);
    }

    private static String text(InputStream stream) throws IOException {
        return new String(stream.readAllBytes(), StandardCharsets.UTF_8);
    }

    private static int exit(Process process) throws InterruptedException {
        assertThat(process.waitFor(60, TimeUnit.SECONDS)).isTrue();
        return process.exitValue();
    }

    /** Writes empty lines of a protocol that has none until the other side is gone. */
    private static void untilGone(OutputStream out, String what) throws IOException {
        while (true) {
            out.write(what.getBytes(StandardCharsets.UTF_8));
        }
    }

    private void signalled(String command) throws Exception {
        CompletableFuture<Void> asked = new CompletableFuture<>();
        CompletableFuture<Boolean> gone = serve((in, out) -> {
            in.readAllBytes();
            asked.complete(null);
            CompletableFuture<Void> never = new CompletableFuture<>();
            try {
                never.get(1, TimeUnit.SECONDS); // so long it is silent
            } catch (Exception e) {
                // That is what it waits for.
            }
            untilGone(out, CHUNK);
        });
        Process process = shell("exec FORKD " + command);
        asked.get(60, TimeUnit.SECONDS);
        process.toHandle().destroy(); // unlike the process's own, it leaves the streams open
        assertThat(exit(process)).isEqualTo(143);
        // Without a word: not that something was left behind, nor that it failed.
        assertThat(text(process.getErrorStream())).isEmpty();
        assertThat(gone.get(60, TimeUnit.SECONDS)).isTrue();
    }

    @Test
    void a_signal_ends_exec_without_limit_at_once() throws Exception {
        signalled("exec TARGET --timeout-secs 0 -- sleep 333 >/dev/null");
    }

    @Test
    void a_signal_ends_eval() throws Exception {
        signalled("eval TARGET -- x >/dev/null");
    }

    @Test
    void a_signal_ends_exec_that_writes_to_a_pipe_which_nobody_reads() throws Exception {
        CompletableFuture<Boolean> gone = serve((in, out) -> untilGone(out, CHUNK));
        // The pipe to this process, which it reads one byte of.
        Process process = shell("exec FORKD exec TARGET --timeout-secs 0 -- yes");
        assertThat(process.getInputStream().read()).isEqualTo('y');
        process.toHandle().destroy(); // unlike the process's own, it leaves the streams open
        assertThat(exit(process)).isEqualTo(143);
        assertThat(gone.get(60, TimeUnit.SECONDS)).isTrue();
    }

    @Test
    void exec_ends_with_the_pipe_that_it_writes_to() throws Exception {
        CompletableFuture<Boolean> gone = serve((in, out) -> untilGone(out, CHUNK));
        Process process = shell("FORKD exec TARGET --timeout-secs 0 -- yes | head -c 100000 | wc -c;"
                + " echo ${PIPESTATUS[0]}; exit 0");
        assertThat(exit(process)).isZero();
        assertThat(gone.get(60, TimeUnit.SECONDS)).isTrue();
        assertThat(text(process.getErrorStream())).isEmpty();
    }

    @Test
    void exec_whose_reader_went_away_has_the_status_of_sigpipe() throws Exception {
        serve((in, out) -> untilGone(out, CHUNK));
        Process process = shell("FORKD exec TARGET --timeout-secs 0 -- yes | true; exit ${PIPESTATUS[0]}");
        assertThat(exit(process)).isEqualTo(141);
        assertThat(text(process.getErrorStream())).isEmpty();
    }

    @Test
    void exec_says_that_the_disk_is_full() throws Exception {
        serve((in, out) -> untilGone(out, CHUNK));
        Process process = shell("FORKD exec TARGET --timeout-secs 0 -- yes >/dev/full");
        assertThat(exit(process)).isEqualTo(1);
        assertThat(text(process.getErrorStream())).contains("cannot be written to /dev/full");
    }

    @Test
    void a_result_that_cannot_be_written_is_no_success() throws Exception {
        Process process = shell("FORKD where >/dev/full");
        assertThat(exit(process)).isEqualTo(1);
        assertThat(text(process.getErrorStream())).contains("cannot be written to /dev/full");
    }

    @Test
    void an_answer_without_end_is_that_guests_error() throws Exception {
        String part = "x".repeat(1 << 16);
        CompletableFuture<Boolean> gone = serve((in, out) -> untilGone(out, part));
        Process process = shell("FORKD eval TARGET -- x");
        assertThat(exit(process)).isEqualTo(1);
        assertThat(text(process.getErrorStream()))
                .startsWith("Error: the agent at 127.0.0.1:")
                .contains("more than 16 MiB");
        assertThat(gone.get(60, TimeUnit.SECONDS)).isTrue();
    }

    /** The longest that is taken, in the heap that the command has. */
    @Test
    void a_long_answer_has_room_in_the_heap() throws Exception {
        String value = "v".repeat((16 << 20) - 100);
        serve(answering("{\"result\":\"" + value + "\"}\n"));
        Process process = shell("FORKD eval TARGET -- x | wc -c; exit ${PIPESTATUS[0]}");
        assertThat(exit(process)).isZero();
        assertThat(text(process.getInputStream()).strip()).isEqualTo(String.valueOf(value.length() + 1));
    }

    @Test
    void exec_ends_with_the_status_of_the_failure() throws Exception {
        for (int status : List.of(124, 126, 127)) {
            serve(answering("{\"exit_code\":1,\"error\":\"E\",\"code\":" + status + "}\n"));
            Process process = shell("FORKD exec TARGET -- x");
            assertThat(exit(process)).isEqualTo(status);
            assertThat(text(process.getErrorStream()))
                    .contains(status == 124 ? "longer than 30 s, and was ended\n--timeout-secs" : "could not run");
        }
    }

    @Test
    void exec_as_json_is_one_document_with_the_commands_status() throws Exception {
        serve(answering("{\"stream\":\"stdout\",\"data_base64\":\"aGkK\"}\n"
                + "{\"stream\":\"stderr\",\"data_base64\":\"b2gK\"}\n{\"exit_code\":3}\n"));
        Process process = shell("FORKD exec TARGET --json -- x");
        assertThat(exit(process)).isEqualTo(3);
        assertThat(text(process.getInputStream()))
                .isEqualTo("{\"stdout\":\"hi\\n\",\"stderr\":\"oh\\n\",\"exit_code\":3}\n");
        assertThat(text(process.getErrorStream())).isEmpty();

        serve(answering("{\"stream\":\"stdout\",\"data_base64\":\"aGkK\"}\n"
                + "{\"exit_code\":1,\"error\":\"E\",\"code\":124}\n"));
        process = shell("FORKD exec TARGET --json -- x");
        assertThat(exit(process)).isEqualTo(124);
        JsonNode late = Json.parse(process.getInputStream().readAllBytes());
        assertThat(late.path("stdout").asString()).isEqualTo("hi\n");
        assertThat(late.path("exit_code").asInt()).isEqualTo(124);
        assertThat(late.path("error").path("remedy").asString()).contains("--timeout-secs");
        assertThat(text(process.getErrorStream())).isEmpty();
    }

    @Test
    void exec_as_json_has_a_bound() throws Exception {
        CompletableFuture<Boolean> gone = serve((in, out) -> untilGone(out, CHUNK));
        Process process = shell("FORKD exec TARGET --json --timeout-secs 0 -- yes");
        assertThat(exit(process)).isEqualTo(1);
        assertThat(text(process.getInputStream())).isEmpty();
        assertThat(Json.parse(process.getErrorStream().readAllBytes())
                        .path("error")
                        .path("message")
                        .asString())
                .contains("more than the 8 MiB");
        assertThat(gone.get(60, TimeUnit.SECONDS)).isTrue();
    }

    @Test
    void eval_as_json_is_one_document() throws Exception {
        serve(answering("{\"result\":\"'a'\"}\n"));
        Process process = shell("FORKD eval TARGET --json -- x");
        assertThat(exit(process)).isZero();
        assertThat(text(process.getInputStream())).isEqualTo("{\"result\":\"'a'\",\"exit_code\":0}\n");

        serve(answering("{\"error\":\"NameError\",\"traceback\":\"line 1\",\"exit_code\":1}\n"));
        process = shell("FORKD eval TARGET --json -- x");
        assertThat(exit(process)).isEqualTo(1);
        JsonNode failed = Json.parse(process.getInputStream().readAllBytes());
        assertThat(failed.path("error").path("message").asString()).isEqualTo("NameError");
        assertThat(failed.path("traceback").asString()).isEqualTo("line 1");
        assertThat(text(process.getErrorStream())).isEmpty();
    }

    /** Whether or not there is anything to fork: what is there before is said before. */
    @Test
    void input_of_fork_with_a_command_is_not_dropped_in_silence() throws Exception {
        String input = directory.resolve("input").toString();
        Process process = shell("echo lost >" + input + "; FORKD fork --tag none -n 2 -- cat <" + input);
        assertThat(exit(process)).isEqualTo(1);
        assertThat(text(process.getErrorStream())).contains("does not get what is on stdin");
    }

    @Test
    void input_is_passed_on_when_asked_for_and_else_not_dropped_in_silence() throws Exception {
        CompletableFuture<String> input = new CompletableFuture<>();
        serve((in, out) -> {
            input.complete(text(in));
            out.write("{\"exit_code\":0}\n".getBytes(StandardCharsets.UTF_8));
        });
        Process process = shell("echo from stdin | FORKD exec TARGET -i -- cat");
        assertThat(exit(process)).isZero();
        assertThat(input.get()).endsWith("}\nfrom stdin\n");
        assertThat(text(process.getErrorStream())).isEmpty();

        serve(answering("{\"exit_code\":0}\n"));
        process = shell("echo lost >lost; FORKD exec TARGET -- cat <lost".replace("lost", directory + "/lost"));
        assertThat(exit(process)).isZero();
        assertThat(text(process.getErrorStream())).contains("(-i of exec and run passes it on)");
    }
}
