package io.forkd.image;

import static org.assertj.core.api.Assertions.assertThat;

import io.forkd.image.OciImage.Members;
import io.forkd.image.OciImage.Packing;
import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.file.Files;
import java.nio.file.Path;

/** A registry on this machine that has the image {@code team/py:1}. */
public final class RealRegistry implements AutoCloseable {
    private final Path layout;
    private final Process process;
    private final String host;

    public RealRegistry(Path directory) throws IOException, InterruptedException {
        layout = Files.createDirectories(directory.resolve("layout"));
        byte[] noise = new byte[300_000];
        new java.util.Random(7).nextBytes(noise);
        new OciImage(layout)
                .layer(Packing.PLAIN, new Members().file("noise", noise))
                .layer(Packing.GZIP, new Members().file("f", "x"))
                .write();
        int port;
        try (ServerSocket free = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
            port = free.getLocalPort();
        }
        Path configuration = directory.resolve("registry.yml");
        Files.writeString(
                configuration,
                "version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: "
                        + directory.resolve("registry") + "}}\nhttp: {addr: \"127.0.0.1:" + port + "\"}\n");
        process = new ProcessBuilder("docker-registry", "serve", configuration.toString())
                .redirectErrorStream(true)
                .redirectOutput(directory.resolve("registry.log").toFile())
                .start();
        host = "localhost:" + port;
        awaitPort(port);
        Process push = new ProcessBuilder(
                        "skopeo",
                        "copy",
                        "-q",
                        "--dest-tls-verify=false",
                        "oci:" + layout + ":1",
                        "docker://" + host + "/team/py:1")
                .inheritIO()
                .start();
        assertThat(push.waitFor()).isZero();
    }

    private void awaitPort(int port) throws InterruptedException {
        for (int i = 0; i < 300; i++) {
            try (Socket socket = new Socket(InetAddress.getLoopbackAddress(), port)) {
                return;
            } catch (IOException e) {
                Thread.sleep(100);
            }
        }
        throw new AssertionError("docker-registry does not start");
    }

    /** With its port. */
    public String host() {
        return host;
    }

    public String image() {
        return host + "/team/py:1";
    }

    /** The same image, in a folder. */
    public Path layout() {
        return layout;
    }

    @Override
    public void close() throws InterruptedException {
        process.destroy();
        process.waitFor();
    }
}
