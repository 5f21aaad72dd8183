package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.Json;
import io.forkd.engine.Call;
import io.forkd.image.Authorities;
import java.io.BufferedInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetSocketAddress;
import java.net.SocketAddress;
import java.net.StandardProtocolFamily;
import java.net.URI;
import java.net.URISyntaxException;
import java.net.URLEncoder;
import java.net.UnixDomainSocketAddress;
import java.nio.channels.Channels;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.security.cert.CertificateException;
import java.time.Duration;
import java.util.Locale;
import java.util.Optional;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.function.Consumer;
import javax.net.ssl.SSLHandshakeException;
import javax.net.ssl.SSLParameters;
import javax.net.ssl.SSLSocket;
import javax.net.ssl.SSLSocketFactory;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.MissingNode;
import tools.jackson.databind.node.ObjectNode;

/**
 * REST v1 of a daemon, over TCP, TLS or a Unix socket: a connection for each request. In HTTP/1.0, so that the answer ends
 * where the connection does and comes in no chunks. (Java's own client knows no Unix sockets, and takes longer to start than
 * most verbs to run.)
 */
final class DaemonClient {
    static final String DEFAULT_URL = "http://127.0.0.1:8889";

    private static final String UNIX = "unix:";
    private static final int MOST_HEADERS = 64 << 10;

    /** The answer that hands a connection over, and how long a guest may take for its part. */
    private static final int SWITCHED = 101;

    private static final Duration HAND_OVER = Duration.ofMinutes(1);

    /** Two streams of 8 MiB, each byte of which may take six in JSON. */
    private static final int MOST_BODY = 100 << 20;

    private static final int MOST_SHOWN = 2000;

    /** Closes what has taken too long. */
    private static final ScheduledExecutorService CLOCK = Executors.newSingleThreadScheduledExecutor(job -> {
        Thread thread = new Thread(job, "clock");
        thread.setDaemon(true);
        return thread;
    });

    /** How it is reached. */
    private sealed interface Endpoint {
        record Unix(Path socket) implements Endpoint {}

        record Tcp(boolean tls, String host, int port, String prefix) implements Endpoint {}
    }

    private final String url;
    private final Endpoint endpoint;
    private final Optional<String> token;
    private final Optional<Authorities> authorities;
    private final Call call;

    /** @param url {@code http://HOST[:PORT][/PREFIX]}, {@code https://...} or {@code unix:PATH} */
    DaemonClient(String url, Optional<String> token, Shell shell) {
        this.url = url;
        this.endpoint = endpoint(url);
        this.token = token;
        this.authorities = Authorities.named(shell.environment());
        this.call = shell.call();
        if (token.isPresent() && !token.get().chars().allMatch(c -> c > ' ' && c < 127)) {
            throw new ForkdException(Kind.USAGE, "the daemon's token has a character that no token has");
        }
    }

    static boolean isUnix(String url) {
        return url.startsWith(UNIX);
    }

    /** @throws ForkdException when it is no daemon's */
    static void requireUsable(String url) {
        var unused = endpoint(url);
    }

    private static Endpoint endpoint(String url) {
        if (isUnix(url)) {
            return new Endpoint.Unix(Path.of(url.substring(UNIX.length())));
        }
        try {
            URI uri = new URI(url);
            String scheme = Optional.ofNullable(uri.getScheme()).orElse("").toLowerCase(Locale.ROOT);
            boolean tls = scheme.equals("https");
            if ((tls || scheme.equals("http"))
                    && uri.getHost() != null
                    && uri.getUserInfo() == null
                    && uri.getRawQuery() == null
                    && uri.getRawFragment() == null) {
                String host = uri.getHost();
                return new Endpoint.Tcp(
                        tls,
                        host.startsWith("[") ? host.substring(1, host.length() - 1) : host,
                        uri.getPort() >= 0 ? uri.getPort() : tls ? 443 : 80,
                        uri.getRawPath().replaceAll("/+$", ""));
            }
        } catch (URISyntaxException e) {
            // said below
        }
        throw new ForkdException(
                Kind.USAGE,
                "'" + url + "' is not a daemon's URL: it must be http://HOST:PORT, https://HOST:PORT or unix:PATH");
    }

    /** The daemon could not be asked, or the answer was lost: whether it did what it was asked to is not known then. */
    static final class Unreachable extends ForkdException {
        private static final long serialVersionUID = 1;

