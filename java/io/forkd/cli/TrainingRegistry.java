package io.forkd.cli;

import io.forkd.image.Digest;
import io.forkd.image.Platform;
import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;
import java.util.Optional;
import java.util.zip.GZIPOutputStream;
import org.apache.commons.compress.archivers.tar.TarArchiveEntry;
import org.apache.commons.compress.archivers.tar.TarArchiveOutputStream;

/** As much of a registry as the training run needs: one small image, under any name. */
final class TrainingRegistry {
    private final Map<String, byte[]> documents = new HashMap<>();

    private TrainingRegistry() {}

    /** Answers until the socket is closed. */
    static void serve(ServerSocket socket) throws IOException {
        TrainingRegistry registry = new TrainingRegistry();
        registry.makeImage();
        background(() -> {
            while (true) {
                Socket client = socket.accept();
                background(() -> registry.answer(client));
            }
        });
    }

    /** Ends with an exception at the latest when the other side is gone. */
    @FunctionalInterface
    private interface Service {
        void run() throws IOException;
    }

    private static void background(Service service) {
        Thread thread = new Thread(
                () -> {
                    try {
                        service.run();
                    } catch (IOException e) {
                        // It is over.
                    }
                },
                "registry");
        thread.setDaemon(true);
        thread.start();
    }

    private void makeImage() throws IOException {
        byte[] layer = layer();
        ByteArrayOutputStream packed = new ByteArrayOutputStream();
        try (OutputStream out = new GZIPOutputStream(packed)) {
            out.write(layer);
        }
        byte[] config = ("{\"os\":\"linux\",\"architecture\":\""
                        + Platform.host().architecture()
                        + "\",\"config\":{\"Env\":[\"A=1\"]},\"rootfs\":{\"diff_ids\":[\"" + Digest.sha256(layer)
                        + "\"]}}")
                .getBytes(StandardCharsets.UTF_8);
        String manifest = "{\"schemaVersion\":2,\"config\":" + keep(config, "application/vnd.oci.image.config.v1+json")
                + ",\"layers\":[" + keep(packed.toByteArray(), "application/vnd.oci.image.layer.v1.tar+gzip")
                + "]}";
        documents.put("latest", manifest.getBytes(StandardCharsets.UTF_8));
    }

    private static byte[] layer() throws IOException {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        try (TarArchiveOutputStream tar = new TarArchiveOutputStream(bytes)) {
            TarArchiveEntry file = new TarArchiveEntry("file");
            file.setSize(1);
            tar.putArchiveEntry(file);
            tar.write('x');
            tar.closeArchiveEntry();
        }
        return bytes.toByteArray();
    }

    /** Keeps a blob, and returns its descriptor. */
    private String keep(byte[] blob, String mediaType) {
        String digest = Digest.sha256(blob).toString();
        documents.put(digest, blob);
        return "{\"mediaType\":\"" + mediaType + "\",\"digest\":\"" + digest + "\",\"size\":" + blob.length + "}";
    }

    /** What it is asked for and has not ends the connection. */
    private void answer(Socket client) throws IOException {
        try (client) {
            BufferedReader requests =
                    new BufferedReader(new InputStreamReader(client.getInputStream(), StandardCharsets.ISO_8859_1));
            for (String line = requests.readLine(); line != null; line = requests.readLine()) {
                if (line.startsWith("GET ") || line.startsWith("HEAD ")) {
                    String path = line.split(" ", 3)[1];
                    byte[] body = Optional.ofNullable(documents.get(path.substring(path.lastIndexOf('/') + 1)))
                            .orElseThrow(() -> new IOException("no " + path));
                    OutputStream out = client.getOutputStream();
                    out.write(("HTTP/1.1 200 OK\r\nContent-Length: " + body.length + "\r\nDocker-Content-Digest: "
                                    + Digest.sha256(body) + "\r\n\r\n")
                            .getBytes(StandardCharsets.ISO_8859_1));
                    out.write(line.startsWith("GET ") ? body : new byte[0]);
                }
            }
        }
    }
}
