package io.forkd.image;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.Json;
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
import tools.jackson.core.JacksonException;

/** The one request that we have for a Docker daemon: give me this image. */
final class DockerSocket {
    private static final String SOCKET = "/var/run/docker.sock";
    private static final String UNIX = "unix://";
    private static final int MAX_ERROR_BYTES = 4096;
    private static final int BUFFER = 256 << 10;

    private DockerSocket() {}

    /** HTTP/1.0, so that the answer ends where the connection does and comes in no chunks. */
    static void save(String name, Path to, Map<String, String> environment, Work work) throws IOException {
        Path socket = socket(environment);
        if (!Files.exists(socket)) {
            throw new ForkdException(
                    Kind.NOT_FOUND,
                    "there is no Docker daemon: " + socket + " does not exist",
                    "Without the prefix docker-daemon: the image is pulled from its registry.");
        }
        try (SocketChannel channel = SocketChannel.open(StandardProtocolFamily.UNIX)) {
            connect(channel, socket);
            String request = "GET /images/get?names=" + URLEncoder.encode(name, StandardCharsets.UTF_8)
                    + " HTTP/1.0\r\nHost: docker\r\n\r\n";
            channel.write(ByteBuffer.wrap(request.getBytes(StandardCharsets.US_ASCII)));
            InputStream in = new BufferedInputStream(Channels.newInputStream(channel), BUFFER);
            String status = line(in);
            for (String header = line(in); !header.isEmpty(); ) {
                header = line(in);
            }
            if (!status.matches("HTTP/1\\.[01] 200 .*")) {
                throw new ForkdException(
                        status.contains(" 404 ") ? Kind.NOT_FOUND : Kind.FAILED,
                        "the Docker daemon does not give " + name + ": " + said(in, status),
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

    private static Path socket(Map<String, String> environment) {
        String host = environment.getOrDefault("DOCKER_HOST", "");
        if (host.isEmpty()) {
            return Path.of(SOCKET);
        }
        if (!host.startsWith(UNIX)) {
            throw new ForkdException(
                    Kind.UNSUPPORTED,
                    "DOCKER_HOST is " + host + ", and only a daemon at a socket of this machine is asked",
                    "Save the image and name the file: docker save NAME -o FILE; docker-archive:FILE");
        }
        return Path.of(host.substring(UNIX.length()));
    }

    private static void connect(SocketChannel channel, Path socket) {
        try {
            channel.connect(UnixDomainSocketAddress.of(socket));
        } catch (IOException e) {
            throw new ForkdException(
                    Kind.FAILED,
                    "cannot talk to the Docker daemon at " + socket + ": " + ForkdException.reason(e),
                    "It has to run, and you have to be root or in its group.");
        }
    }

    /** The sentence of an error, which comes in JSON. */
    private static String said(InputStream in, String status) throws IOException {
        byte[] body = in.readNBytes(MAX_ERROR_BYTES);
        try {
            return Json.parse(body).path("message").asString(status);
        } catch (JacksonException e) {
            return status;
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
