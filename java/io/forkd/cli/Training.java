package io.forkd.cli;

import io.forkd.snapshot.DataDirectory;
import java.io.IOException;
import java.io.OutputStream;
import java.io.PrintStream;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

/**
 * Runs a bit of everything, so that the build sees which classes the verbs need and can put them into the class-data
 * archive. Used by the build only, with XDG folders of its own.
 */
final class Training {
    private Training() {}

    public static void main(String[] arguments) throws IOException, InterruptedException {
        Path snapshot = DataDirectory.of(System.getenv()).resolve("snapshots/t");
        Files.createDirectories(snapshot);
        Files.write(snapshot.resolve("memory.bin"), new byte[4096]);
        Files.write(snapshot.resolve("vmstate"), new byte[0]);
        Files.writeString(snapshot.resolve("snapshot.json"), """
                {"vmstate": "vmstate", "memory": "memory.bin", "volumes": [], "rootfs": "vmstate", "format": 1,
                 "forkd_version": "", "created_at": "2026-01-01T00:00:00Z", "memory_bytes": 4096, "vcpus": 1,
                 "kernel": "", "command_line": "",
                 "disks": [{"image": "vmstate", "read_only": true, "bytes": 0, "modified": 0}]}
                """);

        // As a process begins; where the output goes is of no interest.
        Main.start("images");
        Shell shell = Shell.of(
                new PrintStream(OutputStream.nullOutputStream(), false, StandardCharsets.UTF_8),
                System.err,
                true,
                System.getenv());
        String cache = snapshot.resolve("cache").toString();
        String kernel = snapshot.resolve("vmstate").toString();
        for (List<String> line : List.of(
                List.of("--help"),
                List.of("images"),
                List.of("images", "--json"),
                List.of("where"),
                List.of("ls"),
                List.of("fork", "--help"),
                // Both fail, the second in the native library, whose classes are loaded by then.
                List.of("snapshot", "--tag", "t"),
                List.of("fork", "--tag", "t", "-n", "1"),
                // Fails as well, as nobody answers.
                List.of("parent", "build", "localhost:1/t", "--cache", cache))) {
            Main.run(shell, line.toArray(String[]::new));
        }
        try (ServerSocket registry = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
            TrainingRegistry.serve(registry);
            String image = "localhost:" + registry.getLocalPort() + "/t";
            // Builds, and finds what was built; the kernel is none.
            for (int i = 0; i < 2; i++) {
                Main.run(shell, "from-image", image, "--tag", "u", "--cache", cache, "--kernel", kernel);
            }
        }
        try (ServerSocket agent = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
            answer(agent, "{\"exit_code\":0,\"stdout\":\"x\",\"result\":\"x\"}\n");
            String target = "127.0.0.1:" + agent.getLocalPort();
            Main.run(shell, "exec", "--target", target, "--", "true");
            Main.run(shell, "eval", "--target", target, "--", "1");
            Main.run(shell, "ping", "--target", target);
        }
        serve(snapshot);
    }

    /** Has a daemon start, answer and end. */
    private static void serve(Path directory) throws IOException, InterruptedException {
        PrintStream quiet = new PrintStream(OutputStream.nullOutputStream(), false, StandardCharsets.UTF_8);
        Shell shell = Shell.of(quiet, quiet, false, System.getenv());
        int port;
        try (ServerSocket free = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
            port = free.getLocalPort();
        }
        String[] line = {
            "daemon",
            "--bind=127.0.0.1:" + port,
            "--state=" + directory.resolve("state.json"),
            "--audit-log=" + directory.resolve("audit.log")
        };
        Thread daemon = new Thread(() -> Main.run(shell, line), "daemon");
        daemon.start();
        while (daemon.isAlive() && !isAnswered(port)) {
            Thread.sleep(50);
        }
        shell.call().cancel();
        daemon.join();
    }

    private static boolean isAnswered(int port) {
        try (Socket client = new Socket(InetAddress.getLoopbackAddress(), port)) {
            client.getOutputStream().write("GET /v1/snapshots HTTP/1.0\r\n\r\n".getBytes(StandardCharsets.US_ASCII));
            return client.getInputStream().readAllBytes().length > 0;
        } catch (IOException e) {
            return false; // It does not listen yet.
        }
    }

    private static void answer(ServerSocket agent, String reply) {
        Thread thread = new Thread(
                () -> {
                    try {
                        while (true) {
                            try (Socket client = agent.accept()) {
                                client.getInputStream().readAllBytes();
                                client.getOutputStream().write(reply.getBytes(StandardCharsets.UTF_8));
                            }
                        }
                    } catch (IOException e) {
                        // It is over.
                    }
                },
                "agent");
        thread.setDaemon(true);
        thread.start();
    }
}
