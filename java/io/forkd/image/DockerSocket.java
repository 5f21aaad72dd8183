package io.forkd.image;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import java.io.BufferedInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.StandardProtocolFamily;
import java.net.URLEncoder;
import java.net.UnixDomainSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.Channels;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;

/** The one request that we have for a Docker daemon: give me this image. */
final class DockerSocket {
    private static final String SOCKET = "/var/run/docker.sock";
    private static final int BUFFER = 256 << 10;

    private DockerSocket() {}

    /** HTTP/1.0, so that the answer ends where the connection does and comes in no chunks. */
    static void save(String name, Path to, Map<String, String> environment, Work work) throws IOException {
        Path socket = Path.of(
                environment.getOrDefault("DOCKER_HOST", "unix://" + SOCKET).replaceFirst("^unix://", ""));
        if (!Files.exists(socket)) {
            throw new ForkdException(
                    Kind.NOT_FOUND,
                    "there is no Docker daemon: " + socket + " does not exist",
                    "Without the prefix docker-daemon: the image is pulled from its registry.");
        }
        try (SocketChannel channel = SocketChannel.open(StandardProtocolFamily.UNIX)) {
            channel.connect(UnixDomainSocketAddress.of(socket));
            String request = "GET /images/get?names=" + URLEncoder.encode(name, StandardCharsets.UTF_8)
                    + " HTTP/1.0\r\nHost: docker\r\n\r\n";
            channel.write(ByteBuffer.wrap(request.getBytes(StandardCharsets.US_ASCII)));
            InputStream in = new BufferedInputStream(Channels.newInputStream(channel), BUFFER);
            String status = line(in);
            for (String header = line(in); !header.isEmpty(); ) {
                header = line(in);
            }
            if (!status.matches("HTTP/1\\.[01] 200 .*")) {
                String said = new String(in.readNBytes(4096), StandardCharsets.UTF_8).strip();
                throw new ForkdException(
                        status.contains(" 404 ") ? Kind.NOT_FOUND : Kind.FAILED,
                        "the Docker daemon does not give " + name + ": " + said,
                        "It has what docker images lists.");
            }
            try (OutputStream out = Files.newOutputStream(to)) {
                byte[] buffer = new byte[BUFFER];
                for (int got = in.read(buffer); got >= 0; got = in.read(buffer)) {
                    work.check();
                    out.write(buffer, 0, got);
                    work.advance(got);
                }
            }
        }
    }

    private static String line(InputStream in) throws IOException {
        ByteArrayOutputStream line = new ByteArrayOutputStream();
        for (int next = in.read(); next >= 0 && next != '\n'; next = in.read()) {
            line.write(next);
        }
        return line.toString(StandardCharsets.UTF_8).strip();
    }
}
