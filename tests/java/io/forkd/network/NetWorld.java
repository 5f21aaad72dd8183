package io.forkd.network;

import io.forkd.files.Trees;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.io.Writer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/** Networks in a network and mount namespace that end with the test, with the world of tests/net-world around them. */
public final class NetWorld implements AutoCloseable {
    private static final Path PROGRAM = Path.of("build/forkd-net");

    private final Process world;
    private final Writer to;
    private final BufferedReader from;
    public final Path root;
    private String forwarding = "0";

    public NetWorld(Path scratch) throws IOException {
        root = scratch.resolve("net");
        world = new ProcessBuilder(
                        "unshare", "--net", "--mount", "sh", "-c", "mount -t tmpfs none /run && exec tests/net-world")
                .redirectError(ProcessBuilder.Redirect.INHERIT)
                .start();
        to = world.outputWriter();
        from = world.inputReader();
        if (!String.valueOf(from.readLine()).equals("ready")) {
            throw new IOException("tests/net-world did not start");
        }
    }

    /** Those of a process of its own. */
    public Networks networks() {
        return networks(PROGRAM.toAbsolutePath().toString());
    }

    public Networks networks(String program) {
        return new Networks(
                root,
                foreign(),
                () -> NetConfig.of(Map.of("FORKD_NET_RESOLVERS", "8.8.8.8")),
                () -> program.startsWith("/nonexistent") ? List.of(program) : inside(program),
                new Networks.Forwarding() {
                    @Override
                    public String read() {
                        return forwarding;
                    }

                    @Override
                    public void write(String value) {
                        forwarding = value;
                        ask("run sysctl -w net.ipv4.ip_forward=" + value);
                    }
                });
    }

    /** Where the names of namespaces that others made are. */
    public Path foreign() {
        return root.resolveSibling("foreign");
    }

    /** Whether packets are forwarded. */
    String forwarding() {
        return forwarding;
    }

    private List<String> inside(String... words) {
        List<String> command = new ArrayList<>(
                List.of("nsenter", "--target", Long.toString(world.pid()), "--net", "--mount", "--wdns=/", "--"));
        command.addAll(List.of(words));
        return command;
    }

    /** What tests/net-world answers to a command. */
    public synchronized String ask(String command) {
        try {
            to.write(command + "\n");
            to.flush();
            return Optional.ofNullable(from.readLine()).orElse("tests/net-world ended");
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** A process that has the tap of that namespace open, until it is ended. */
    public Process holdTap(String namespace) throws IOException {
        Process process = new ProcessBuilder(inside("nsenter", "--net=/run/netns/" + namespace, "python3", "-uc", """
                import fcntl, os, struct, time
                tap = os.open("/dev/net/tun", os.O_RDWR)
                fcntl.ioctl(tap, 0x400454CA, struct.pack("16sH22x", b"forkd-tap0", 0x1002))
                print("has it")
                time.sleep(600)
                """))
                .redirectError(ProcessBuilder.Redirect.INHERIT)
                .start();
        if (!String.valueOf(process.inputReader().readLine()).equals("has it")) {
            throw new IOException("the tap of " + namespace + " cannot be opened");
        }
        return process;
    }

    /** What a command prints there. */
    String run(String... words) {
        try {
            Process process =
                    new ProcessBuilder(inside(words)).redirectErrorStream(true).start();
            return new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** Everything of ours that there is. */
    public String left() {
        try {
            String files = Files.isDirectory(root)
                    ? String.join(
                            " ",
                            Trees.list(root).stream()
                                    .map(path -> String.valueOf(path.getFileName()))
                                    .filter(name -> !name.equals(".lock"))
                                    .sorted()
                                    .toList())
                    : "";
            return run(
                                    "sh",
                                    "-c",
                                    "ls /run/netns 2>/dev/null; ip -o link | grep -oE 'forkd-[a-z]+[0-9]+' | sort -u;"
                                            + " nft list tables; for p in $(pgrep dnsmasq); do"
                                            + " [ \"$(readlink /proc/$p/ns/mnt)\" ="
                                            + " \"$(readlink /proc/self/ns/mnt)\" ] && echo dnsmasq; done;"
                                            + " ip route | grep 10.43")
                            .strip()
                    + files;
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    @Override
    public void close() {
        world.destroyForcibly();
        try {
            world.waitFor();
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }
}