        private Unreachable(String url, String why) {
            super(
                    Kind.FAILED,
                    "cannot reach the daemon at " + url + ": " + why,
                    "Start it: forkd daemon. Or work on this machine's folders: without --daemon-url and FORKD_URL.");
        }
    }

    /** It answered with a status that is no success. */
    static final class Refused extends ForkdException {
        private static final long serialVersionUID = 1;

        private final int status;

        private Refused(String url, int status, String said) {
            super(
                    status == 404 ? Kind.NOT_FOUND : status == 409 ? Kind.CONFLICT : Kind.FAILED,
                    "the daemon at " + url + " answered HTTP " + status + (said.isEmpty() ? "" : ": " + said),
                    status == 401 ? "Give its token: FORKD_TOKEN or --daemon-token." : "");
            this.status = status;
        }

        int status() {
            return status;
        }
    }

    String url() {
        return url;
    }

    boolean answers() {
        try {
            get("/healthz", Duration.ofSeconds(2));
            return true;
        } catch (Unreachable e) {
            return false;
        }
    }

    JsonNode get(String path, Duration limit) {
        return request("GET", path, Optional.empty(), Optional.of(limit));
    }

    /** @param limit for all of it; empty: none */
    JsonNode post(String path, ObjectNode body, Optional<Duration> limit) {
        return request("POST", path, Optional.of(body), limit);
    }

    JsonNode put(String path, ObjectNode body, Duration limit) {
        return request("PUT", path, Optional.of(body), Optional.of(limit));
    }

    JsonNode delete(String path, Duration limit) {
        return request("DELETE", path, Optional.empty(), Optional.of(limit));
    }

    /** What is done with an answer as it comes. */
    private interface Taker {
        void take(InputStream answer) throws IOException;
    }

    /** Hands over each line of an answer as it comes, until it ends. */
    void lines(String path, Consumer<String> each) {
        request("GET", path, Optional.empty(), Optional.empty(), Optional.of(answer -> eachLine(answer, each)));
    }

    /** The same of what is done. */
    void lines(String path, ObjectNode body, Consumer<String> each) {
        request("POST", path, Optional.of(body), Optional.empty(), Optional.of(answer -> eachLine(answer, each)));
    }

    /** As if it had answered with that status. */
    Refused refused(int status, String said) {
        return new Refused(url, status, said);
    }

    private void eachLine(InputStream answer, Consumer<String> each) throws IOException {
        for (Optional<String> line = next(answer); line.isPresent(); line = next(answer)) {
            call.check();
            each.accept(line.get());
        }
    }

    /** Copies an answer as it comes, until it ends. */
    void copy(String path, OutputStream out) {
        request("GET", path, Optional.empty(), Optional.empty(), Optional.of(answer -> answer.transferTo(out)));
    }

    /** A name as a part of a path. */
    static String part(String name) {
        return URLEncoder.encode(name, StandardCharsets.UTF_8).replace("+", "%20");
    }

    void step(String what) {
        call.step(what);
    }

    void warn(String what) {
        call.warn(what);
    }

    /** Waits, as long as the result is wanted. */
    void sleep(Duration time) {
        call.interruptibly(() -> {
            try {
                Thread.sleep(time.toMillis());
            } catch (InterruptedException e) {
                call.check();
            }
            return true;
        });
    }

    private JsonNode request(String method, String path, Optional<ObjectNode> body, Optional<Duration> limit) {
        return request(method, path, body, limit, Optional.empty());
    }

    private JsonNode request(
            String method, String path, Optional<ObjectNode> body, Optional<Duration> limit, Optional<Taker> taker) {
        byte[] content = body.map(Json::bytes).orElse(new byte[0]);
        return call.interruptibly(() -> {
            AtomicBoolean late = new AtomicBoolean();
            try (SocketChannel channel = open()) {
                Optional<Future<?>> clock = limit.map(time -> CLOCK.schedule(
                        () -> {
                            late.set(true);
                            close(channel);
                        },
                        time.toMillis(),
                        TimeUnit.MILLISECONDS));
                try {
                    return exchange(channel, method, path, content, taker);
                } finally {
                    clock.ifPresent(timer -> timer.cancel(false));
                }
            } catch (IOException e) {
                call.check(); // An interrupt closes the channel, too.
                throw lost(
                        e,
                        late.get()
                                ? "it did not answer within "
                                        + limit.orElse(Duration.ZERO).toSeconds() + " s"
                                : ForkdException.reason(e));
            }
        });
    }

