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
    private final Optional<Authorities> authorities;

    Connections(Proxies proxies, Map<String, String> environment) {
        this.proxies = proxies;
        this.authorities = Authorities.named(environment);
    }

    HttpURLConnection open(URI uri) throws IOException {
        HttpURLConnection connection = proxies.open(uri);
        connection.setInstanceFollowRedirects(false);
        connection.setConnectTimeout(CONNECT_MILLIS);
        connection.setReadTimeout(READ_MILLIS);
        connection.setRequestProperty("User-Agent", "forkd");
        if (connection instanceof HttpsURLConnection secure && authorities.isPresent()) {
            secure.setSSLSocketFactory(authorities.get().sockets());
        }
        return connection;
    }
}
