package io.forkd.image;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.BufferedInputStream;
import java.io.BufferedOutputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyFactory;
import java.security.KeyStore;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.Base64;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;

/** A server of files on this machine, which also does whatever a test has it do instead. */
public final class WebServer implements AutoCloseable {
    private final Optional<Path> certificate;
    private final ServerSocket listening;
    private final Map<String, byte[]> files = new ConcurrentHashMap<>();
    private final Map<String, Answering> others = new ConcurrentHashMap<>();
    private final List<Request> requests = new CopyOnWriteArrayList<>();

    /** What was asked, with all that came along. */
    public record Request(String method, String path, Map<String, String> headers, byte[] body) {}

    /** Answers in the place of the file of that path. */
    public interface Answering {
        void answer(Request request, OutputStream out) throws IOException;
    }

    private WebServer(ServerSocket listening, Optional<Path> certificate) {
        this.listening = listening;
        this.certificate = certificate;
        Thread thread = new Thread(this::accept, "web-server");
        thread.setDaemon(true);
        thread.start();
    }

    public static WebServer plain() throws IOException {
        return new WebServer(new ServerSocket(0, 50, InetAddress.getLoopbackAddress()), Optional.empty());
    }

    /** @param folder for a certificate of its own, which nobody trusts who is not told to */
    public static WebServer secure(Path folder) throws Exception {
        Path key = folder.resolve("web.key");
        Path certificate = folder.resolve("web.pem");
        assertThat(new ProcessBuilder(
                                ("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj"
                                                + " /CN=localhost -addext subjectAltName=DNS:localhost -keyout " + key
                                                + " -out " + certificate)
                                        .split(" "))
                        .redirectErrorStream(true)
                        .redirectOutput(folder.resolve("web.log").toFile())
                        .start()
                        .waitFor())
                .isZero();
        KeyStore keys = KeyStore.getInstance("PKCS12");
        keys.load(null, null);
        byte[] der = Base64.getMimeDecoder().decode(Files.readString(key).replaceAll("-----.*-----", ""));
        try (InputStream in = Files.newInputStream(certificate)) {
            keys.setKeyEntry(
                    "key",
                    KeyFactory.getInstance("EC").generatePrivate(new PKCS8EncodedKeySpec(der)),
                    new char[0],
                    new Certificate[] {CertificateFactory.getInstance("X.509").generateCertificate(in)});
        }
        KeyManagerFactory managers = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
        managers.init(keys, new char[0]);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(managers.getKeyManagers(), null, null);
        return new WebServer(
                context.getServerSocketFactory().createServerSocket(0, 50, InetAddress.getLoopbackAddress()),
                Optional.of(certificate));
    }

    private void accept() {
        while (true) {
            try {
                Socket client = listening.accept();
                Thread thread = new Thread(() -> serve(client), "web-client");
                thread.setDaemon(true);
                thread.start();
            } catch (IOException e) {
                return;
            }
        }
    }

    private void serve(Socket client) {
        try (client) {
            InputStream in = new BufferedInputStream(client.getInputStream());
            OutputStream out = new BufferedOutputStream(client.getOutputStream());
            String[] first = line(in).split(" ");
            Map<String, String> headers = new TreeMap<>();
            for (String line = line(in); !line.isEmpty(); line = line(in)) {
                headers.put(
                        line.substring(0, line.indexOf(':')).toLowerCase(Locale.ROOT),
                        line.substring(line.indexOf(':') + 1).strip());
            }
            byte[] body = in.readNBytes(Integer.parseInt(headers.getOrDefault("content-length", "0")));
            Request request = new Request(first[0], first[1], headers, body);
            requests.add(request);
            Optional.ofNullable(others.get(request.path())).orElse(this::file).answer(request, out);
            out.flush();
        } catch (IOException | RuntimeException e) {
            // It is gone.
        }
    }

    private static String line(InputStream in) throws IOException {
        ByteArrayOutputStream line = new ByteArrayOutputStream();
        for (int c = in.read(); c >= 0 && c != '\n'; c = in.read()) {
            line.write(c);
        }
        return line.toString(StandardCharsets.ISO_8859_1).stripTrailing();
    }

    private void file(Request request, OutputStream out) throws IOException {
        if (request.method().equals("PUT")) {
            files.put(request.path(), request.body());
            head(out, "201 Created", "Content-Length: 0");
            return;
        }
        byte[] content = files.get(request.path());
        if (content == null) {
            head(out, "404 Not Found", "Content-Length: 0");
            return;
        }
        String tag = "\"" + Digest.sha256(content).hex() + "\"";
        String range = request.headers().getOrDefault("range", "");
        boolean same = request.headers().getOrDefault("if-range", tag).equals(tag);
        if (!range.isEmpty() && same) {
            int from = Integer.parseInt(range.replaceAll("[^0-9]", ""));
            head(
                    out,
                    "206 Partial Content",
                    "ETag: " + tag,
                    "Content-Length: " + (content.length - from),
                    "Content-Range: bytes " + from + "-" + (content.length - 1) + "/" + content.length);
            out.write(content, from, content.length - from);
            return;
        }
        head(out, "200 OK", "ETag: " + tag, "Content-Length: " + content.length);
        if (!request.method().equals("HEAD")) {
            out.write(content);
        }
    }

    /** The beginning of an answer. */
    public static void head(OutputStream out, String status, String... headers) throws IOException {
        String text = "HTTP/1.1 " + status + "\r\nConnection: close\r\n" + String.join("\r\n", headers)
                + (headers.length > 0 ? "\r\n" : "") + "\r\n";
        out.write(text.getBytes(StandardCharsets.ISO_8859_1));
    }

    /** Has that path answered so. */
    public void on(String path, Answering answering) {
        others.put(path, answering);
    }

    /** Sends on to another address. */
    public void redirect(String path, String to) {
        on(path, (request, out) -> head(out, "302 Found", "Location: " + to, "Content-Length: 0"));
    }

    public void put(String path, byte[] content) {
        files.put(path, content);
    }

    public byte[] file(String path) {
        return Optional.ofNullable(files.get(path)).orElseThrow();
    }

    /** Of the files that there are. */
    public List<String> paths() {
        return files.keySet().stream().sorted().toList();
    }

    public List<Request> requests() {
        return requests;
    }

    /** As its address begins. */
    public String url() {
        return (certificate.isPresent() ? "https" : "http") + "://localhost:" + listening.getLocalPort();
    }

    /** What has its certificate trusted. */
    public Map<String, String> trust() {
        return certificate.map(file -> Map.of("SSL_CERT_FILE", file.toString())).orElse(Map.of());
    }

    @Override
    public void close() throws IOException {
        listening.close();
    }
}