    private ForkdException lost(IOException e, String why) {
        return e instanceof SSLHandshakeException && e.getCause() instanceof CertificateException
                // Somebody is there, and may be anybody: no reason to do without the daemon that was named.
                ? new ForkdException(
                        Kind.FAILED,
                        "the daemon at " + url + " could not show that it is that: " + e.getMessage(),
                        "Name the file with the certificate of its authority, SSL_CERT_FILE=FILE, and it by a name"
                                + " that its certificate has.")
                : new Unreachable(url, why);
    }

    private static void close(SocketChannel channel) {
        try {
            channel.close();
        } catch (IOException e) {
            // It is of no use any more.
        }
    }

    private JsonNode exchange(SocketChannel channel, String method, String path, byte[] content, Optional<Taker> taker)
            throws IOException {
        channel.connect(address());
        if (endpoint instanceof Endpoint.Tcp tcp && tcp.tls()) {
            try (SSLSocket socket = secured(channel, tcp)) {
                return exchange(socket.getInputStream(), socket.getOutputStream(), method, path, content, taker);
            }
        }
        return exchange(
                Channels.newInputStream(channel), Channels.newOutputStream(channel), method, path, content, taker);
    }

    /**
     * Has the daemon hand a connection over to another protocol.
     *
     * @param protocol as the field Upgrade has it
     * @return what carries that from now on; the caller's
     */
    SocketChannel handOver(String path, String protocol) {
        // Also when nothing else is wanted any more: a program is ended by a stream of its own.
        try {
            return handedOver(path, protocol);
        } catch (IOException e) {
            throw lost(e, ForkdException.reason(e));
        }
    }

    private SocketChannel handedOver(String path, String protocol) throws IOException {
        SocketChannel channel = open();
        Future<?> clock = CLOCK.schedule(() -> close(channel), HAND_OVER.toMillis(), TimeUnit.MILLISECONDS);
        boolean done = false;
        try {
            channel.connect(address());
            SocketChannel carrier = channel;
            if (endpoint instanceof Endpoint.Tcp tcp && tcp.tls()) {
                SSLSocket socket = secured(channel, tcp);
                handOver(socket.getInputStream(), socket.getOutputStream(), path, protocol);
                carrier = Piped.over(socket);
            } else {
                handOver(Channels.newInputStream(channel), Channels.newOutputStream(channel), path, protocol);
            }
            done = true;
            return carrier;
        } finally {
            clock.cancel(false);
            if (!done) {
                close(channel);
            }
        }
    }

    private SocketChannel open() throws IOException {
        return endpoint instanceof Endpoint.Unix
                ? SocketChannel.open(StandardProtocolFamily.UNIX)
                : SocketChannel.open();
    }

    private void handOver(InputStream in, OutputStream to, String path, String protocol) throws IOException {
        String more = "Connection: Upgrade\r\nUpgrade: " + protocol + "\r\n";
        to.write(head("GET", path, "HTTP/1.1", more).getBytes(StandardCharsets.US_ASCII));
        to.flush();
        // Byte by byte, as what is behind the head is the other protocol's.
        Head head = head(in);
        if (head.status() != SWITCHED) {
            answer(head.status(), in.readNBytes((int) Math.max(0, Math.min(head.length(), MOST_HEADERS))));
            throw new IOException("it does not hand its connections over to " + protocol);
        }
    }

    private SSLSocket secured(SocketChannel channel, Endpoint.Tcp tcp) throws IOException {
        SSLSocketFactory factory = authorities.isPresent()
                ? authorities.get().sockets()
                : (SSLSocketFactory) SSLSocketFactory.getDefault();
        SSLSocket socket = (SSLSocket) factory.createSocket(channel.socket(), tcp.host(), tcp.port(), true);
        SSLParameters parameters = socket.getSSLParameters();
        parameters.setEndpointIdentificationAlgorithm("HTTPS");
        socket.setSSLParameters(parameters);
        return socket;
    }

