package io.forkd.http;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import java.io.IOException;
import java.net.BindException;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.ServerSocketChannel;
import java.security.KeyStore;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import java.util.function.Function;
import org.eclipse.jetty.http.HttpHeader;
import org.eclipse.jetty.http.UriCompliance;
import org.eclipse.jetty.io.Connection;
import org.eclipse.jetty.io.EndPoint;
import org.eclipse.jetty.io.ssl.SslConnection;
import org.eclipse.jetty.server.AbstractConnector;
import org.eclipse.jetty.server.ConnectionFactory;
import org.eclipse.jetty.server.HttpConfiguration;
import org.eclipse.jetty.server.NetworkConnectionLimit;
import org.eclipse.jetty.server.Request;
import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.server.ServerConnector;
import org.eclipse.jetty.server.SslConnectionFactory;
import org.eclipse.jetty.server.handler.ErrorHandler;
import org.eclipse.jetty.util.Callback;
import org.eclipse.jetty.util.ssl.SslContextFactory;
import org.eclipse.jetty.util.thread.QueuedThreadPool;

/**
 * A running server. {@code GET /healthz} it answers by itself, whoever asks; all else is the routes'. Any thread may use it.
 *
 * <p>Every error is answered as {@code {"error": text}}, whoever finds it.
 */
public final class HttpServer {
    /** Jetty's: acceptors, selectors and the few that do what these find. None of them waits for a client. */
    private static final int THREADS = 16;

    /** The head of an answer, which a relay passes on, for example. */
    static final int MOST_HEAD = 16 << 10;

    /** The paths that it answers by itself. */
    public static final Set<String> HEALTH = Set.of("/healthz", "/healthz/");

    private static final int CANCELLED_SECONDS = 5;
    private static final Set<String> METHODS = Set.of("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE");

    private final HttpOptions options;
    private final Dispatcher dispatcher;
    private final Optional<AuditLog> audit;
    private final Server server;
    private final List<AbstractConnector> listeners = new ArrayList<>();
    private final Optional<SslContextFactory.Server> tls;
    private final Metrics.Timing times;

    /**
     * Listens, and serves from then on.
     *
     * @param metrics gets the times of all calls, as {@code forkd_http_request_seconds}
     * @param failures what a client is told of a failure that a handler throws
     * @throws ForkdException when a file is unusable, an address is taken, or the server would be open to other machines
     */
    public static HttpServer start(
            HttpOptions options, Routes routes, Metrics metrics, Function<ForkdException, HttpFailure> failures) {
        Optional<AuditLog> audit = options.auditLog().map(AuditLog::new);
        HttpServer made = null;
        try {
            Optional<TokenFile> tokens = options.tokenFile().map(TokenFile::read);
            if (tokens.isEmpty()
                    && options.tcp()
                            .filter(address -> !address.getAddress().isLoopbackAddress())
                            .isPresent()) {
                throw new ForkdException(
                        Kind.FAILED,
                        "without a token forkd listens at loopback addresses only, and "
                                + options.tcp().get().getAddress().getHostAddress() + " is none",
                        "Give a file with a token, or listen at 127.0.0.1.");
            }
            made = new HttpServer(options, new Dispatcher(routes, options.limits(), failures, tokens), audit, metrics);
            made.open();
            return made;
        } catch (RuntimeException e) {
            if (made != null) {
                made.close();
            } else {
                audit.ifPresent(AuditLog::close);
            }
            throw e;
        }
    }

