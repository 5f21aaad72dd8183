package io.forkd.image;

import java.io.IOException;
import java.net.HttpURLConnection;
import java.net.URI;
import java.util.Map;
import java.util.Optional;
import javax.net.ssl.HttpsURLConnection;

/**
 * HTTP to one address, with limits: through the proxy and by the certificates that the environment names.
 *
 * <p>On {@link HttpURLConnection}, which is ready within 50 ms of the JVM's start: a client library, or
 * {@code java.net.http}, takes longer to load than a whole hit of the cache may last.
 */
final class Connections {
    private static final int CONNECT_MILLIS = 15_000;
    private static final int READ_MILLIS = 60_000;

    private final Proxies proxies;
    private final Reach reach;
    private final Optional<Authorities> authorities;
    private final Work work;
    private Optional<TlsSockets> sockets = Optional.empty();

    Connections(Proxies proxies, Reach reach, Map<String, String> environment, Work work) {
        this.proxies = proxies;
        this.reach = reach;
        this.work = work;
        this.authorities = Authorities.named(environment);
    }

    HttpURLConnection open(URI uri) throws IOException {
        work.check();
        reach.require(uri);
        HttpURLConnection connection = proxies.open(uri);
        connection.setInstanceFollowRedirects(false);
        connection.setConnectTimeout(CONNECT_MILLIS);
        connection.setReadTimeout(READ_MILLIS);
        connection.setRequestProperty("User-Agent", "forkd");
        if (connection instanceof HttpsURLConnection secure) {
            secure.setSSLSocketFactory(sockets());
        } else {
            work.onEnd(() -> end(connection));
        }
        return connection;
    }

    /** Ends what waits for any of them, if that is TLS. */
    synchronized void close() {
        sockets.ifPresent(TlsSockets::close);
    }

    private synchronized TlsSockets sockets() throws IOException {
        if (sockets.isEmpty()) {
            TlsSockets made = new TlsSockets(
                    authorities.isPresent()
                            ? authorities.get().sockets()
                            : HttpsURLConnection.getDefaultSSLSocketFactory(),
                    (host, port, address) -> {
                        // Where a proxy leads is for the proxy to say.
                        if (!proxies.isFor(host, port)) {
                            reach.require(host, port, address);
                        }
                    });
            work.onEnd(made::close);
            sockets = Optional.of(made);
        }
        return sockets.get();
    }

    /** Closing it may wait for who reads from it, which ends in any case when nothing comes for long. */
    private static void end(HttpURLConnection connection) {
        Thread thread = new Thread(connection::disconnect, "forkd-disconnect");
        thread.setDaemon(true);
        thread.start();
    }
}