    private SocketAddress address() throws IOException {
        if (endpoint instanceof Endpoint.Unix unix) {
            return UnixDomainSocketAddress.of(unix.socket());
        }
        Endpoint.Tcp tcp = (Endpoint.Tcp) endpoint;
        InetSocketAddress address = new InetSocketAddress(tcp.host(), tcp.port());
        if (address.isUnresolved()) {
            throw new IOException("the host name is unknown");
        }
        return address;
    }

    private JsonNode exchange(
            InputStream from, OutputStream to, String method, String path, byte[] content, Optional<Taker> taker)
            throws IOException {
        String more = "Content-Type: application/json\r\nContent-Length: " + content.length + "\r\n";
        to.write(head(method, path, "HTTP/1.0", more).getBytes(StandardCharsets.US_ASCII));
        to.write(content);
        to.flush();
        InputStream in = new BufferedInputStream(from);
        Head head = head(in);
        if (taker.isPresent() && head.status() < 300) {
            taker.get().take(in);
            return Shell.json();
        }
        byte[] body = in.readNBytes(MOST_BODY);
        if (body.length == MOST_BODY) {
            throw new IOException("its answer has more than " + (MOST_BODY >> 20) + " MiB");
        }
        if (head.length() >= 0 && body.length < head.length()) {
            throw new IOException("its answer was cut off");
        }
        return answer(head.status(), body);
    }

    /** @param length of the body; -1 when that is not said */
    private record Head(int status, long length) {}

    private static Head head(InputStream in) throws IOException {
        String statusLine = line(in);
        if (!statusLine.matches("HTTP/1\\.[01] [1-5][0-9][0-9]( .*)?")) {
            throw new IOException("what answers there does not speak HTTP");
        }
        long length = -1;
        for (String header = line(in); !header.isEmpty(); header = line(in)) {
            if (header.toLowerCase(Locale.ROOT).startsWith("content-length:")) {
                length = length(header.substring("content-length:".length()).strip());
            }
        }
        return new Head(Integer.parseInt(statusLine.substring(9, 12)), length);
    }

    private String head(String method, String path, String version, String more) {
        String host = "localhost";
        String prefix = "";
        if (endpoint instanceof Endpoint.Tcp tcp) {
            host = (tcp.host().contains(":") ? "[" + tcp.host() + "]" : tcp.host()) + ":" + tcp.port();
            prefix = tcp.prefix();
        }
        return method + " " + prefix + path + " " + version + "\r\nHost: " + host + "\r\n"
                + token.map(secret -> "Authorization: Bearer " + secret + "\r\n")
                        .orElse("")
                + more + "\r\n";
    }

    private static long length(String text) throws IOException {
        try {
            return Long.parseLong(text);
        } catch (NumberFormatException e) {
            throw new IOException("it says Content-Length: " + printable(text), e);
        }
    }

    /** A line of an answer; empty at its end. */
    private static Optional<String> next(InputStream in) throws IOException {
        in.mark(1);
        if (in.read() < 0) {
            return Optional.empty();
        }
        in.reset();
        return Optional.of(line(in));
    }

    private static String line(InputStream in) throws IOException {
        ByteArrayOutputStream line = new ByteArrayOutputStream();
        for (int next = in.read(); next != '\n'; next = in.read()) {
            if (next < 0) {
                throw new IOException("it closed the connection without an answer");
            }
            if (line.size() == MOST_HEADERS) {
                throw new IOException("what answers there does not speak HTTP");
            }
            line.write(next);
        }
        return line.toString(StandardCharsets.UTF_8).strip();
    }

    private JsonNode answer(int status, byte[] body) throws IOException {
        JsonNode document = MissingNode.getInstance();
        boolean isJson = true;
        try {
            document = body.length == 0 ? document : Json.parse(body);
        } catch (JacksonException e) {
            isJson = false;
        }
        if (status / 100 != 2) {
            JsonNode error = document.path("error");
            throw new Refused(
                    url,
                    status,
                    printable(error.isString() ? error.stringValue() : new String(body, StandardCharsets.UTF_8)));
        }
        if (!isJson) {
            throw new IOException("its answer is no JSON: " + printable(new String(body, StandardCharsets.UTF_8)));
        }
        return document;
    }

    private static String printable(String text) {
        return text.substring(0, Math.min(text.length(), MOST_SHOWN))
                .replaceAll("\\p{Cc}", " ")
                .strip();
    }
}