    private HttpServer(HttpOptions options, Dispatcher dispatcher, Optional<AuditLog> audit, Metrics metrics) {
        this.options = options;
        this.dispatcher = dispatcher;
        this.audit = audit;
        this.times = metrics.timing(
                "forkd_http_request_seconds",
                "From the head of a request to the end of its answer.",
                "route",
                "method",
                "status");

        QueuedThreadPool threads = new QueuedThreadPool(THREADS, THREADS / 2);
        threads.setName("forkd-http");
        threads.setDaemon(true);
        threads.setReservedThreads(0);
        server = new Server(threads);
        server.setHandler(dispatcher);
        server.setErrorHandler(HttpServer::answerError);
        server.setRequestLog(this::log);
        server.setStopTimeout(0);

        HttpConfiguration configuration = new HttpConfiguration();
        configuration.setSendServerVersion(false);
        // The path is taken apart here, as it was sent, so nothing in it is ambiguous.
        configuration.setUriCompliance(UriCompliance.UNSAFE);
        // Otherwise a header that differs from the last one only in case, such as a token, is taken for that one.
        configuration.setHeaderCacheCaseSensitive(true);
        // Of which there is one for each client that does not read. Jetty makes it larger for who needs that, and then
        // forgets that it was to close the connection.
        configuration.setResponseHeaderSize(MOST_HEAD);
        configuration.setMaxResponseHeaderSize(MOST_HEAD);

        tls = options.tls().map(files -> tls(Pem.keyStore(files)));
        options.tcp().ifPresent(address -> {
            List<ConnectionFactory> protocols = new ArrayList<>();
            ClientConnection.Factory http = new ClientConnection.Factory(configuration);
            tls.ifPresent(context -> {
                SslConnectionFactory encrypted = new SslConnectionFactory(context, http.getProtocol());
                // Which would turn away whoever uses an address, or a name that is not in the certificate.
                encrypted.setEnsureSecureRequestCustomizer(false);
                protocols.add(encrypted);
            });
            protocols.add(http);
            ServerConnector tcp = new ServerConnector(server, 1, 1, protocols.toArray(ConnectionFactory[]::new));
            tcp.setHost(address.getAddress().getHostAddress());
            tcp.setPort(address.getPort());
            tcp.setAcceptQueueSize(1024);
            server.addBean(new NetworkConnectionLimit(options.limits().connections(), tcp));
            listeners.add(tcp);
        });
        options.unixSocket().ifPresent(path -> {
            UnixListener unix = new UnixListener(server, path, new ClientConnection.Factory(configuration));
            unix.setAcceptQueueSize(1024);
            listeners.add(unix);
        });
        for (AbstractConnector listener : listeners) {
            listener.setIdleTimeout(options.limits().idleTime().toMillis());
            server.addConnector(listener);
        }
    }

    private static SslContextFactory.Server tls(KeyStore keys) {
        SslContextFactory.Server context = new SslContextFactory.Server();
        context.setKeyStore(keys);
        context.setKeyStorePassword(Pem.PASSWORD);
        context.setIncludeProtocols("TLSv1.2", "TLSv1.3");
        context.setRenegotiationAllowed(false);
        return context;
    }

    private void open() {
        try {
            server.start();
        } catch (ForkdException e) {
            throw e;
        } catch (Exception e) {
            throw new ForkdException(
                    Kind.FAILED,
                    "cannot listen: " + reason(e),
                    e instanceof BindException || e.getCause() instanceof BindException
                            ? "Another daemon may be there already; stop it, or give another address."
                            : "");
        }
        server.getScheduler().schedule(this::closeSlow, 1, TimeUnit.SECONDS);
    }

    private static String reason(Exception failure) {
        if (failure instanceof IOException io) {
            return io.getCause() instanceof IOException cause
                    ? io.getMessage() + ": " + ForkdException.reason(cause)
                    : ForkdException.reason(io);
        }
        return String.valueOf(failure.getMessage());
    }

    /** The TCP address that is listened at, with the port that it got. */
    public Optional<InetSocketAddress> tcp() {
        return listeners.stream()
                .filter(ServerConnector.class::isInstance)
                .map(ServerConnector.class::cast)
                .map(tcp -> new InetSocketAddress(tcp.getHost(), tcp.getLocalPort()))
                .findFirst();
    }

    /** What the bodies of all calls take. */
    long bodyBytes() {
        return dispatcher.bodyBytes();
    }

    /** The caller of that name, whom its token lets in now. */
    public Optional<Caller> caller(String name) {
        return dispatcher.caller(name);
    }

    /**
     * Reads tokens and certificates again and reopens the audit log. What cannot be used is logged, and what was used
     * before stays in use.
     *
     * @return what could not be used
     */
    public List<ForkdException> reload() {
        List<ForkdException> failed = new ArrayList<>();
        reload(failed, () -> audit.ifPresent(AuditLog::reopen));
        reload(failed, () -> options.tokenFile().map(TokenFile::read).ifPresent(dispatcher::use));
        reload(failed, () -> options.tls().map(Pem::keyStore).ifPresent(this::use));
        return failed;
    }

    private static void reload(List<ForkdException> failed, Runnable part) {
        try {
            part.run();
        } catch (ForkdException e) {
            Diagnostics.log().error("{}; what was used before stays in use", e.sentence());
            failed.add(e);
        }
    }

    private void use(KeyStore keys) {
        try {
            tls.orElseThrow().reload(context -> context.setKeyStore(keys));
        } catch (Exception e) {
            throw new ForkdException(Kind.FAILED, "cannot use the new certificate: " + e.getMessage());
        }
    }

    /**
     * Takes no more connections and calls, waits for those under way as long as the limits say, then cancels them and
     * closes everything.
     */
    public void stop() {
        dispatcher.beginStop();
        stopListening();
        try {
            if (!dispatcher.awaitIdle(options.limits().drainTime().toNanos())) {
                dispatcher.cancelAll();
                dispatcher.awaitIdle(TimeUnit.SECONDS.toNanos(CANCELLED_SECONDS));
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
        close();
    }

    private void stopListening() {
        for (AbstractConnector listener : listeners) {
            // Its future waits for connections; here it is calls that are waited for.
            var unused = listener.shutdown();
            try {
                if (listener instanceof UnixListener unix) {
                    unix.close();
                }
                if (listener.getTransport() instanceof ServerSocketChannel channel) {
                    channel.close();
                }
            } catch (IOException e) {
                Diagnostics.log().warn("cannot close {}", listener, e);
            }
        }
    }

    private void close() {
        stopListening();
        try {
            server.stop();
        } catch (Exception e) {
            Diagnostics.log().warn("the server did not stop cleanly", e);
        }
        dispatcher.close();
        audit.ifPresent(AuditLog::close);
    }

    /** Goes over the connections once a second: a timer for each request would cost more. */
    private void closeSlow() {
        long now = System.nanoTime();
        for (AbstractConnector listener : listeners) {
            for (EndPoint endPoint : listener.getConnectedEndPoints()) {
                Connection connection = endPoint.getConnection();
                if (connection instanceof SslConnection encrypted) {
                    connection = encrypted.getSslEndPoint().getConnection();
                }
                if (connection instanceof ClientConnection client) {
                    client.closeIfSlow(now, options.limits());
                }
            }
        }
        if (server.isRunning()) {
            server.getScheduler().schedule(this::closeSlow, 1, TimeUnit.SECONDS);
        }
    }

    /** What Jetty has to say about a request that it does not hand on. */
    private static boolean answerError(Request request, org.eclipse.jetty.server.Response response, Callback callback) {
        String text = Optional.ofNullable(request.getAttribute(ErrorHandler.ERROR_MESSAGE))
                .map(Object::toString)
                .orElse("the request cannot be answered");
        Response answer = Response.error(response.getStatus(), text);
        answer.headers().forEach(header -> response.getHeaders().put(header.name(), header.value()));
        byte[] bytes = answer.bytes();
        response.getHeaders().put(HttpHeader.CONTENT_LENGTH, bytes.length);
        response.write(true, ByteBuffer.wrap(bytes), callback);
        return true;
    }

    /** After each answer. */
    private void log(Request request, org.eclipse.jetty.server.Response response) {
        long nanos = Math.max(0, System.nanoTime() - request.getHeadersNanoTime());
        String method = request.getMethod();
        int status = response.getStatus();
        times.observe(
                nanos,
                request.getAttribute(Dispatcher.TEMPLATE) instanceof String template ? template : "none",
                METHODS.contains(method) ? method : "other",
                status / 100 + "xx");
        audit.ifPresent(log -> log.append(new AuditLog.Entry(
                method,
                Optional.ofNullable(request.getHttpURI().getPath()).orElse(""),
                status,
                TimeUnit.NANOSECONDS.toMicros(nanos),
                Optional.ofNullable(request.getHeaders().get(HttpHeader.USER_AGENT))
                        .orElse(""),
                request.getAttribute(Dispatcher.CALLER) instanceof Caller caller ? caller : Caller.NOBODY,
                Dispatcher.remote(request))));
    }
}
